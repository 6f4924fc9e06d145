"""A source with bad areas: a file behind nbdkit's ddrescue filter, which fails to read what a mapfile marks, as a loop device."""

import os
import subprocess

from commands import Failure, make_directory, run, wait_until
from media import MIB, LoopsOnTmpfs, attach, detach

SECTOR = 512
# In sectors, in turn: one alone, a few, and stretches.
LENGTHS = (1, 3, 100, 1, 300, 1, 8, 1500)


class HealthyDisk(LoopsOnTmpfs):
  """512 MiB behind nbdkit, all of which can be read, and a destination on a loop device."""

  bad = ()

  def __init__(self, stack, folder):
    super().__init__(stack, folder, 512 * MIB, 1)
    self._bytes = os.path.join(folder, "tmpfs", "source")
    self._map, self._log = os.path.join(folder, "bad"), os.path.join(folder, "log")
    self._ddrescues = os.path.join(folder, "map")
    self._write_map()
    image = os.path.join(make_directory(stack, os.path.join(folder, "disk")), "image")
    for path in (self._map, self._log, self._ddrescues, image):
      stack.callback(lambda path=path: os.path.exists(path) and os.unlink(path))
    with open(image, "xb"), open(self._log, "xb") as log:
      server = subprocess.Popen(
        ["nbdfuse", image, "--command", "nbdkit", "-s", "--exit-with-parent", "--filter=ddrescue", "file", self._bytes,
         f"ddrescue-mapfile={self._map}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    stack.callback(self._end, server, image)
    wait_until(lambda: os.path.getsize(image) == self.size, 20, f"nbdfuse shows no disk; see {self._log}")
    stack.callback(detach, image)
    self.source = attach(image)

  @staticmethod
  def _end(server, image):
    if os.path.ismount(image):
      run("fusermount3", "-u", image)
    server.wait(timeout=30)

  def _write_map(self):
    lines, place = ["0 + 1"], 0
    for start, end in self.bad:
      lines += [f"{place} {start - place} +", f"{start} {end - start} -"]
      place = end
    with open(self._map, "x", encoding="ascii") as file:
      file.write("\n".join([*lines, f"{place} {self.size - place} +", ""]))

  def environment(self):
    return super().environment() | {"S": self.source, "MAP": self._ddrescues}

  def prepare(self):
    self.settle()
    if os.path.exists(self._ddrescues):
      os.unlink(self._ddrescues)

  def wipe_all(self):
    self.wipe(1)

  def correct(self):
    """All that can be read is there, and nothing else."""
    self.settle()
    with open(self._bytes, "rb", buffering=0) as source, open(self.destinations[0], "rb", buffering=0) as copy:
      for place in range(0, self.size, MIB):
        expected = bytearray(os.pread(source.fileno(), MIB, place))
        for start, end in self.bad:
          low, high = max(start, place) - place, min(end, place + MIB) - place
          if low < high:
            expected[low:high] = bytes(high - low)
        if os.pread(copy.fileno(), MIB, place) != expected:
          raise Failure(f"the MiB at {place} is wrong")


class DyingDisk(HealthyDisk):
  """With a bad area in every 16 MiB."""

  bad = tuple(
    (place + 5 * MIB, place + 5 * MIB + LENGTHS[index % len(LENGTHS)] * SECTOR) for index, place in enumerate(range(0, 512 * MIB, 16 * MIB)))
