"""The jobs that are submitted in a trial, made from a seed, and what must be on the media when they are done."""

import os
import random
from dataclasses import dataclass

from disks import DESTINATIONS, DISK_SIZE, FILE_SIZE, SOURCE, STATE

SECTOR = 512
KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class Place:
  """A region that a job writes: of a disk, or of a file that is named; `made` when the job makes the file."""

  disk: int
  file: str
  start: int
  count: int
  made: bool = False

  @property
  def end(self):
    return self.start + self.count


@dataclass(frozen=True)
class Planned:
  """One job to submit.

  `key` is its context, by which it's known again whatever its name. `name` is None for a number. `record` is as `spec` will have it.
  `content` is what each of its places must hold in the end.
  """

  key: str
  name: str | None
  record: str
  content: bytes
  places: tuple
  cancelled: bool = False
  refused: bool = False


class Work:
  """What one trial does: `calls` are lists of jobs, those of a list being submitted by one write."""

  def __init__(self, name, seed, rig):
    self._random = random.Random(f"{name}:{seed}")
    self._rig = rig
    self._next = dict.fromkeys(DESTINATIONS, 0)
    self._keys = 0
    self.write_delay = self.flush_delay = 0
    """What each write, and each flush of a destination, takes, in microseconds."""
    self.calls = WORKS[name](self)

  @property
  def jobs(self):
    return [job for call in self.calls for job in call]

  def slow_down(self):
    """Makes the disks as slow as the work has it."""
    for disk in (SOURCE, *DESTINATIONS, STATE):
      self._rig.power.ask(f"slow {disk} {self.write_delay} {self.flush_delay if disk in DESTINATIONS else 0}")

  # What the works are made of.

  def small(self, destinations):
    """One job of some sub-jobs at most, so that a crash at each of its writes can be tried."""
    return [[self._copy(self._size(64 * KIB, 256 * KIB), destinations)]]

  def large(self, destinations):
    """One job that lasts over its first checkpoints."""
    # With the second, crashes fall into flushes too. Writes to the same disk wait meanwhile: loop devices and FUSE have it so.
    self.flush_delay = self._random.choice([0, 150_000])
    count = self._size(3 * MIB, 5 * MIB)
    return [[self._copy(count, destinations, f"rate={count * 10 // 28}B")]]

  def many(self, destinations):
    """Some of all: jobs that wait for memory, a barrier, zeroes, files, other errors and orders, one to cancel and one to refuse."""
    # So slow that writes are under way at any moment, and after a kill -9 still arrive.
    self.write_delay = 2000
    lasting = self._size(512 * KIB, 1024 * KIB)
    named = self._copy(lasting, destinations, f"rate={lasting * 3}B", name="first")
    calls = [
      [named],
      [self._copy(self._size(16 * KIB, 512 * KIB), destinations, "errors=ignore order=sequential"), self._barrier(), self._zero(),
       self._file_copy("made", made=True)],
      [self._cancelled()],
      [self._refused(named)],
      [self._file_copy("present", made=False)],
      [self._copy(self._size(4 * KIB, 64 * KIB), destinations, "order=sequential"), self._copy(self._size(4 * KIB, 768 * KIB), 1)],
    ]
    self._random.shuffle(calls)
    calls.remove(next(call for call in calls if call == [named]))
    return [[named], *calls]

  def _size(self, least, most):
    return self._random.randrange(least, most + 1, SECTOR)

  def _key(self):
    self._keys += 1
    return f"j{self._keys}"

  def _place(self, disk, count):
    """The next free region of a disk, with bytes before it that nobody is to touch."""
    start = self._next[disk] + self._random.randrange(SECTOR, 64 * KIB, SECTOR)
    self._next[disk] = start + count
    if start + count >= DISK_SIZE:
      raise ValueError(f"disk {disk} is too small for this work")
    return Place(disk, "", start, count)

  def _copy(self, count, destinations, options="", name=None, **more):
    start = self._random.randrange(0, DISK_SIZE - count, SECTOR)
    places = [self._place(disk, count) for disk in self._random.sample(DESTINATIONS, destinations)]
    words = [f"from={self._rig.device(SOURCE)}@{offset(start)}+{count}B"]
    words += [f"to={self._rig.device(place.disk)}@{offset(place.start)}+{count}B" for place in places]
    content = self._rig.fresh[SOURCE][start:start + count]
    return self._planned(words, options, content, places, name, **more)

  def _planned(self, words, options, content, places, name, **more):
    key = self._key()
    return Planned(key, name, " ".join([*words, *options.split(), f"context={key}"]), content, tuple(places), **more)

  def _barrier(self):
    return self._planned(["op=none"], "", b"", [], None)

  def _zero(self):
    disk = self._random.choice(DESTINATIONS)
    place = self._place(disk, self._size(4 * KIB, 256 * KIB))
    return self._planned([f"to={self._rig.device(disk)}@{offset(place.start)}+{place.count}B"], "op=zero", bytes(place.count), [place], None)

  def _file_copy(self, name, made):
    """From a file to a file, to the byte: neither begins nor ends with a block."""
    count = self._random.randint(1, FILE_SIZE // 2)
    start, into = (self._random.randint(0, FILE_SIZE - count) for _ in range(2))
    place = Place(-1, name, into, count, made)
    source, destination = (os.path.join(self._rig.files, file) for file in ("source", name))
    return self._planned(
      [f"from={source}@{offset(start)}+{count}B", f"to={destination}@{offset(into)}+{count}B"], "create=yes" if made else "",
      self._rig.fresh_files["source"][start:start + count], [place], None if self._random.random() < 0.5 else name)

  def _cancelled(self):
    return self._copy(self._size(256 * KIB, 512 * KIB), 1, f"rate={512 * KIB}B", name="cancelled", cancelled=True)

  def _refused(self, other):
    """Over what another job writes, which isn't final by then or is; or wrong in itself. Whether it's refused is for the daemon to say."""
    place = other.places[0]
    wrong = f"to={self._rig.device(place.disk)}@{offset(place.start)} form=x"
    return self._planned([f"from={self._rig.device(SOURCE)}@0+{SECTOR}B", wrong], "", b"", [], "refused", refused=True)


def offset(start):
  """A START as `spec` writes it."""
  return f"{start}B" if start else "0"


WORKS = {
  "small1": lambda work: work.small(1),
  "small3": lambda work: work.small(3),
  "large1": lambda work: work.large(1),
  "large3": lambda work: work.large(3),
  "many1": lambda work: work.many(1),
  "many3": lambda work: work.many(3),
}
