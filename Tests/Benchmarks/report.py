"""What the bench prints: the machine, a table per case, how kcopyfs stands against the best peer and the limit."""

import json
import os
import platform
from statistics import mean, median

from commands import run
from contenders import KCOPYFS, LIMIT, PEER

GIB = 1 << 30
MIB = 1 << 20

AIMS = {1: 1.0, 3: 1.3}
"""Speed of kcopyfs over that of the best peer, by number of destinations."""

FOOTNOTES = """\
ratio: time of the row over that of the reference in the same round, median (min to max): above 1 the reference was faster.
CPU: mean of the runs, per GiB of source. Of kcopyfs the daemon's, in the kernel's ticks of 10 ms; of the others the command's with its
children. What the kernel's own threads do for loop devices and write-back is in nobody's. fio: time by its own clock, without its start."""


class Case:
  """One table: a medium and a number of destinations, with the samples of each contender, one per round."""

  def __init__(self, medium, count, size, contenders):
    self.title = f"{medium.title}, 1 to {count}"
    self.environment = medium.environment()
    self.count = count
    self.size = size
    self.samples = {contender: [] for contender in contenders}

  def seconds(self, contender):
    return [sample.seconds for sample in self.samples[contender]]

  def with_role(self, role):
    """The contenders of a role, fastest first."""
    return sorted((c for c in self.samples if c.role == role), key=lambda c: median(self.seconds(c)))

  def ratios(self, contender, reference):
    """Time of one over time of the other, for each round."""
    return [a / b for a, b in zip(self.seconds(contender), self.seconds(reference), strict=True)]

  def table(self):
    """The lines of the table; the reference of its ratios is kcopyfs, or the fastest peer where kcopyfs was left out."""
    reference = (self.with_role(KCOPYFS) or self.with_role(PEER) or self.with_role(LIMIT))[0]
    rounds = len(self.samples[reference])
    lines = [f"{self.title}: {self.size / GIB:g} GiB, medians of {rounds}"]
    rows = [["", "seconds", "min to max", "MiB/s", "user ms/GiB", "system ms/GiB", "CPU s", f"ratio to {reference.name}"]]
    rows += [self._row(contender, reference) for contender in self.samples]
    return lines + aligned(rows)

  def _row(self, contender, reference):
    seconds, samples = self.seconds(contender), self.samples[contender]
    user, system = (mean(getattr(sample, kind) for sample in samples) for kind in ("user", "system"))
    milliseconds = 1000 * GIB / self.size
    return [
      contender.name, f"{median(seconds):.3f}", f"{min(seconds):.3f} to {max(seconds):.3f}", f"{self.size / MIB / median(seconds):.0f}",
      f"{user * milliseconds:.0f}", f"{system * milliseconds:.0f}", f"{user + system:.2f}", spread(self.ratios(contender, reference))]

  def summary(self):
    """One line: kcopyfs against the best peer and against fio, with the aim."""
    kcopyfs, peers, limits = (self.with_role(role) for role in (KCOPYFS, PEER, LIMIT))
    if not kcopyfs:
      return f"{self.title}: kcopyfs was not measured"
    parts = []
    if peers:
      ratios = self.ratios(peers[0], kcopyfs[0])
      aim = AIMS[self.count]
      verdict = "met" if median(ratios) >= aim else "NOT MET"
      parts.append(f"{spread(ratios)} times the speed of the best peer ({peers[0].name}), aim {aim:.1f}: {verdict}")
    if limits:
      parts.append(f"{spread(self.ratios(limits[0], kcopyfs[0]))} of fio's")
    return f"{self.title}: kcopyfs has " + ("; ".join(parts) or "nobody to compare with")

  def record(self):
    """The case as it goes into the JSON file."""
    rows = [{"name": c.name, "role": c.role, "command": c.script, "samples": [vars(s) for s in self.samples[c]]} for c in self.samples]
    return {"case": self.title, "destinations": self.count, "size": self.size, "environment": self.environment, "contenders": rows}


def aligned(rows):
  """The lines of a table: the names to the left, the rest to the right."""
  widths = [max(map(len, column)) for column in zip(*rows)]
  return ["  ".join([name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:]))]) for name, *cells in rows]


def spread(values):
  """Median (min to max)."""
  return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def machine():
  """The machine as words and values."""
  with open("/proc/meminfo", encoding="ascii") as file:
    memory = dict(line.split(":") for line in file)
  load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
  return {
    "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
    "processor": f"{cores} of {os.cpu_count()} cores, {_processor()}",
    "memory": f"{int(memory['MemTotal'].split()[0]) // 1024} MiB, {int(memory['MemAvailable'].split()[0]) // 1024} available",
    "load": f"{load:.2f}" + (" (others are at work here: expect times to scatter)" if load > cores / 2 else ""),
  }


def _processor():
  with open("/proc/cpuinfo", encoding="utf-8") as file:
    names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
  return names[0] if names else "model unknown"


def versions():
  """The first line that each peer says of its version."""
  commands = {"dd, cp, tee": "dd", "qemu-img": "qemu-img", "nbdcopy": "nbdcopy", "fio": "fio"}
  return {name: run(command, "--version").splitlines()[0] for name, command in commands.items()}


def print_facts(title, facts):
  print(f"\n{title}:")
  for name, value in facts.items():
    print(f"  {name}: {value}")


def write_json(path, facts, cases):
  with open(path, "w", encoding="utf-8") as file:
    json.dump(facts | {"cases": [case.record() for case in cases], "summary": [case.summary() for case in cases]}, file, indent=2)
    file.write("\n")
