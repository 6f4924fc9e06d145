"""kill -9 of a daemon in the moment in which its mount appears: it must be gone, and the next one serve in the same place."""

import os
import random
import subprocess
import time

from commands import run, wait_until
from life import START_LIMIT, STOP_LIMIT, Life, Wrong, is_mounted, take_away_mount

FIRST_MOMENTS = 0.004
"""Seconds after the mount is there, in which the daemon still sets itself up."""


class Starts:
  """Starts the daemon again and again on one state."""

  def __init__(self, rig, program):
    self._rig = rig
    self._program = program
    self._mount_point = os.path.join(rig.folder, "mount")
    self._log = os.path.join(rig.folder, "daemon.log")

  def run(self, count, seed):
    """Kills so many; the last one must serve, and end by SIGTERM. Raises Wrong."""
    chance = random.Random(seed)
    self._rig.reset()
    try:
      self._rig.mount_state()
      for number in range(count):
        self._kill_one(number, chance.uniform(0, FIRST_MOMENTS))
      last = Life(self._rig, self._program, self._mount_point, self._log, None)
      try:
        last.start()
        last.stop()
      finally:
        last.end()
    finally:
      take_away_mount(self._mount_point)
      self._rig.unmount_state()

  def _kill_one(self, number, delay):
    # So that the next mount that is there is this one's; the last start finds one that it has to take away itself.
    take_away_mount(self._mount_point)
    with open(self._log, "wb") as log:
      process = subprocess.Popen(
        Life.command(self._rig, self._program, self._mount_point), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        env=os.environ | {"SWIFT_BACKTRACE": "enable=no"})
    try:
      wait_until(lambda: is_mounted(self._mount_point) or process.poll() is not None, START_LIMIT, "no mount appears", pause=0)
      end = time.monotonic() + delay
      # A sleep would end when the scheduler likes.
      while time.monotonic() < end:
        pass
      if process.poll() is not None:
        raise Wrong(f"start {number}: the daemon ended with status {process.returncode} by itself")
    finally:
      process.kill()
      self._await_end(process, number, delay)

  def _await_end(self, process, number, delay):
    try:
      process.wait(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
      # The abort of its mount ends who waits for it.
      run("umount", "-f", "-l", self._mount_point)
      process.wait(timeout=STOP_LIMIT)
      raise Wrong(f"start {number}: killed {delay * 1000:.1f} ms after its mount was there, the daemon was still there "
                  f"{STOP_LIMIT:.0f} s later") from None
