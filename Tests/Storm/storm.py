"""Random system calls of three uids on one mount, and what must hold after them.

Each seed is a storm of its own: processes of root and of two others open, read, write, rename, lock, map and fork on the mount's files, by
numbers that come from the seed; their records name files of theirs, of others, and canaries. While it lasts nobody may do to another's job what
only its owner may. After it the daemon lives, every file answers, all jobs and clients can be removed, the canaries are as they were, nothing
of them was copied, no descriptor is left open, and memory has not grown; at the end the daemon ends well, and no sanitizer has complained.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time

from commands import Failure, make_directory, run, stop, undoing, wait_until
from daemon import Daemon

UIDS = (0, 1001, 1002)
SLICE = 20.0
"""Seconds of one seed."""
CANARY = b"KCOPYFS CANARY\n" * 512
OPTIONS = "allow_other,max_jobs_per_uid=24,pages=512"
SANITIZERS = {
  "ASAN_OPTIONS": "exitcode=66:detect_leaks=0:quarantine_size_mb=8:malloc_context_size=8",
  "TSAN_OPTIONS": "exitcode=66:atexit_sleep_ms=0",
}
MEMORY = 96 << 20
"""Bytes that the daemon may grow by between the first seed and the last."""


def main():
  options = parse_options()
  if os.geteuid() != 0:
    raise Failure("must run as root: it mounts and runs as other users")
  stop.catch()
  os.environ.update(SANITIZERS)
  with undoing() as stack:
    # Others must reach it.
    folder = os.path.realpath(tempfile.mkdtemp(prefix="kcopyfs-storm-", dir=options.directory))
    stack.callback(os.rmdir, folder)
    os.chmod(folder, 0o755)
    scratch = make_directory(stack, os.path.join(folder, "scratch"))
    run("mount", "-t", "tmpfs", "-o", "mode=0755,size=256m", "tmpfs", scratch)
    stack.callback(run, "umount", scratch)
    make_files(scratch)
    os.mkdir(os.path.join(scratch, "state"), 0o700)
    storm = Storm(Daemon(stack, options.daemon, folder, f"{OPTIONS},state={scratch}/state"), options, scratch)
    storm.all()
    print(storm.summary())


def parse_options():
  parser = argparse.ArgumentParser(prog="mount-scripts/storm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--seconds", type=float, default=40, help="of storm in all, as seeds of 20 s (default %(default).0f)")
  parser.add_argument("--seed", type=int, default=1, help="the first seed, the next is one more (default %(default)s)")
  parser.add_argument("--directory", default="/tmp", help="where it makes a directory (default %(default)s)")
  parser.add_argument("--daemon", required=True, help=argparse.SUPPRESS)
  parser.add_argument("--program", required=True, help=argparse.SUPPRESS)
  return parser.parse_args()


def make_files(scratch):
  """A few files of each uid, and a canary that only its owner may read or write."""
  for uid in UIDS:
    for place in ("data", "canary"):
      os.makedirs(os.path.join(scratch, place), mode=0o755, exist_ok=True)
    data = os.path.join(scratch, "data", str(uid))
    os.mkdir(data, 0o755)
    os.chown(data, uid, uid)
    for number in range(4):
      write(os.path.join(data, str(number)), os.urandom((64 << 10) << number % 3), uid, 0o644)
    write(os.path.join(scratch, "canary", str(uid)), CANARY, uid, 0o600)


def write(path, content, uid, mode):
  with open(path, "wb") as file:
    file.write(content)
  os.chown(path, uid, uid)
  os.chmod(path, mode)


class Storm:
  def __init__(self, daemon, options, scratch):
    self.daemon = daemon
    self.options = options
    self.scratch = scratch
    self.mount = daemon.mount_point
    self.calls = 0
    self.seeds = []
    self.memory = []
    self.changes = 0

  def all(self):
    """The seeds one after the other; the first failure ends it, with its seed."""
    # What is opened once and kept is open before the count.
    self.daemon.copy('echo "from=$FROM to=$TO" >"$MNT/jobs/$JOB" && cat "$MNT/jobs/$JOB/result"',
                     {"FROM": f"{self.scratch}/data/0/1", "TO": f"{self.scratch}/data/0/0"})
    self.descriptors = len(self.open_files())
    left = self.options.seconds
    seed = self.options.seed
    while left > 0:
      try:
        self.one(seed, min(left, SLICE))
      except Failure as failure:
        raise Failure(f"seed {seed}: {failure}\nlog: {self.daemon.log_text()}") from None
      left -= SLICE
      seed += 1

  def one(self, seed, seconds):
    process = subprocess.Popen([self.options.program, self.mount, self.scratch, str(seed), str(seconds)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
      output, errors = process.communicate(timeout=seconds + 60)
    except subprocess.TimeoutExpired:
      process.kill()
      raise Failure("the storm does not end") from None
    if process.returncode != 0:
      raise Failure(f"status {process.returncode}: {errors[:2000]}")
    self.calls += int(output.split()[0])
    self.seeds.append(seed)
    with within(60, "what is left can't be looked at or removed"):
      self.look()
      self.remove()
      self.changes = self.count_changes()
    self.check()

  def look(self):
    """Reads every file, those that wait without waiting."""
    for folder, _, names in os.walk(self.mount):
      for name in names:
        path = os.path.join(folder, name)
        try:
          descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except PermissionError:
          continue
        except FileNotFoundError:
          continue
        try:
          text = os.read(descriptor, 1 << 20)
        except OSError:
          text = b""
        finally:
          os.close(descriptor)
        # A draft is given back as it was written.
        is_draft = folder == os.path.join(self.mount, "jobs")
        if not is_draft and any(byte < 32 and byte != 10 or byte == 127 for byte in text):
          raise Failure(f"{path} has a control character: {text!r}")

  def remove(self):
    """Ends and removes all jobs, drafts and clients: root may."""
    jobs = os.path.join(self.mount, "jobs")
    while names := os.listdir(jobs):
      for name in names:
        path = os.path.join(jobs, name)
        if not os.path.isdir(path):
          attempt(os.unlink, path)
          continue
        attempt(write_line, os.path.join(path, "ctl"), "cancel\n")
        attempt(os.rmdir, path)
      time.sleep(0.05)
    for name in set(os.listdir(os.path.join(self.mount, "clients"))) - {"default"}:
      os.rmdir(os.path.join(self.mount, "clients", name))
    # A sub-job has to fit into the pages at each step.
    for file, value in (("rate", "max"), ("throttle", "100"), ("max_jobs", "100000"), ("slots", "8"), ("subjob", "4096"), ("pages", "512"),
                        ("subjob", "1M")):
      write_line(os.path.join(self.mount, "clients/default", file), value + "\n")

  def count_changes(self):
    """What the numbers of `events` have come to: that of the next change."""
    with open(os.path.join(self.mount, "events"), "rb", buffering=0) as events:
      write_line(os.path.join(self.mount, "jobs/last"), "op=none\n")
      words = dict(word.split(b"=", 1) for word in events.read(4096).split())
    with open(os.path.join(self.mount, "jobs/last/result"), encoding="ascii") as result:
      result.read()
    os.rmdir(os.path.join(self.mount, "jobs/last"))
    return int(words[b"seq"])

  def check(self):
    for uid in UIDS:
      with open(os.path.join(self.scratch, "canary", str(uid)), "rb") as file:
        if file.read() != CANARY:
          raise Failure(f"the canary of uid {uid} has changed")
      folder = os.path.join(self.scratch, "data", str(uid))
      for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
          if CANARY[:15] in file.read(2 << 20):
            raise Failure(f"a canary was copied to {folder}/{name}")
    wait_until(lambda: len(self.open_files()) <= self.descriptors, 20, f"it had {self.descriptors} files open, and now {self.open_files()}")
    self.memory.append(self.daemon.resident())
    if self.memory[-1] > self.memory[0] + MEMORY:
      raise Failure(f"its memory grows: {self.memory}")

  def open_files(self):
    """What the daemon has open, without what its threads keep for the next device or client."""
    folder = f"/proc/{self.daemon.process}/fd"
    return [name for name in (attempt(os.readlink, os.path.join(folder, number)) for number in os.listdir(folder))
            if name and not name.startswith("anon_inode:")]

  def summary(self):
    seeds = f"{len(self.seeds)} seeds from {self.seeds[0]}"
    return (f"storm: {seeds}, {self.calls} calls by {len(UIDS)} uids, {self.changes} changes of state of jobs, nothing wrong; "
            f"memory {self.memory[0] >> 20} to {self.memory[-1] >> 20} MiB")


def write_line(path, text):
  with open(path, "w", encoding="ascii") as file:
    file.write(text)


def attempt(call, *arguments):
  """What a call returns, `None` when it fails: others may have been faster."""
  try:
    return call(*arguments)
  except OSError:
    return None


class within:
  """Raises in the middle of whatever hangs: a read of the mount ends by a signal."""

  def __init__(self, seconds, text):
    self.seconds = seconds
    self.text = text

  def __enter__(self):
    def late(*_):
      raise Failure(f"{self.text} within {self.seconds} s")
    signal.signal(signal.SIGALRM, late)
    signal.alarm(self.seconds)

  def __exit__(self, *_):
    signal.alarm(0)


if __name__ == "__main__":
  try:
    main()
  except Failure as failure:
    sys.exit(f"storm: {failure}")
