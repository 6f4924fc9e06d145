"""Proof that the crash tests find what they look for: the disks lose what they should, and whoever breaks a promise is reported."""

import mmap
import os
import threading

from commands import run, wait_until
from disks import DESTINATIONS, SOURCE, STATE
from life import Wrong
from points import Point
from trial import Trial
from work import SECTOR

BLOCK = 4096
FLUSH_TIME = 0.3
"""Seconds, of a slow flush."""


class Sabotage:
  """What is done at the beginning, before the last loss of power, and in the life after it; `finds` is what the report must say."""

  finds = ""

  def begin(self, rig):
    """The disks are fresh."""

  def end(self, rig, trial):
    """All jobs are final."""

  def after(self, life, trial):
    """The daemon has started again."""


class LyingDestinations(Sabotage):
  """The destinations answer flushes and do nothing: jobs are done, and power takes them."""

  finds = "wrong bytes on disk"

  def begin(self, rig):
    for disk in DESTINATIONS:
      rig.power.ask(f"lie {disk} yes")


class LyingState(Sabotage):
  """The disk under the journal and the files lies: what the daemon committed is not there after the loss."""

  def begin(self, rig):
    rig.power.ask(f"lie {STATE} yes")


class StrayWrite(Sabotage):
  """Somebody writes a block that no job has."""

  finds = "which no job writes"

  def end(self, rig, trial):
    _copy_blocks(rig, rig.device(SOURCE), 0, rig.device(DESTINATIONS[0]), 0)


class WrittenAgain(Sabotage):
  """A job that is done is written once more, with the bytes that are there already."""

  finds = "the job was final by then"

  def end(self, rig, trial):
    place = next(iter(trial.work.jobs)).places[0]
    block = place.start // BLOCK + 1
    _copy_blocks(rig, rig.device(place.disk), block, rig.device(place.disk), block)


class RemovedJob(Sabotage):
  """A job that is done is taken away."""

  finds = "is not there"

  def after(self, life, trial):
    os.rmdir(life.path("jobs", next(iter(trial.client.known.values())).name))


class TakenBack(Sabotage):
  """A job that was seen to be cancelled is done."""

  finds = "was cancelled and is done now"

  def after(self, life, trial):
    next(iter(trial.client.known.values())).state = "cancelled"


def _copy_blocks(rig, source, skip, destination, seek):
  run("dd", f"if={source}", f"of={destination}", f"bs={BLOCK}", "count=1", f"skip={skip}", f"seek={seek}", "iflag=direct",
      "oflag=direct", "conv=notrunc,fsync", "status=none")


class DiskTest:
  """What the disks of the rig keep when power goes, seen through their loop devices."""

  DISK = DESTINATIONS[0]
  SIZE = 64 * SECTOR

  def __init__(self, rig):
    self._rig = rig

  def results(self):
    """Titles, and whether it holds."""
    yield "drop keeps nothing that isn't flushed", self._left("drop") == self._old
    yield "drop keeps what is flushed", self._left("drop", flush=True) == self._new
    yield "keep keeps all", self._left("keep") == self._new
    yield "rand keeps some sectors, and tears none", any(1 < self._changes(self._left("rand", seed)) for seed in range(8))
    torn = [self._changes(self._left("torn", seed)) for seed in range(16)]
    yield "torn keeps a beginning, an end, all or nothing of a write", max(torn) == 1 and 0 in torn
    yield "a seed keeps the same each time", self._left("rand", 3) == self._left("rand", 3)
    yield "a disk that lies keeps nothing", self._left("drop", flush=True, lies=True) == self._old
    yield "a flush that power cuts short has brought nothing to the medium", self._left_in_flush() == self._old
    yield "power goes at the write that was said", self._writes_until_crash(3) == 2
    yield "nothing is read without power", not self._reads_when_down()
    yield "a write over a seal is counted", self._breaks_seal(self.SIZE - SECTOR) and not self._breaks_seal(self.SIZE)

  @property
  def _old(self):
    return self._rig.fresh[self.DISK][:self.SIZE]

  @property
  def _new(self):
    return self._rig.fresh[SOURCE][:self.SIZE]

  def _write(self, flush=False):
    """Writes the beginning of the disk, past all caches but its own."""
    file = os.open(self._rig.device(self.DISK), os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
      with mmap.mmap(-1, self.SIZE) as aligned:
        aligned[:] = self._new
        os.write(file, aligned)
      if flush:
        os.fsync(file)
    finally:
      os.close(file)

  def _left(self, mode, seed=1, flush=False, lies=False):
    self._rig.reset()
    self._rig.power.ask(f"lie {self.DISK} {'yes' if lies else 'no'}")
    self._write(flush)
    self._rig.power.ask(f"crash now {mode} {seed}")
    return self._rig.image(self.DISK)[:self.SIZE]

  def _left_in_flush(self):
    self._rig.reset()
    self._rig.power.ask(f"slow {self.DISK} 0 {FLUSH_TIME * 1_000_000:.0f}")
    errors = []
    flush = threading.Thread(target=self._write_noting, args=(errors,))
    flush.start()
    wait_until(lambda: self._rig.power.counters()[f"d{self.DISK}_flushing"] == "1", 10, "no flush comes to the disk")
    self._rig.power.ask("crash now drop 0")
    flush.join()
    return self._rig.image(self.DISK)[:self.SIZE] if errors else b"the flush succeeded"

  def _write_noting(self, errors):
    try:
      self._write(flush=True)
    except OSError as error:
      errors.append(error)

  def _changes(self, left):
    """How often old and new sectors follow each other; -1 when a sector is neither."""
    kinds = []
    for i in range(0, self.SIZE, SECTOR):
      sector = left[i:i + SECTOR]
      kinds.append("new" if sector == self._new[i:i + SECTOR] else "old" if sector == self._old[i:i + SECTOR] else "")
    return -1 if "" in kinds else sum(one != next for one, next in zip(kinds, kinds[1:]))

  def _writes_until_crash(self, number):
    self._rig.reset()
    self._rig.power.ask(f"crash at {number} keep 1")
    for count in range(number + 1):
      try:
        self._write()
      except OSError:
        return count
    return None

  def _reads_when_down(self):
    self._rig.reset()
    self._rig.power.ask("crash now drop 0")
    try:
      with open(self._rig.device(self.DISK), "rb", buffering=0) as disk:
        return bool(disk.read(SECTOR))
    except OSError:
      return False

  def _breaks_seal(self, begin):
    self._rig.reset()
    self._rig.power.seal(self.DISK, begin, begin + SECTOR)
    self._write()
    return bool(self._rig.power.broken_seals())


SABOTAGES = (LyingDestinations, LyingState, StrayWrite, WrittenAgain, RemovedJob, TakenBack)


def self_test(rig, program):
  """Tries the disks, then runs the same jobs without sabotage and with each; returns the failures."""
  failures = []
  for title, holds in DiskTest(rig).results():
    print(f"self-test: {title}: {'as it must be' if holds else 'WRONG'}", flush=True)
    if not holds:
      failures.append(title)
  for sabotage in (Sabotage, *SABOTAGES):
    report = _report(rig, program, sabotage())
    is_right = report is None if sabotage is Sabotage else report is not None and sabotage.finds in report
    print(f"self-test: {sabotage.__name__}: {report or 'nothing reported'}: {'as it must be' if is_right else 'WRONG'}", flush=True)
    if not is_right:
      failures.append(sabotage.__name__)
    if "Sabotage" in failures:
      print("self-test: the rest would show nothing: what is reported without sabotage has to be mended first", flush=True)
      break
  return failures


def _report(rig, program, sabotage):
  try:
    Trial(rig, program, Point("small3", 1, ()), sabotage).run()
  except Wrong as wrong:
    return str(wrong)
  return None
