"""What durability costs (R): large copies with checkpoints and without them; small jobs that are journalled and flushed, one at a time, by
several writers and in batches, beside programs in C and a dd for each; and the same jobs with nothing kept and nothing flushed.

Each run of small jobs has a daemon of its own with an empty state directory, on the disk that the files are on.
"""

import os
import shutil
from dataclasses import dataclass
from statistics import mean, median

import report
from commands import Failure, Sample, make_directory, measure, remove_at_end, run, said_pairs, undoing
from contenders import KCOPYFS, LIMIT, PEER, Contender, contenders, fio_engine
from daemon import Daemon
from journal import commits
from measures import verdict
from media import GIB, MIB, FilesOnDisk, LoopsOnTmpfs

KIB = 1 << 10
FINAL_LIMIT = 120.0
"""Seconds after which jobs that don't become final count as hung."""
LINES_A_WRITE = 64
SMALL = 256 * MIB
"""Bytes of the files of small jobs on disk."""
SMALL_IN_MEMORY = GIB
"""Bytes of their devices on a tmpfs: each job has a place of its own, as two unfinished ones must not write to one."""
STATES = ("state=DIR", "state=none")

FOOTNOTES = """\
speed: that of kcopyfs to that of the row in the same round, median (min to max), per copy or per GiB: above 1 kcopyfs was faster; of large
copies, that with checkpoints to that without. CPU: mean of the runs; kcopyfs's is the daemon's, in the kernel's ticks of 10 ms, without
what the client takes; dd's and C's is that of their processes. Checkpoints are counted in the log that SQLite has on disk, flushes
by the loop devices. C durable: pread, pwrite, fdatasync and two SQLite commits (WAL, synchronous=FULL) a copy, one after the other, direct
I/O. C io_uring: registered files and buffers, 64 copies in flight, each write after its read, and no flush."""


@dataclass(frozen=True)
class LargeCopies:
  """Copies that last long enough for several checkpoints."""

  medium: type
  label: str
  count: int
  size: int

  @property
  def name(self):
    return f"durable-{self.label}-1to{self.count}"

  @property
  def contenders(self):
    script = contenders(self.count, "", 0)[0].script
    return [Contender(state, f"{script}  # {state}", KCOPYFS) for state in STATES]


LARGE = (
  LargeCopies(LoopsOnTmpfs, "tmpfs", 1, 12 * GIB), LargeCopies(LoopsOnTmpfs, "tmpfs", 3, 4 * GIB),
  LargeCopies(FilesOnDisk, "disk", 1, 4 * GIB), LargeCopies(FilesOnDisk, "disk", 3, 2 * GIB),
)
LARGE_AIM = 0.98


@dataclass(frozen=True)
class Row:
  """Who makes so many small copies, by which command; `has_clock` if the command tells its time itself."""

  name: str
  script: str
  count: int
  role: str
  has_clock: bool = True

  @property
  def contender(self):
    return Contender(self.name, self.script, self.role)


@dataclass(frozen=True)
class SmallJobs:
  """Many small jobs of kcopyfs, the first row, and others that do as much."""

  name: str
  title: str
  size: int
  rows: tuple
  speed: float
  """The least that the first row's speed is to be, in that of the second."""
  cpu: float | None = None
  """The most microseconds of CPU that a job is to take."""
  is_kept: bool = True


def _one(writers, count):
  return f"$CLIENT each $MNT $RECORDS-{count} {writers}"


def _batch(count):
  return f"$CLIENT batch $MNT $RECORDS-{count} {LINES_A_WRITE} && cat $MNT/clients/default/wait > /dev/null"


def _dd(count):
  return (f"for ((i = 0; i < {count}; i++)); do dd if=$S of=$D0 bs=4K count=1 skip=$i seek=$i iflag=direct oflag=direct "
          "conv=notrunc,fdatasync status=none || exit; done")


def _in_memory(label, size, count, speed):
  return SmallJobs(
    f"durable-none-{label}", f"{label[:-1]} KiB jobs with state=none and sync=none, {LINES_A_WRITE} a write", size, (
      Row("kcopyfs", _batch(count), count, KCOPYFS, has_clock=False),
      Row("C io_uring", f"$PLAIN ring $S $D0 {size} {count} 64", count, LIMIT)), speed, is_kept=False)


SMALL_PARTS = (
  SmallJobs("durable-one", "4 KiB jobs, one at a time", 4 * KIB, (
    Row("kcopyfs", _one(1, 1000), 1000, KCOPYFS),
    Row("C durable", f"rm -f $DATABASE* && $PLAIN durable $S $D0 {4 * KIB} 1000 $DATABASE", 1000, LIMIT)), 1 / 1.3),
  SmallJobs("durable-batch", f"4 KiB jobs, {LINES_A_WRITE} a write", 4 * KIB, (
    Row("kcopyfs", _batch(20_000), 20_000, KCOPYFS, has_clock=False),
    Row("dd per job", _dd(200), 200, PEER, has_clock=False)), 20, 40),
  SmallJobs("durable-writers", "4 KiB jobs, eight writers with one each", 4 * KIB, (
    Row("8 writers", _one(8, 4000), 4000, KCOPYFS), Row("1 writer", _one(1, 1000), 1000, KCOPYFS)), 3),
  _in_memory("4K", 4 * KIB, 40_000, 0.3),
  _in_memory("64K", 64 * KIB, 16_000, 0.7),
)


def selected(only, without_kcopyfs):
  """The names of the rows to measure, by part; none without kcopyfs, for there is nobody else to measure."""
  if without_kcopyfs:
    return {}
  rows = {part.name: part.contenders for part in LARGE} | {part.name: part.rows for part in SMALL_PARTS}
  plan = {part: [row.name for row in rows[part] if only in f"{part}/{row.name}"] for part in rows}
  return {part: chosen for part, chosen in plan.items() if chosen}


class DurableCase(report.Case):
  """One table: what a row's run comes to, in copies or GiB, and the speed of the first row to the others'."""

  def __init__(self, name, title, amounts, unit, aims):
    self.name = name
    self.title = f"{name}: {title}"
    self.amounts = amounts
    self.unit = unit
    self.speed, self.cpu = aims
    self.samples = {contender: [] for contender in amounts}
    self.notes = []

  @property
  def subject(self):
    return next(iter(self.samples))

  def speeds(self, contender):
    """The first row's speed to another's, for each round."""
    share = self.amounts[self.subject] / self.amounts[contender]
    return [share * ratio for ratio in self.ratios(contender, self.subject)]

  def microseconds(self, contender, kind):
    return 1e6 * mean(getattr(sample, kind) for sample in self.samples[contender]) / self.amounts[contender]

  def table(self):
    rows = [["", "seconds", "min to max", f"{self.unit}s a second", "user", f"system us/{self.unit}", f"speed of {self.subject.name}"]]
    for contender in self.samples:
      seconds = self.seconds(contender)
      rate = self.amounts[contender] / median(seconds)
      rows.append([
        contender.name, f"{median(seconds):.3f}", f"{min(seconds):.3f} to {max(seconds):.3f}", f"{rate:.4g}",
        *(f"{self.microseconds(contender, kind):.1f}" for kind in ("user", "system")),
        "" if contender is self.subject else report.spread(self.speeds(contender))])
    return [f"{self.title}, medians of {len(self.seconds(self.subject))}", *report.aligned(rows), *self.notes]

  def summary(self):
    parts = [f"{report.spread(speeds)} of the speed of {contender.name}, aim {self.speed:.2g}: {verdict(median(speeds) >= self.speed)}"
             for contender in self.samples if contender is not self.subject for speeds in [self.speeds(contender)]]
    if self.cpu:
      cpu = sum(self.microseconds(self.subject, kind) for kind in ("user", "system"))
      parts.append(f"{cpu:.0f} us of CPU a job, aim {self.cpu:g}: {verdict(cpu <= self.cpu)}")
    return f"{self.title}: {self.subject.name} has " + ("; ".join(parts) or "nobody to compare with")

  def record(self):
    rows = [{"name": c.name, "command": c.script, "amount": self.amounts[c], "samples": [vars(s) for s in self.samples[c]]}
            for c in self.samples]
    return {"case": self.title, "unit": self.unit, "notes": self.notes, "contenders": rows}


class DurableBench:
  """The running of the parts; states and files on disk are below `folder`."""

  def __init__(self, bench, folder):
    self.bench = bench
    self.options = bench.options
    self.folder = folder

  def facts(self):
    return {"state=DIR": f"{self.options.daemon} MNT -f -o {self._state_options('DIR')}",
            "state=none": f"{self.options.daemon} MNT -f -o {self.options.mount_options}"} | self.programs | {
            "RECORDS-N": "N lines from=$S@PLACE+SIZE to=$D0@PLACE, one behind the other"}

  @property
  def programs(self):
    folder = self.options.mount_programs
    return {"CLIENT": os.path.join(folder, "mount-client"), "PLAIN": os.path.join(folder, "plain-copy")}

  @staticmethod
  def _state_options(folder):
    return f"state={folder},pages=4096"

  def daemon(self, stack, name, is_kept):
    """A daemon in a folder of its own, with an empty state directory or none; and the journal, if there is one."""
    folder = make_directory(stack, os.path.join(self.folder, name))
    if not is_kept:
      return Daemon(stack, self.options.daemon, folder, self.options.mount_options), None
    state = os.path.join(folder, "state")
    stack.callback(shutil.rmtree, state, ignore_errors=True)
    return Daemon(stack, self.options.daemon, folder, self._state_options(state)), os.path.join(state, "journal.sqlite")

  # MARK: Large copies

  def large(self, part, chosen):
    with undoing() as stack:
      kinds = {"is_sparse": True} if part.medium is LoopsOnTmpfs else {}
      medium = part.medium(stack, make_directory(stack, os.path.join(self.folder, part.name)), part.size, part.count, **kinds)
      report.print_facts(f"R, {part.name}", {"where": medium.describe()} | medium.environment())
      case = DurableCase(part.name, f"a copy of {part.size / GIB:g} GiB on {medium.title}, 1 to {part.count}, with checkpoints and without",
                         {contender: part.size / GIB for contender in chosen}, "GiB", (LARGE_AIM, None))
      daemons = {contender: self.daemon(stack, contender.name.partition("=")[2], contender.name == STATES[0]) for contender in chosen}
      counted = {"journal commits": [], "flushes": []}

      def copy(contender):
        medium.settle()
        daemon, journal = daemons[contender]
        before = commits(journal) if journal else 0, medium.flushes(part.count)
        sample = daemon.copy(contender.script, medium.environment())
        if journal:
          # It was removed by then, which is a commit too.
          counted["journal commits"].append(commits(journal) - before[0] - 1)
          counted["flushes"].append([now - then for then, now in zip(before[1], medium.flushes(part.count), strict=True)])
        return sample

      def verified(contender):
        medium.wipe_samples(part.count)
        copy(contender)
        self.bench.correct(contender, lambda: medium.verify_samples(part.count))

      self.bench.rounds(case, verified, copy)
      self._require_checkpoints(case, part, counted)
      return case

  @staticmethod
  def _require_checkpoints(case, part, counted):
    if not counted["journal commits"]:
      return
    # One accepts the job and one ends it.
    checkpoints = [number - 2 for number in counted["journal commits"]]
    if min(checkpoints) < 1:
      raise Failure(f"{part.name}: a copy took no checkpoint, so nothing was measured: {checkpoints}")
    counts = " ".join(map(str, checkpoints))
    case.notes.append(f"checkpoints in the journal, for each copy with {STATES[0]}, the verified one first: {counts}")
    if any(counted["flushes"]):
      case.notes.append("flushes of the destinations: " + " ".join("+".join(map(str, numbers)) for numbers in counted["flushes"]))
    print("\n".join(case.notes))

  # MARK: Small jobs

  def small(self, part, names):
    with undoing() as stack:
      folder = make_directory(stack, os.path.join(self.folder, part.name))
      medium = FilesOnDisk(stack, folder, SMALL, 1) if part.is_kept else LoopsOnTmpfs(stack, folder, SMALL_IN_MEMORY, 1)
      if not part.is_kept and fio_engine(medium.source) != "io_uring":
        names = [name for name in names if name != "C io_uring"]
      rows = {row.contender: row for row in part.rows if row.name in names}
      if not rows:
        return None
      records = self.write_records(stack, part, medium, {row.count for row in rows.values()})
      database = os.path.join(folder, "peer.sqlite")
      for suffix in ("", "-wal", "-shm"):
        remove_at_end(stack, database + suffix)
      environment = medium.environment() | self.programs | {"RECORDS": records, "DATABASE": database}
      report.print_facts(f"R, {part.name}", {"where": medium.describe()} | medium.environment())
      case = DurableCase(part.name, part.title, {contender: row.count for contender, row in rows.items()}, "job", (part.speed, part.cpu))

      def copy(contender):
        medium.settle()
        return self.small_run(part, rows[contender], environment)

      def verified(contender):
        medium.wipe(1)
        copy(contender)
        medium.settle()
        self.bench.correct(
          contender, lambda: run("cmp", "-n", str(rows[contender].count * part.size), medium.source, medium.destinations[0]))

      self.bench.rounds(case, verified, copy)
      return case

  def write_records(self, stack, part, medium, counts):
    records = os.path.join(self.folder, "records")
    end = "\n" if part.is_kept else " sync=none\n"
    for count in counts:
      with open(remove_at_end(stack, f"{records}-{count}"), "x", encoding="ascii") as file:
        places = range(0, count * part.size, part.size)
        file.writelines(f"from={medium.source}@{place}B+{part.size}B to={medium.destinations[0]}@{place}B{end}" for place in places)
    return records

  def small_run(self, part, row, environment):
    if row.role != KCOPYFS:
      return self._timed(row, *measure(row.script, environment))
    with undoing() as stack:
      daemon, _ = self.daemon(stack, "daemon", part.is_kept)
      before = daemon.cpu()
      try:
        sample, output = measure(row.script, environment | {"MNT": daemon.mount_point})
      except Failure as failure:
        raise Failure(f"{failure}\n{daemon.evidence()}") from None
      sample = daemon.sample(self._timed(row, sample, output).seconds, before)
      daemon.require_done(row.count)
      return sample

  @staticmethod
  def _timed(row, sample, output):
    if not row.has_clock:
      return sample
    said = said_pairs(output)
    if said.get("operations") != str(row.count):
      raise Failure(f"{row.script}\nis not what was asked for: {output.strip()}")
    return Sample(float(said["seconds"]), sample.user, sample.system)


def measured(bench, plan, folder):
  """The finished cases of the plan; `bench` runs the rounds."""
  with undoing() as stack:
    durables = DurableBench(bench, make_directory(stack, os.path.join(folder, "R")))
    report.print_facts("R, durability", durables.facts())
    cases = []
    for part in LARGE:
      chosen = [contender for contender in part.contenders if contender.name in plan.get(part.name, [])]
      if chosen:
        cases.append(durables.large(part, chosen))
    cases += [durables.small(part, plan[part.name]) for part in SMALL_PARTS if part.name in plan]
    return [case for case in cases if case]
