"""Who submits the jobs of a trial and looks at them: what it has seen must hold ever after, whatever crashes."""

import errno
import itertools
import json
import os
import time
from dataclasses import dataclass, field
from enum import Enum

from life import Wrong
from work import Planned

FINAL_LIMIT = 30.0
"""Seconds in which all jobs come to their end after the last crash; alone they take three."""
BUSY_LIMIT = 10.0
"""Seconds for which a device may be held after a crash."""


class Outcome(Enum):
  """What the client knows of a submission."""

  UNSENT = "not submitted"
  UNKNOWN = "submitted, and never answered"
  ACKNOWLEDGED = "acknowledged"
  REFUSED = "refused"
  LOST = "never answered, and not there after the restart"


@dataclass
class Known:
  """What the client has seen of one job."""

  job: Planned
  by_file: bool
  """Whether it's written to a file of its name in `jobs`, not to `submit`."""
  outcome: Outcome = Outcome.UNSENT
  name: str | None = None
  id: int | None = None
  state: str | None = None
  cancel_sent: bool = False
  maps: dict = field(default_factory=dict)
  """By destination, the ranges that its map said to be durable, from the region's start."""

  @property
  def is_final(self):
    return self.state in ("done", "failed", "cancelled")

  @property
  def is_settled(self):
    return self.is_final or self.outcome in (Outcome.REFUSED, Outcome.LOST)

  def __str__(self):
    return f"job {self.name or self.job.name or '(no name read)'} ({self.job.key})"


class Client:
  """Goes through the calls of a work, over as many lives of the daemon as it takes."""

  def __init__(self, work, on_final, tell):
    self.known = {job.key: Known(job, bool(call[0].name) and len(call) == 1) for call in work.calls for job in call}
    self.kept_maps = 0
    self.unfinished = 0
    self.has_crashed = False
    self._calls = list(work.calls)
    self._on_final = on_final
    self._tell = tell

  # Submitting

  def submit_rest(self, life):
    """Submits what has not been yet. A file that got no answer is written again, which is harmless."""
    while self._calls:
      call = [self.known[job.key] for job in self._calls[0]]
      if call[0].by_file:
        self._submit_file(life, call[0])
      elif call[0].outcome is Outcome.UNSENT:
        self._submit(life, call)
      self._calls.pop(0)

  def _submit_file(self, life, known):
    is_there = known.outcome is Outcome.ACKNOWLEDGED
    if not is_there:
      known.outcome = Outcome.UNKNOWN
    try:
      self._unless_busy(lambda: self._write_file(life, known))
    except OSError as error:
      self._not_accepted(life, known, is_there, error)
      return
    life.check()
    if is_there:
      raise Wrong(f"{known} was there, and was accepted again")
    self._acknowledge(life, [known], [known.job.name])

  def _write_file(self, life, known):
    file = os.open(life.path("jobs", known.job.name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
    try:
      os.write(file, known.job.record.encode() + b"\n")
    finally:
      os.close(file)

  def _unless_busy(self, submit):
    """What a killed daemon has in flight holds its devices for a moment: submitting to them has to be tried again, as with any EBUSY."""
    deadline = time.monotonic() + BUSY_LIMIT
    while True:
      try:
        return submit()
      except OSError as error:
        if error.errno != errno.EBUSY or not self.has_crashed or time.monotonic() > deadline:
          raise
      time.sleep(0.01)

  def _not_accepted(self, life, known, is_there, error):
    life.check()
    if is_there and error.errno in (errno.EEXIST, errno.EISDIR):
      return
    with life.using(f"submitting {known}"):
      if error.errno != errno.EINVAL or not known.job.refused:
        raise error
    known.outcome = Outcome.REFUSED
    self._tell(f"{known} refused")

  def _submit(self, life, call):
    for known in call:
      known.outcome = Outcome.UNKNOWN
    with life.using("submit"):
      file = os.open(life.path("submit"), os.O_RDWR | os.O_CLOEXEC)
      try:
        self._write_records(life, file, call)
        names = os.read(file, 65536).decode().split()
      finally:
        os.close(file)
    if len(names) != len(call):
      life.check()
      raise Wrong(f"{len(call)} records were accepted, and submit gives the names {names}")
    self._acknowledge(life, call, names)

  def _write_records(self, life, file, call):
    """By one write, if all are good: it stops before one that isn't, and says why when that comes first."""
    rest = list(call)
    while rest:
      records = [known.job.record + (f" name={known.job.name}" if known.job.name else "") + "\n" for known in rest]
      count = self._unless_busy(lambda: os.write(file, "".join(records).encode()))
      lengths = list(itertools.accumulate(map(len, records)))
      if count not in lengths:
        life.check()
        raise Wrong(f"submit took {count} bytes of records that end at {lengths}")
      taken = lengths.index(count) + 1
      # Accepted from here on, whether or not the names can still be read.
      self._acknowledge(life, rest[:taken], [None] * taken)
      del rest[:taken]

  def _acknowledge(self, life, call, names):
    life.check()
    for known, name in zip(call, names, strict=True):
      if known.job.refused:
        raise Wrong(f"{known} was accepted: {known.job.record}")
      self._require_new(known, name)
      known.outcome = Outcome.ACKNOWLEDGED
      known.name = name
    self._tell("acknowledged " + " ".join(f"{known.job.key}={known.name or ''}" for known in call))

  def _require_new(self, known, name):
    other = next((other for other in self.known.values() if name and other is not known and other.name == name), None)
    if other:
      raise Wrong(f"the name {name} was given to {other} and again to {known.job.key}")

  # Looking

  def look(self, life, after_restart=False):
    """One look at all jobs, and at the maps of those that run; everything that was seen before must still hold."""
    with life.using("reading the jobs"):
      rows = [dict(word.split("=", 1) for word in line.split()) for line in life.read("list").splitlines()]
      statuses = {row["job"]: self._status(life, row, after_restart) for row in rows}
      maps = {key: self._read_maps(life, status) for key, status in self._running(statuses)}
    life.check()
    self._compare(statuses)
    if after_restart:
      self._count(maps)
    for key, found in maps.items():
      self.known[key].maps |= found
    self._cancel(life)

  def _status(self, life, row, after_restart):
    """The row itself for a job that is known by its name; the whole status where all has to be compared."""
    known = next((known for known in self.known.values() if known.name == row["job"] and known.id), None)
    if known and not after_restart and row["state"] == known.state:
      return {"context": known.job.key, "state": row["state"], "id": int(row["id"]), "known": True}
    status = json.loads(life.read("jobs", row["job"], "status.json"))
    status["spec"] = life.read("jobs", row["job"], "spec")
    return status

  def _running(self, statuses):
    return [(s["context"], s | {"name": name}) for name, s in statuses.items()
            if s["state"] in ("queued", "running", "paused") and s["context"] in self.known]

  def _read_maps(self, life, status):
    return {i: parse_map(life.read("jobs", status["name"], "dest", str(i), "map"))
            for i in range(len(self.known[status["context"]].job.places))}

  def _compare(self, statuses):
    found = {}
    for name, status in statuses.items():
      known = self.known.get(status["context"])
      if known is None:
        raise Wrong(f"job {name} was submitted by nobody: {status}")
      if known.job.key in found:
        raise Wrong(f"{known} is there twice: as {found[known.job.key]} and as {name}")
      found[known.job.key] = name
      self._compare_one(known, name, status)
    for known in self.known.values():
      if known.job.key in found:
        continue
      if known.outcome is Outcome.ACKNOWLEDGED:
        raise Wrong(f"{known} was acknowledged, and is not there")
      if known.outcome is Outcome.UNKNOWN:
        known.outcome = Outcome.UNSENT if known.by_file else Outcome.LOST
        self._tell(f"{known} was not accepted")

  def _compare_one(self, known, name, status):
    if known.outcome in (Outcome.REFUSED, Outcome.LOST, Outcome.UNSENT):
      raise Wrong(f"{known} is there, and was {known.outcome.value}")
    if known.name not in (None, name) or known.job.name not in (None, name) or known.id not in (None, status["id"]):
      raise Wrong(f"{known} had the name {known.name} and the id {known.id}, and is now {name} with the id {status['id']}")
    if known.is_final and status["state"] != known.state:
      raise Wrong(f"{known} was {known.state} and is {status['state']} now")
    if "spec" in status and set(status["spec"].split()) != set(known.job.record.split()):
      raise Wrong(f"{known} is not as it was submitted: {status['spec'].strip()}; submitted: {known.job.record}")
    ends_badly = status["state"] in ("failed", "paused") or status["state"] == "cancelled" and not known.cancel_sent
    if ends_badly or status.get("attempt", 1) != 1 or status.get("read_err", 0) != 0 or status.get("write_err", "0x0") != "0x0":
      raise Wrong(f"{known} is {status['state']}: {({key: value for key, value in status.items() if value is not None})}")
    if status["state"] == "done" and "bytes_done" in status:
      self._require_whole(known, status)
    other = next((o for o in self.known.values() if o is not known and status["id"] == o.id), None)
    if other:
      raise Wrong(f"{known} has the id {status['id']}, which {other} has too")
    known.outcome, known.name, known.id = Outcome.ACKNOWLEDGED, name, status["id"]
    self._note_state(known, status["state"])

  def _require_whole(self, known, status):
    whole = len(known.job.content)
    counts = [status["bytes_total"], status["bytes_done"], status["bytes_durable"], *(dest["bytes_done"] for dest in status["dests"])]
    if any(count != whole for count in counts) or any(dest["state"] != "done" for dest in status["dests"]):
      raise Wrong(f"{known} is done, and its status doesn't say so of all its {whole} bytes: {status}")

  def _note_state(self, known, state):
    if known.state == state:
      return
    known.state = state
    self._tell(f"{known} is {state}")
    if known.is_final:
      self._on_final(known)

  def _count(self, maps):
    self.unfinished += sum(bool(found) for found in maps.values())
    self.kept_maps += sum(any(found.values()) for found in maps.values())

  def _cancel(self, life):
    for known in self.known.values():
      if not known.job.cancelled or known.cancel_sent or known.state != "running":
        continue
      known.cancel_sent = True
      try:
        with open(life.path("jobs", known.name, "ctl"), "w", encoding="ascii") as file:
          file.write("cancel\n")
      except OSError as error:
        with life.using(f"cancelling {known}"):
          if error.errno != errno.EALREADY:
            raise

  def follow(self, life):
    """Looks until all jobs have come to their end."""
    deadline = time.monotonic() + FINAL_LIMIT
    while not self.is_settled:
      self.look(life)
      if time.monotonic() > deadline:
        late = ", ".join(f"{known} is {known.state}" for known in self.known.values() if not known.is_settled)
        raise Wrong(f"not final within {FINAL_LIMIT:.0f} s: {late}")
      time.sleep(0.01)

  @property
  def is_settled(self):
    return not self._calls and all(known.is_settled for known in self.known.values())

  def submit_new(self, life):
    """One more job, whose number nobody may have had before."""
    with life.using("submitting a new job"):
      file = os.open(life.path("submit"), os.O_RDWR | os.O_CLOEXEC)
      try:
        os.write(file, b"op=none\n")
        name = os.read(file, 64).decode().strip()
      finally:
        os.close(file)
      life.read("jobs", name, "wait")
      status = json.loads(life.read("jobs", name, "status.json"))
    for known in self.known.values():
      if name == known.name or status["id"] == known.id:
        raise Wrong(f"a new job got the name {name} and the id {status['id']}, and {known} has the id {known.id}")


def parse_map(text):
  """The ranges that a mapfile has as `+`, from the start of what it maps."""
  blocks = [line.split() for line in text.splitlines() if not line.startswith("#")][1:]
  if not blocks:
    return []
  base = int(blocks[0][0], 16)
  return [(int(begin, 16) - base, int(begin, 16) - base + int(size, 16)) for begin, size, status in blocks if status == "+"]
