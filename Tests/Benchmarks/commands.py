"""Commands of the bench: those that must work, the one that is measured, and the undoing of what they set up."""

import contextlib
import os
import re
import resource
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

MEASURED_LIMIT = 1800.0
"""Seconds after which a measured command counts as hung."""


class Failure(Exception):
  """What the user has to know; the bench prints it and ends with status 1."""


@dataclass(frozen=True)
class Sample:
  """One measured command: wall clock, user and system CPU, all in seconds."""

  seconds: float
  user: float
  system: float


def run(*command, limit=120.0):
  """Runs a command that must work and returns its standard output."""
  try:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit)
  except FileNotFoundError:
    raise Failure(f"{command[0]}: command not found") from None
  except subprocess.TimeoutExpired:
    raise Failure(f"{' '.join(command)}: no answer within {limit:.0f} s") from None
  if done.returncode != 0:
    raise Failure(f"{' '.join(command)}: status {done.returncode}: {(done.stderr or done.stdout).strip()}")
  return done.stdout


def measure(script, environment):
  """Runs a bash script that must work; returns its Sample and its standard output.

  CPU is that of the children waited for, so of everything that the script itself waits for. The end is seen through a pidfd: a
  `wait` with a time limit polls, and would add its polling interval to the time.
  """
  with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    process = subprocess.Popen(
      ["bash", "-c", script], stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=os.environ | environment, start_new_session=True)
    try:
      ended = _wait(process.pid, MEASURED_LIMIT)
      seconds = time.monotonic() - begin
    finally:
      _end(process)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not ended:
      raise Failure(f"{script}\nnot done within {MEASURED_LIMIT:.0f} s")
    if process.returncode != 0:
      errors.seek(0)
      raise Failure(f"{script}\nstatus {process.returncode}: {errors.read().decode(errors='replace').strip()}")
    output.seek(0)
    sample = Sample(seconds, after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime)
    return sample, output.read().decode(errors="replace")


def said_pairs(output):
  """The key=value pairs that a program of ours prints."""
  return dict(re.findall(r"(\w+)=(\S+)", output))


def _wait(pid, limit):
  descriptor = os.pidfd_open(pid)
  try:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(limit * 1000))
  finally:
    os.close(descriptor)


def _end(process):
  """Reaps a script, killing what it may have left: its group's number is its own until it is reaped."""
  with contextlib.suppress(ProcessLookupError):
    os.killpg(process.pid, signal.SIGKILL)
  try:
    process.wait(timeout=30)
  except subprocess.TimeoutExpired:
    raise Failure(f"process {process.pid} does not die of SIGKILL: a device hangs") from None


def wait_until(condition, limit, failure, pause=0.02):
  """Polls a condition until it holds, every `pause` seconds; fails with a text when it does not within `limit` seconds."""
  deadline = time.monotonic() + limit
  while not condition():
    if time.monotonic() > deadline:
      raise Failure(failure)
    time.sleep(pause)


class Stop:
  """Ctrl-C and its like: the first signal raises SystemExit, after an undoing that it meets; later ones do nothing.

  A mask would not do: Python runs the handler of a signal that it has already noted whenever it comes to it, masked by then or not.
  """

  def __init__(self):
    self._status = None
    self._raised = False
    self._held = False

  def catch(self):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
      signal.signal(number, self._handle)

  def _handle(self, number, _):
    self._status = self._status or 128 + number
    if not self._held:
      self._raise()

  def _raise(self):
    if self._status and not self._raised:
      self._raised = True
      raise SystemExit(self._status)

  def hold(self):
    self._held = True

  def release(self):
    self._held = False
    self._raise()


stop = Stop()


@contextlib.contextmanager
def undoing():
  """An ExitStack whose unwinding no signal can cut short. An undo is put on it before what it undoes is done."""
  try:
    with contextlib.ExitStack() as stack:
      try:
        yield stack
      finally:
        stop.hold()
  finally:
    stop.release()


def make_directory(stack, path):
  """Makes a directory that is removed at the end; never with what is in it, which may be a mount."""
  stack.callback(_if_there, os.rmdir, path)
  os.mkdir(path, 0o700)
  return path


def remove_at_end(stack, path):
  """Has a file removed at the end, whether or not it was made by then."""
  stack.callback(_if_there, os.unlink, path)
  return path


def _if_there(remove, path):
  with contextlib.suppress(FileNotFoundError):
    remove(path)
