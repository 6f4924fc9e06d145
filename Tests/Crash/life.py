"""One life of the daemon: from its start to its end, by a crash at a moment that was set before or by SIGTERM."""

import contextlib
import errno
import os
import subprocess
import threading
import time

from commands import Failure, run
from points import MAPS, Kill, Power

START_LIMIT = 20.0
LIFE_LIMIT = 60.0
"""Seconds after which a daemon is killed as one that hangs: its client, which may wait for an answer, goes on then."""
STOP_LIMIT = 15.0
"""Seconds for SIGTERM: the contract says 10, and a busy machine gets some more."""


class Crashed(Exception):
  """The crash that was set has come: what was seen last may have been seen by nobody."""


class Wrong(Exception):
  """What the daemon must not do, in words."""


class Life:
  """The daemon with a crash that is set from its start on; None for a life without."""

  def __init__(self, rig, program, mount_point, log, crash):
    self.mount_point = mount_point
    self.struck = False
    self._rig = rig
    self._crash = crash
    self._command = self.command(rig, program, mount_point)
    self._log = log
    self._process = None
    self._ended = threading.Event()
    self._hung = self._undead = False
    self._watch = threading.Thread(target=self._strike_in_time, daemon=True)

  @staticmethod
  def command(rig, program, mount_point):
    """The daemon so that it never outlives this process."""
    return ["setpriv", "--pdeathsig", "KILL", program, mount_point, "-f", "-o", f"state={rig.state}/s,pages=256"]

  def start(self):
    """Starts it, and returns when the mount answers."""
    if isinstance(self._crash, Power) and self._crash.write != MAPS:
      self._rig.power.ask(f"crash at {self._crash.write} {self._crash.mode} {self._crash.seed}")
    with open(self._log, "ab") as log:
      self._process = subprocess.Popen(
        self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"SWIFT_BACKTRACE": "enable=no"},
        start_new_session=True)
    self._watch.start()
    deadline = time.monotonic() + START_LIMIT
    while not self._answers():
      if self._process.poll() is not None:
        self.check()
        if self.struck:
          raise Crashed
        raise Wrong(f"the daemon ended with status {self._process.returncode} before its mount answered: {self.log_text()}")
      if time.monotonic() > deadline:
        raise Wrong(f"the mount doesn't answer {START_LIMIT:.0f} s after the daemon's start")
      time.sleep(0.002)
    self.check()

  def _answers(self):
    # ENOTCONN is the mount of the one before: this one has to take it away.
    with contextlib.suppress(OSError):
      return bool(self.read("version"))
    return False

  def path(self, *names):
    return os.path.join(self.mount_point, *names)

  def read(self, *names):
    with open(self.path(*names), encoding="utf-8") as file:
      return file.read()

  @property
  def is_struck(self):
    return self.struck or isinstance(self._crash, Power) and self._rig.power.is_down

  def check(self):
    """Raises Crashed when what was seen last need not have been seen.

    When the power is gone nobody sees anything: the daemon that still runs for some milliseconds is a ghost. What a daemon said that is
    killed counts to the last word.
    """
    if self._undead:
      raise Wrong(f"the daemon was still there {STOP_LIMIT:.0f} s after SIGKILL, until its mount was taken away")
    if isinstance(self._crash, Power) and self.is_struck:
      raise Crashed
    if self._hung:
      raise Wrong(f"the daemon was killed because it hung for {LIFE_LIMIT:.0f} s")

  @contextlib.contextmanager
  def using(self, what):
    """Errors of what is done inside are the crash's or wrong."""
    try:
      yield
    except OSError as error:
      self.check()
      if self.is_struck:
        raise Crashed from None
      # It may just be ending.
      with contextlib.suppress(subprocess.TimeoutExpired):
        self._process.wait(timeout=1 if error.errno in (errno.ENOTCONN, errno.ECONNABORTED) else 0)
        raise Wrong(f"the daemon ended by itself with status {self._process.returncode}: {self.log_text()}") from None
      raise Wrong(f"{what}: {error.strerror}") from None

  def _strike_in_time(self):
    begin = time.monotonic()
    while not self._ended.wait(self._pause(begin)):
      if time.monotonic() - begin > LIFE_LIMIT:
        self._hung = True
      elif isinstance(self._crash, Kill):
        self.struck = time.monotonic() - begin >= self._crash.milliseconds / 1000
      elif isinstance(self._crash, Power):
        self.struck = self._rig.power.is_down
      if self.struck or self._hung:
        self._kill()
        return

  def _kill(self):
    """A daemon that waits for itself would be there for ever, and with it whoever waits for its mount: the abort of the mount ends that."""
    self._process.kill()
    try:
      self._process.wait(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
      self._undead = True
      run("umount", "-f", "-l", self.mount_point)

  def _pause(self, begin):
    if isinstance(self._crash, Kill):
      return max(0.0, begin + self._crash.milliseconds / 1000 - time.monotonic())
    return 0.003 if isinstance(self._crash, Power) else 0.5

  def strike(self):
    """The crash that waits for its time, now."""
    self._rig.power.ask(f"crash now {self._crash.mode} {self._crash.seed}")
    raise Crashed

  def end(self):
    """Sees that it's gone, struck or not."""
    if self._process is None:
      return
    if self._watch.is_alive():
      self._ended.set()
      self._watch.join()
    self._kill()
    try:
      self._process.wait(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
      raise Failure(f"process {self._process.pid} does not die of SIGKILL") from None
    if self._undead:
      self.check()

  def stop(self):
    """SIGTERM, which must end it well."""
    self._process.terminate()
    try:
      status = self._process.wait(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
      raise Wrong(f"the daemon didn't end within {STOP_LIMIT:.0f} s of SIGTERM") from None
    if status != 0 or is_mounted(self.mount_point):
      left = "its mount is left" if is_mounted(self.mount_point) else "its mount is gone"
      raise Wrong(f"SIGTERM ended the daemon with status {status}, and {left}: {self.log_text()}")

  def log_text(self):
    with open(self._log, encoding="utf-8", errors="replace") as file:
      return file.read()[-2000:].strip() or "(its log is empty)"


def is_mounted(mount_point):
  """By the table of mounts: to look at the mount point itself would ask a daemon that may be gone."""
  with open("/proc/self/mountinfo", encoding="utf-8") as table:
    return any(line.split()[4] == mount_point for line in table)


def take_away_mount(mount_point):
  """What a killed daemon left, when no other came to take it away."""
  if is_mounted(mount_point):
    run("umount", "-l", mount_point)
