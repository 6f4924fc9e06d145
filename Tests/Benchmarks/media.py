"""Where is copied: loop devices over a tmpfs (T and K), regular files on a disk (D). A source and three destinations each; of K, eight."""

import contextlib
import os
import random
import shutil

from commands import Failure, make_directory, remove_at_end, run, wait_until

MIB = 1 << 20
GIB = 1 << 30
SPARSE = 16 * MIB
"""Bytes of a sparse source with one MiB of data each."""
DESTINATIONS = 3
SPARE_MEMORY = 1 << 30
"""Bytes that must stay available beside the tmpfs, so that nobody is measured while the kernel reclaims."""

NOT_DISKS = {"tmpfs", "ramfs", "overlay", "nfs", "nfs4", "cifs", "9p", "virtiofs"}


class Medium:
  """A source with random data and destinations of its size, filled once, so that every tool overwrites.

  A subclass makes them in its initialiser, has a `title`, and knows how to `drop` a path from the cache and to `describe` itself.
  """

  def __init__(self, size):
    self.size = size
    self.source = ""
    self.destinations = []

  def environment(self):
    """The variables that the contenders' commands use for the paths."""
    return {"S": self.source} | {f"D{i}": path for i, path in enumerate(self.destinations)}

  def settle(self):
    """Writes back what the run before has left and drops source and destinations from the cache, so that nobody reads from memory."""
    for path in [self.source, *self.destinations]:
      self.drop(path)

  def wipe(self, count):
    """Fills destinations with zeroes: a copy that is to be verified must not find the copy of another there."""
    for path in self.destinations[:count]:
      run("dd", "if=/dev/zero", f"of={path}", "bs=4M", f"count={self.size // (4 * MIB)}", "oflag=direct", "conv=notrunc,fdatasync",
          "status=none", limit=1800)

  def verify(self, count):
    """Compares destinations with the source, from the medium."""
    self.settle()
    for path in self.destinations[:count]:
      run("cmp", self.source, path, limit=1800)

  def wipe_samples(self, count):
    """As `wipe`, at the samples alone: a MiB of every 16."""
    for path in self.destinations[:count]:
      with open(path, "r+b", buffering=0) as file:
        for place in range(0, self.size, SPARSE):
          os.pwrite(file.fileno(), bytes(MIB), place)
        os.fsync(file.fileno())

  def verify_samples(self, count):
    """Compares destinations with the source at the samples, from the medium."""
    self.settle()
    for path in self.destinations[:count]:
      with open(self.source, "rb", buffering=0) as source, open(path, "rb", buffering=0) as destination:
        for place in range(0, self.size, SPARSE):
          expected, found = (os.pread(file.fileno(), MIB, place) for file in (source, destination))
          if expected != found or len(expected) != MIB:
            raise Failure(f"{path} differs in the MiB at {place}")

  def flushes(self, _count):
    """How many flushes each destination has seen so far; none of what doesn't count them."""
    return []


class LoopsOnTmpfs(Medium):
  """Loop devices with direct I/O over files of a tmpfs that is mounted for them."""

  title = "loop devices on tmpfs"

  def __init__(self, stack, folder, size, destinations=DESTINATIONS, is_sparse=False):
    """`is_sparse`: the source has a MiB of data in every 16, its holes take no memory, and the destinations are not filled one by one."""
    super().__init__(size)
    self._is_sparse = is_sparse
    total = size * destinations + (size * MIB // SPARSE if is_sparse else size)
    mount_point = make_tmpfs(stack, os.path.join(folder, "tmpfs"), total)
    devices = []
    for name in ["source", *(f"destination{i}" for i in range(destinations))]:
      path = os.path.join(mount_point, name)
      if is_sparse:
        make_sampled(path, size, is_source=name == "source")
      else:
        fill(path, size, varied if name == "source" else bytes)
      stack.callback(detach, path)
      devices.append(attach(path))
    self.source, *self.destinations = devices

  def drop(self, path):
    run("blockdev", "--flushbufs", path)

  def describe(self):
    holes = ", the source's with a MiB of data in every 16 and holes between" if self._is_sparse else ""
    return f"loop devices with --direct-io=on, backed by files on a tmpfs{holes}"

  def flushes(self, count):
    return [self._flushes(path) for path in self.destinations[:count]]

  @staticmethod
  def _flushes(device):
    with open(f"/sys/block/{os.path.basename(device)}/stat", encoding="ascii") as file:
      return int(file.read().split()[15])


class FilesOnDisk(Medium):
  """Regular files in a directory of a disk's file system."""

  title = "files on disk"

  def __init__(self, stack, folder, size, destinations=DESTINATIONS):
    super().__init__(size)
    self.folder = folder
    kind = mount_of(folder)[0]
    if kind in NOT_DISKS:
      raise Failure(f"{folder} is on {kind}, not on a disk: name a directory that is with --directory")
    needed = size * (1 + destinations) * 9 // 8
    free = shutil.disk_usage(folder).free
    if free < needed:
      raise Failure(f"{folder}: {free // MIB} MiB free, {needed // MIB} MiB needed: take --directory or a smaller --size")
    self.source, *self.destinations = (
      remove_at_end(stack, os.path.join(folder, name)) for name in ["source", *(f"destination{i}" for i in range(destinations))])
    fill(self.source, size, varied)
    for path in self.destinations:
      fill(path, size, bytes)

  def settle(self):
    run("sync", "-f", self.folder, limit=1800)
    super().settle()

  def drop(self, path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
      os.fsync(descriptor)
      os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
      os.close(descriptor)

  def describe(self):
    kind, source, options = mount_of(self.folder)
    warning = " (it can share blocks: cp and kcopyfs need not copy here, so their rows mean little)" if self._shares_blocks() else ""
    return f"regular files in {self.folder}: {kind} on {source}, {options}{warning}"

  def _shares_blocks(self):
    probe = os.path.join(self.folder, "shared")
    try:
      run("cp", "--reflink=always", self.source, probe)
    except Failure:
      return False
    finally:
      if os.path.exists(probe):
        os.unlink(probe)
    return True


def make_tmpfs(stack, path, size):
  """Mounts a tmpfs with room for `size` bytes of files; returns where."""
  _require_memory(size)
  mount_point = make_directory(stack, path)
  stack.callback(unmount, mount_point)
  run("mount", "-t", "tmpfs", "-o", f"size={size + 64 * MIB},mode=0700", "kcopyfs-bench", mount_point)
  return mount_point


def fill(path, size, data):
  """Makes a file of `size` bytes from `data(count)`, on the medium when this returns."""
  with open(path, "xb", buffering=0) as file:
    for _ in range(0, size, 4 * MIB):
      if file.write(data(4 * MIB)) != 4 * MIB:
        raise Failure(f"{path}: a short write; is the file system full?")
    os.fsync(file.fileno())


_RANDOM = os.urandom(8 * MIB)


def varied(count):
  """So many bytes that nothing compresses and that are others each time, at most 4 MiB; in a tenth of the time of random ones."""
  start = random.randrange(len(_RANDOM) - count)
  return _RANDOM[start:start + count]


def make_sampled(path, size, is_source):
  """Makes a file of `size` bytes in no time: a source with a MiB of random data at the start of every 16 and holes between, or a
  destination that has all its blocks and no data."""
  with open(path, "xb", buffering=0) as file:
    if not is_source:
      os.posix_fallocate(file.fileno(), 0, size)
      return
    os.truncate(file.fileno(), size)
    for place in range(0, size, SPARSE):
      if os.pwrite(file.fileno(), os.urandom(MIB), place) != MIB:
        raise Failure(f"{path}: a short write; is the file system full?")


def mount_of(folder):
  """File system, source and options of the mount that a folder is on; the last listed lies on top."""
  return run("findmnt", "-n", "-r", "-o", "FSTYPE,SOURCE,OPTIONS", "-T", folder).splitlines()[-1].split()


def _require_memory(total):
  with open("/proc/meminfo", encoding="ascii") as file:
    available = next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
  if available < total + SPARE_MEMORY:
    raise Failure(f"{available // MIB} MiB of memory available; the tmpfs needs {total // MIB} and {SPARE_MEMORY // MIB} must stay free: "
                  "take a smaller --size, or --only D for the disk alone")


def attach(path):
  if not os.path.exists("/dev/loop-control"):
    raise Failure("/dev/loop-control is missing: the kernel has no loop driver, or this container does not see it")
  device = run("losetup", "-f", "--show", "--direct-io=on", path).strip()
  if run("losetup", "-n", "-O", "DIO", device).strip() != "1":
    raise Failure(f"{device}: no direct I/O over tmpfs; that needs Linux 6.6 or later")
  return device


def detach(path):
  """Detaches by the backing file: right too when the bench was stopped while `losetup` ran. The kernel detaches late, so it is awaited."""
  def devices():
    return [line.split(":")[0] for line in run("losetup", "-j", path).splitlines()]
  for device in devices():
    run("losetup", "-d", device)
  wait_until(lambda: not devices(), 30, f"a loop device over {path} is still in use")


def unmount(path):
  """Unmounts what is mounted there: the kernel closes a loop device's file a moment after it says that the device is free."""
  def is_free():
    if os.path.ismount(path):
      with contextlib.suppress(Failure):
        run("umount", path)
    return not os.path.ismount(path)
  try:
    wait_until(is_free, 10, "")
  except Failure:
    # Once more, for its reason.
    run("umount", path)
