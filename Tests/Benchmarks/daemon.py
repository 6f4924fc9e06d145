"""Programs that serve a mount while they are measured: kcopyfs, used through its mount like anybody's, and idle-fuse beside it."""

import os
import signal
import subprocess

from commands import Failure, Sample, make_directory, measure, remove_at_end, run, wait_until

START_LIMIT = 20.0
STOP_LIMIT = 15.0
"""Seconds: the contract says 10 for a stop, and a busy machine gets some more before it is killed."""


class Server:
  """A program in the foreground with a mount in a directory of its own; the unwinding of the stack stops it.

  `command` is the program and its arguments; MOUNT among them stands for the mount point.
  """

  MOUNT = object()

  def __init__(self, stack, folder, *command):
    if not os.access(command[0], os.X_OK):
      raise Failure(f"{command[0]}: not an executable; build it, or name another: see --help")
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
      raise Failure("/dev/fuse is missing or may not be opened: the kernel has no FUSE, or this container does not see it")
    self.name = os.path.basename(command[0])
    self.mount_point = make_directory(stack, os.path.join(folder, "mount"))
    self.command = [self.mount_point if word is self.MOUNT else word for word in command]
    self._log = remove_at_end(stack, os.path.join(folder, "daemon.log"))
    self._process = None
    stack.callback(self._stop)
    self._start()

  def _start(self):
    with open(self._log, "wb") as log:
      self._process = subprocess.Popen(
        self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"SWIFT_BACKTRACE": "enable=no"},
        start_new_session=True)
    wait_until(self._answers, START_LIMIT, f"{' '.join(self.command)}\nno mount within {START_LIMIT:.0f} s")

  def _answers(self):
    if self._process.poll() is not None:
      raise Failure(f"{' '.join(self.command)}\nended before its mount was there")
    return self._mounted()

  def _mounted(self):
    """Asks the mount table: a stat of the mount point itself would wait for a daemon that hangs."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
      return any(line.split()[4] == self.mount_point for line in table)

  def _stop(self):
    if self._process is None:
      return
    trouble = ""
    self._process.send_signal(signal.SIGTERM)
    try:
      self._process.wait(timeout=STOP_LIMIT)
    except subprocess.TimeoutExpired:
      trouble = f"did not end within {STOP_LIMIT:.0f} s of SIGTERM and was killed"
      self._process.kill()
      self._process.wait(timeout=STOP_LIMIT)
    if self._mounted():
      trouble = trouble or "left its mount behind"
      run("umount", "-l", self.mount_point)
    if not trouble and self._process.returncode != 0:
      trouble = f"ended with status {self._process.returncode}"
    if trouble:
      raise Failure(f"{self.name} {trouble}: {self.log_text()}")

  @property
  def process(self):
    """Its process id."""
    return self._process.pid

  def resident(self):
    """Bytes of memory that it has now."""
    with open(f"/proc/{self._process.pid}/status", encoding="utf-8") as file:
      return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmRSS:"))

  def cpu(self):
    """User and system CPU seconds of the program with all its threads, so far."""
    with open(f"/proc/{self._process.pid}/stat", encoding="utf-8") as file:
      fields = file.read().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return int(fields[11]) / ticks, int(fields[12]) / ticks

  def sample(self, seconds, before):
    """The Sample of what took so many seconds, from the program's CPU before it."""
    user, system = self.cpu()
    return Sample(seconds, user - before[0], system - before[1])

  def log_text(self):
    with open(self._log, encoding="utf-8", errors="replace") as file:
      return file.read()[-4000:].strip() or "(empty log)"


class Daemon(Server):
  """A kcopyfs mount."""

  def __init__(self, stack, binary, folder, options):
    super().__init__(stack, folder, binary, self.MOUNT, "-f", "-o", options)
    self._jobs = 0
    self.version = " ".join(run("cat", os.path.join(self.mount_point, "version"), limit=START_LIMIT).split())

  def copy(self, script, environment):
    """The Sample of one job by a script that prints its result; the job is gone after it."""
    self._jobs += 1
    job = f"b{self._jobs}"
    before = self.cpu()
    try:
      sample, output = measure(script, environment | {"MNT": self.mount_point, "JOB": job})
      if output.strip() != "ok":
        raise Failure(f"{script}\nresult is not ok: {output}")
    except Failure as failure:
      raise Failure(f"{failure}\n{self.evidence()}") from None
    sample = self.sample(sample.seconds, before)
    run("rmdir", os.path.join(self.mount_point, "jobs", job))
    return sample

  def await_jobs(self, limit):
    """Waits until all jobs of the client `default` are final."""
    def unfinished():
      return int(run("cat", os.path.join(self.mount_point, "clients/default/jobs"), limit=limit))
    wait_until(lambda: unfinished() == 0, limit, f"jobs are not final after {limit:.0f} s\n{self.evidence()}")

  def require_done(self, count):
    """So many jobs are there, and all are done: a rate of something else would be none."""
    with open(os.path.join(self.mount_point, "list"), encoding="utf-8") as file:
      done = sum(" state=done " in line for line in file)
    if done != count:
      raise Failure(f"{done} jobs are done of {count}\n{self.evidence()}")

  def evidence(self):
    """What the daemon says about a failure: the refusals in the mount, the job's status, the log."""
    texts = []
    for name in ["errors", *([f"jobs/b{self._jobs}/status"] if self._jobs else [])]:
      try:
        texts.append(f"{name}: {run('cat', os.path.join(self.mount_point, name), limit=10).strip()}")
      except Failure as failure:
        texts.append(str(failure))
    return "\n".join([*texts, f"log: {self.log_text()}"])
