"""Crash points: which jobs, and when what goes. Each is a short text that says all, so that a failure can be run again alone.

    small3:7 power@35:torn:9 kill@120ms power@maps:drop:1

are the jobs of the work `small3` made from the seed 7; power is lost at the 35th write after the daemon's start (its unflushed writes are
torn as the seed 9 says); the daemon that is started then is killed by SIGKILL after 120 ms; the next one is let go on until its maps
have been read, and then power is lost again and nothing unflushed survives. After the last of the crashes the jobs come to their end.
"""

import re
from dataclasses import dataclass

from commands import Failure
from work import WORKS

MODES = ("drop", "keep", "rand", "torn")
MAPS = 0
"""In place of a write's number: as soon as the maps have been read."""


@dataclass(frozen=True)
class Power:
  """Power is lost at a write, counted from the start of the daemon."""

  write: int
  mode: str
  seed: int

  def __str__(self):
    return f"power@{self.write or 'maps'}:{self.mode}:{self.seed}"


@dataclass(frozen=True)
class Kill:
  """SIGKILL so many milliseconds after the start of the daemon."""

  milliseconds: int

  def __str__(self):
    return f"kill@{self.milliseconds}ms"


@dataclass(frozen=True)
class Point:
  work: str
  seed: int
  crashes: tuple

  def __str__(self):
    return " ".join([f"{self.work}:{self.seed}", *map(str, self.crashes)])

  @classmethod
  def parse(cls, text):
    work, *crashes = text.split()
    match = re.fullmatch(r"(\w+):(\d+)", work)
    if not match or match[1] not in WORKS:
      raise Failure(f"{work}: no WORK:SEED; the works are {' '.join(WORKS)}")
    return cls(match[1], int(match[2]), tuple(map(_parse_crash, crashes)))


def _parse_crash(text):
  if match := re.fullmatch(r"power@(maps|[1-9]\d*):(\w+):(\d+)", text):
    if match[2] in MODES:
      return Power(MAPS if match[1] == "maps" else int(match[1]), match[2], int(match[3]))
  if match := re.fullmatch(r"kill@(\d+)ms", text):
    return Kill(int(match[1]))
  raise Failure(f"{text}: neither power@WRITE:MODE:SEED (WRITE may be `maps`, MODE is one of {' '.join(MODES)}) nor kill@Nms")


@dataclass(frozen=True)
class Extent:
  """How far a work goes when nothing crashes: its writes, and its time in milliseconds."""

  writes: int
  milliseconds: int


def sweep(work, extent, step=1, offset=0):
  """Power lost at every write, in the modes that differ most; of those every `step`th."""
  points = [Point(work, 1, (Power(write, mode, write),)) for write in range(1, extent.writes + 1) for mode in ("drop", "keep", "torn")]
  return points[offset % step::step]


def power_points(work, extent, count, random):
  """Power lost at random writes of random jobs, often again while the daemon recovers."""
  points = []
  for _ in range(count):
    crashes = [Power(random.randint(1, extent.writes), random.choice(MODES), random.randrange(10**6))]
    while len(crashes) < 3 and random.random() < 0.5:
      write = random.choice([MAPS, random.randint(1, 12), random.randint(1, extent.writes)])
      crashes.append(Power(write, random.choice(MODES), random.randrange(10**6)))
    points.append(Point(work, random.randrange(10**6), tuple(crashes)))
  return points


def kill_points(work, extent, count, random):
  """SIGKILL at random moments of random jobs, sometimes again while the daemon recovers, and sometimes power is lost then."""
  points = []
  for _ in range(count):
    # In the first part of it all is started and submitted.
    crashes = [Kill(random.randint(0, extent.milliseconds // random.choice([1, 1, 4])))]
    while len(crashes) < 3 and random.random() < 0.4:
      crashes.append(Kill(random.randint(0, extent.milliseconds // 2)))
    if random.random() < 0.2:
      crashes.append(Power(MAPS, random.choice(MODES), random.randrange(10**6)))
    points.append(Point(work, random.randrange(10**6), tuple(crashes)))
  return points
