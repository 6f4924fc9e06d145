"""Proof that the crash tests find what they look for: each of these breaks a promise behind their back, and must be reported."""

import os

from commands import run
from disks import DESTINATIONS, SOURCE, STATE
from life import Wrong
from points import Point
from trial import Trial

DIRECT_SECTOR = 4096


class Sabotage:
  """What is done at the beginning, at the end before the last loss of power, and in the life after it; `finds` is what the report must say."""

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
    block = place.start // DIRECT_SECTOR + 1
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
  run("dd", f"if={source}", f"of={destination}", f"bs={DIRECT_SECTOR}", "count=1", f"skip={skip}", f"seek={seek}", "iflag=direct",
      "oflag=direct", "conv=notrunc,fsync", "status=none")


SABOTAGES = (LyingDestinations, LyingState, StrayWrite, WrittenAgain, RemovedJob, TakenBack)


def self_test(rig, program):
  """Runs the same jobs without sabotage and then with each; returns the failures."""
  failures = []
  for sabotage in (Sabotage, *SABOTAGES):
    report = _report(rig, program, sabotage())
    is_right = report is None if sabotage is Sabotage else report is not None and sabotage.finds in report
    print(f"self-test: {sabotage.__name__}: {report or 'nothing reported'}: {'as it must be' if is_right else 'WRONG'}", flush=True)
    if not is_right:
      failures.append(sabotage.__name__)
    if failures == ["Sabotage"]:
      print("self-test: the rest would show nothing: what is reported without sabotage has to be mended first", flush=True)
      break
  return failures


def _report(rig, program, sabotage):
  try:
    Trial(rig, program, Point("small3", 1, ()), sabotage).run()
  except Wrong as wrong:
    return str(wrong)
  return None
