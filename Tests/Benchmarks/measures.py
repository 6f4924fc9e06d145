"""Tables of what is no copy and has no peer: values of several runs, each measure with what is wanted of it."""

from dataclasses import dataclass
from statistics import median

import report


def verdict(is_met):
  return "met" if is_met else "NOT MET"


@dataclass
class Measure:
  """A row: its values, how they are printed, and the most that their median is to be; no values where there is nothing to measure."""

  name: str
  form: str
  aim: float | None = None

  def __post_init__(self):
    self.values = []

  def row(self):
    aim = "" if self.aim is None else f"{self.aim:g}: {verdict(bool(self.values) and median(self.values) <= self.aim)}"
    if not self.values:
      return [self.name, "missing", "", aim]
    low, middle, high = (format(value, self.form) for value in (min(self.values), median(self.values), max(self.values)))
    return [self.name, middle, f"{low} to {high}", aim]


class MeasureCase:
  """One table of measures."""

  def __init__(self, title, measures):
    self.title = title
    self.measures = {measure.name: measure for measure in measures}

  def add(self, values):
    for name, value in values.items():
      self.measures[name].values.append(value)

  def table(self):
    return [self.title, *report.aligned([["", "median", "min to max", "aim"], *(measure.row() for measure in self.measures.values())])]

  def summary(self):
    rows = [measure.row() for measure in self.measures.values() if measure.aim is not None]
    return f"{self.title}: " + "; ".join(f"{name} {middle}, aim {aim}" for name, middle, _, aim in rows)

  def record(self):
    return {"case": self.title, "measures": {measure.name: measure.values for measure in self.measures.values()}}
