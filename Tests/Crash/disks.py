"""What the crash tests copy between: loop devices over the disks of a power-disk, the last with an ext4 for the daemon's state."""

import contextlib
import fcntl
import os
import random
import subprocess
import threading

from commands import Failure, make_directory, run, wait_until
from media import make_tmpfs, unmount

SOURCE, DESTINATIONS, STATE = 0, (1, 2, 3), 4
"""The numbers of the disks."""

DISK_SIZE = 6 << 20
STATE_SIZE = 16 << 20
FILE_SIZE = 1 << 20
"""Of the regular files that stand on the file system beside the state."""

_BLKFLSBUF = 0x1261


class PowerDisk:
  """The power-disk process: it ends with this one, whatever ends this one."""

  def __init__(self, stack, binary, mount_point, images):
    self._lock = threading.Lock()
    self._process = subprocess.Popen(
      [binary, mount_point, *images], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True)
    stack.callback(self._end)
    if self._process.stdout.readline() != "ready\n":
      raise Failure(f"{binary} did not start")

  def _end(self):
    with contextlib.suppress(BrokenPipeError):
      self._process.stdin.close()
    if self._process.wait(timeout=30) != 0:
      raise Failure(f"power-disk ended with status {self._process.returncode}")

  def ask(self, command):
    with self._lock:
      self._process.stdin.write(command + "\n")
      answer = self._process.stdout.readline().strip()
    if not answer or answer.startswith("error"):
      raise Failure(f"power-disk: {command}: {answer or 'it ended'}")
    return answer

  def counters(self):
    return dict(word.split("=", 1) for word in self.ask("stat").split())

  @property
  def is_down(self):
    return self.counters()["down"] == "1"

  @property
  def writes(self):
    return int(self.counters()["writes"])

  def seal(self, disk, begin, end):
    """Has writes to these bytes counted from now on as broken seals."""
    if begin < end:
      self.ask(f"seal {disk} {begin} {end}")

  def broken_seals(self):
    counters = self.counters()
    return [(int(key[1:-len("_broken_at")]), place) for key, place in counters.items() if key.endswith("_broken_at")]


class Loops:
  """A loop device over each disk. They go with this process: each is set to be detached by its last close, and is held open here."""

  def __init__(self, stack, files):
    self.paths = []
    self._held = []
    for file in files:
      device = run("losetup", "-f", "--show", "--direct-io=on", file).strip()
      held = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
      stack.callback(self._await_detached, file)
      stack.callback(os.close, held)
      run("losetup", "-d", device)
      with open(f"/sys/block/{os.path.basename(device)}/queue/write_cache", encoding="ascii") as cache:
        if cache.read().strip() != "write back":
          raise Failure(f"{device} passes no flushes on: nothing about power can be shown with it")
      self.paths.append(device)
      self._held.append(held)

  def drop_caches(self):
    for held in self._held:
      with contextlib.suppress(OSError):  # EIO for what the power took; it's dropped all the same
        fcntl.ioctl(held, _BLKFLSBUF)

  def _await_detached(self, file):
    wait_until(lambda: not run("losetup", "-j", file).strip(), 30, f"the loop device over {file} is still in use")


class Rig:
  """Disks 0 to 4 behind loop devices, used for one trial after the other: each begins with `reset`."""

  def __init__(self, stack, folder, power_disk):
    self.folder = folder
    images = make_tmpfs(stack, os.path.join(folder, "images"), 4 * DISK_SIZE + STATE_SIZE)
    disks = make_directory(stack, os.path.join(folder, "disks"))
    self.state = make_directory(stack, os.path.join(folder, "state"))
    self.images = [os.path.join(images, f"d{i}.img") for i in (SOURCE, *DESTINATIONS, STATE)]
    self.fresh = [random.Random(f"disk {i}").randbytes(DISK_SIZE) for i in (SOURCE, *DESTINATIONS)] + [bytes(STATE_SIZE)]
    for path, content in zip(self.images, self.fresh, strict=True):
      _write(path, content)
      stack.callback(os.unlink, path)
    self.fresh_files = {name: random.Random(name).randbytes(FILE_SIZE) for name in ("source", "present")}
    self.fresh[STATE] = self._make_file_system(folder)
    self.power = PowerDisk(stack, power_disk, disks, self.images)
    self.loops = Loops(stack, [os.path.join(disks, f"d{i}") for i in range(len(self.images))])
    stack.callback(self.unmount_state)

  def _make_file_system(self, folder):
    with contextlib.ExitStack() as stack:
      root = make_directory(stack, os.path.join(folder, "root"))
      files = make_directory(stack, os.path.join(root, "files"))
      for name, content in self.fresh_files.items():
        _write(os.path.join(files, name), content)
        stack.callback(os.unlink, os.path.join(files, name))
      # Nothing is written by the kernel's own threads later, so that a write's number means the same each time.
      run("mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard",
          "-d", root, self.images[STATE])
    return self.image(STATE)

  @property
  def files(self):
    """The directory of the regular files."""
    return os.path.join(self.state, "files")

  def device(self, disk):
    return self.loops.paths[disk]

  def image(self, disk):
    """What is on the medium of a disk."""
    with open(self.images[disk], "rb") as image:
      return image.read()

  def reset(self):
    """The disks as they were at first, with power, and nothing of an earlier trial."""
    self.unmount_state()
    if not self.power.is_down:
      self.power.ask("crash now drop 0")
    self.loops.drop_caches()
    for path, content in zip(self.images, self.fresh, strict=True):
      _write(path, content)
    self.power.ask("unseal")
    for disk in range(len(self.images)):
      self.power.ask(f"slow {disk} 0 0")
      self.power.ask(f"lie {disk} no")
    self.power.ask("up")

  def mount_state(self):
    run("mount", "-t", "ext4", "-o", "noatime", self.device(STATE), self.state)

  def unmount_state(self):
    """What a daemon has left in flight that was killed holds its files, and so the file system, until it's done."""
    unmount(self.state)

  def restore_power(self):
    """What a machine does that starts again, up to its daemons; nobody may use the disks."""
    self.unmount_state()
    self.loops.drop_caches()
    self.power.ask("up")


def _write(path, content):
  """Over what is there: the power-disk has the file mapped."""
  descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
  try:
    if os.write(descriptor, content) != len(content):
      raise Failure(f"{path}: a short write; is the file system full?")
  finally:
    os.close(descriptor)
