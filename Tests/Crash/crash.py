"""Crashes of the daemon and of the machine: what it acknowledged must be there after each, and what it said to be done on the medium.

kill -9 of the daemon at random moments, and power lost on the disks below it: at every write of a small job, and at random ones of larger
ones; crashes during the recovery from a crash included. After each the daemon starts again on the same state, the jobs come to their end,
power is lost once more, and the media are compared.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field

from commands import Failure, make_directory, remove_at_end, stop, undoing
from disks import Rig
from life import Wrong
from points import Point, kill_points, power_points, sweep
from selftest import self_test
from starts import Starts
from trial import Trial
from work import WORKS

SHARE_LIMIT = 200.0
"""Seconds after which a share begins no further point; that they were left out is said."""
STARTS = "kill -9, at the start"
LEAST_STRUCK = 0.5
"""Of the points of a group, so many must have met a crash: fewer, and the group shows nothing."""


@dataclass
class Group:
  """Points of one kind, and what came of them."""

  title: str
  points: list
  needs_maps: bool = False
  """Whether some of its jobs must have gone on from a map, or it shows nothing of maps."""
  ran: int = 0
  struck: int = 0
  crashes: int = 0
  unfinished: int = 0
  kept_maps: int = 0
  failures: list = field(default_factory=list)

  def summary(self):
    left_out = f", {len(self.points) - self.ran} LEFT OUT for the time limit" if self.ran < len(self.points) else ""
    return (f"{self.title}: {self.ran} points, {self.struck} of them with a crash, {self.crashes} crashes, {self.unfinished} times a job "
            f"was gone on with, {self.kept_maps} of them from a map, {len(self.failures)} wrong{left_out}")

  @property
  def shows_nothing(self):
    """Why it does, when it does."""
    if self.struck < LEAST_STRUCK * self.ran:
      return "most of its crashes came after the end of the jobs"
    if self.needs_maps and self.kept_maps == 0 < self.ran:
      return "no job went on from its map"
    return ""


def main():
  options = parse_options()
  if os.geteuid() != 0:
    raise Failure("must run as root: it mounts, makes loop devices and writes to them")
  stop.catch()
  with undoing() as stack:
    folder = os.path.realpath(tempfile.mkdtemp(prefix="kcopyfs-crash-", dir=options.directory))
    stack.callback(os.rmdir, folder)
    remove_at_end(stack, os.path.join(folder, "daemon.log"))
    make_directory(stack, os.path.join(folder, "mount"))
    rig = Rig(stack, folder, options.power_disk)
    return 1 if Run(options, rig).all() else 0


def parse_options():
  parser = argparse.ArgumentParser(prog="mount-scripts/crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  what = parser.add_mutually_exclusive_group()
  what.add_argument("--share", action="store_true", help="two minutes of all, the self-test too; nothing: the full run, of fifteen")
  what.add_argument("--replay", metavar="POINT", help="this crash point alone, as a failure printed it, and the story of it")
  what.add_argument("--self-test", action="store_true", help="only show that broken promises are found")
  parser.add_argument("--seed", type=int, help="of the random points (another each time)")
  parser.add_argument("--only", default="", metavar="SUBSTRING", help="only the groups whose title contains it")
  parser.add_argument("--times", type=int, default=1, metavar="N", help="with --replay: so many times, for a point that fails sometimes")
  parser.add_argument("--keep", action="store_true", help="leave the disks, the journal and the daemon's log of a failure in a directory")
  parser.add_argument("--directory", default=os.environ.get("TMPDIR") or "/var/tmp", metavar="DIR",
                      help="where to work ($TMPDIR or /var/tmp)")
  parser.add_argument("--daemon", required=True, metavar="PATH", help=argparse.SUPPRESS)
  parser.add_argument("--power-disk", required=True, metavar="PATH", help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.seed is None:
    options.seed = random.SystemRandom().randrange(10**6)
  return options


class Run:
  """One invocation: its groups of points, one after the other on one rig."""

  def __init__(self, options, rig):
    self._options = options
    self._rig = rig
    self._begin = time.monotonic()
    self._kept = None

  def all(self):
    """Whether anything was wrong."""
    if self._options.replay:
      return self._replay(Point.parse(self._options.replay))
    failures = []
    if self._options.self_test or self._options.share:
      failures = self_test(self._rig, self._options.daemon)
    if not self._options.self_test and self._options.only in STARTS:
      failures += self._kill_starts(200 if self._options.share else 1000)
    groups = [] if self._options.self_test else self._groups()
    for group in groups:
      self._run_group(group)
    print()
    for group in groups:
      print(group.summary())
      for point, text in group.failures:
        print(f"  WRONG '{point}': {text}")
      if group.shows_nothing:
        print(f"  WRONG: {group.shows_nothing}")
    wrong = failures or any(group.failures or group.shows_nothing for group in groups)
    print(f"crash: {sum(group.ran for group in groups)} points in {time.monotonic() - self._begin:.0f} s, seed {self._options.seed}: "
          f"{'WRONG' if wrong else 'all as it must be'}")
    return bool(wrong)

  def _kill_starts(self, count):
    begin = time.monotonic()
    try:
      Starts(self._rig, self._options.daemon).run(count, self._options.seed)
    except Wrong as wrong:
      print(f"WRONG {STARTS}, seed {self._options.seed}: {wrong}", flush=True)
      return [STARTS]
    print(f"{STARTS}: {count} starts in {time.monotonic() - begin:.0f} s, none wrong", flush=True)
    return []

  def _groups(self):
    """The extents of the works, measured without crashes, and the points within them."""
    chance = random.Random(self._options.seed)
    extents = {}
    for work in WORKS:
      extents[work] = Trial(self._rig, self._options.daemon, Point(work, 1, ())).measure()
      print(f"{work}: {extents[work].writes} writes, {extents[work].milliseconds} ms", flush=True)
    plan = self._share if self._options.share else self._full
    return [group for group in plan(extents, chance) if self._options.only in group.title]

  def _full(self, extents, chance):
    return [
      *(Group(f"kill -9, {work}", kill_points(work, extents[work], count, chance))
        for work, count in (("many1", 100), ("many3", 100), ("large1", 12), ("large3", 12))),
      *(Group(f"power lost at every write, {work}", sweep(work, extents[work])) for work in ("small1", "small3")),
      *(Group(f"power lost, {work}", power_points(work, extents[work], count, chance), work.startswith("large"))
        for work, count in (("many1", 100), ("many3", 100), ("large1", 40), ("large3", 40))),
    ]

  def _share(self, extents, chance):
    step = 8
    return [
      *(Group(f"power lost at some writes, {work}", sweep(work, extents[work], step, chance.randrange(step)))
        for work in ("small1", "small3")),
      *(Group(f"kill -9, {work}", kill_points(work, extents[work], count, chance)) for work, count in (("many1", 20), ("many3", 20))),
      *(Group(f"power lost, {work}", power_points(work, extents[work], count, chance), work == "large3")
        for work, count in (("many1", 10), ("many3", 20), ("large1", 4), ("large3", 10))),
    ]

  def _run_group(self, group):
    begin = time.monotonic()
    for point in group.points:
      if self._options.share and time.monotonic() - self._begin > SHARE_LIMIT:
        break
      self._run_point(group, point)
    print(f"{group.title}: {group.ran} points in {time.monotonic() - begin:.0f} s, {len(group.failures)} wrong", flush=True)

  def _run_point(self, group, point):
    trial = Trial(self._rig, self._options.daemon, point)
    try:
      trial.run()
    except Wrong as wrong:
      group.failures.append((point, str(wrong)))
      print(f"WRONG '{point}': {wrong}", flush=True)
      self._keep(trial)
    group.ran += 1
    group.struck += trial.struck > 0
    group.crashes += trial.struck
    group.unfinished += trial.client.unfinished
    group.kept_maps += trial.client.kept_maps
    return trial

  def _replay(self, point):
    group = Group("replay", [point])
    for _ in range(self._options.times):
      trial = self._run_point(group, point)
      print("\n".join(trial.story))
    print(group.summary())
    return bool(group.failures)

  def _keep(self, trial):
    """The evidence of the first failure: the later ones can be replayed."""
    if not self._options.keep or self._kept:
      return
    self._kept = tempfile.mkdtemp(prefix="kcopyfs-crash-evidence-", dir=self._options.directory)
    for path in trial.evidence():
      shutil.copy(path, self._kept)
    with open(os.path.join(self._kept, "story"), "w", encoding="utf-8") as file:
      file.write("\n".join([str(trial.point), *trial.story, ""]))
    print(f"its evidence is in {self._kept}", flush=True)


if __name__ == "__main__":
  try:
    sys.exit(main())
  except (Failure, Wrong) as failure:
    print(f"crash: {failure}", file=sys.stderr)
    sys.exit(1)
