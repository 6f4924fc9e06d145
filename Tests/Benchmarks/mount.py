"""What the mount itself costs (M): jobs that are made, status that is read and batches that are written, beside a FUSE program in C that
does nothing and is asked the same by the same client; how long after a notification a waiting reader has it; a mount with very many jobs.

Each run has a mount of its own, so that nobody pays for the jobs of the run before. No job of the rates does any I/O.
"""

import contextlib
import os
from dataclasses import dataclass, replace
from statistics import mean, median

import report
from commands import Failure, make_directory, measure, said_pairs, undoing
from contenders import KCOPYFS, LIMIT, Contender
from daemon import Daemon, Server
from measures import Measure, MeasureCase, verdict
from media import MIB, fill, make_tmpfs

LINES_A_WRITE = 100
STATUS = "jobs/one/status"
FINAL_LIMIT = 120.0
"""Seconds after which jobs that don't become final count as hung."""

FOOTNOTES = """\
speed to idle-fuse: its time over that of the row in the same round, median (min to max): above 1 the row was faster. CPU: mean of the
runs, of the serving program, in the kernel's ticks of 10 ms; what the client takes is in the time only. idle-fuse has the threads, the
requests and the replies of kcopyfs, and does nothing for them. On several processors most of the time is that of waking another one,
and chance, so times scatter; pinned, they are those of the programs. wake: time from finished_at to the return of the read that brings
it, by readers that were asleep 2 ms before it; poll is poll(2) on `wait` and then the read; missing is a file that isn't there."""


@dataclass(frozen=True)
class Rate:
  """A measured operation: its client's command, and what is asked of kcopyfs, as a share of idle-fuse's speed or operations a second."""

  name: str
  title: str
  script: str
  count: int
  jobs: int
  share: float = 0.0
  rate: int = 0
  is_pinned: bool = False

  def pinned(self):
    """The same with server and client on one processor: slower or faster, but without the luck of where the scheduler puts the two."""
    return replace(self, name=f"{self.name}-pinned", title=f"{self.title}, all on one processor", is_pinned=True)

  @contextlib.contextmanager
  def processors(self):
    """Where what is started meanwhile runs."""
    before = os.sched_getaffinity(0)
    try:
      if self.is_pinned:
        os.sched_setaffinity(0, {min(before)})
      yield
    finally:
      os.sched_setaffinity(0, before)


CREATE = Rate("mount-create", "create, write and close of jobs/NAME", "$CLIENT create $MNT 10000", 10_000, 10_000, share=0.5)
READ = Rate("mount-status", "open, read to the end, close of a job's status", f"$CLIENT status $MNT {STATUS} 20000", 20_000, 0, share=0.8)
RATES = (
  CREATE, CREATE.pinned(), READ, READ.pinned(),
  Rate("mount-batch", f"records written to submit, {LINES_A_WRITE} a write", f"$CLIENT batch $MNT $RECORDS {LINES_A_WRITE}",
       100_000, 100_000, rate=200_000),
)

WAKES = ("wait", "poll", "events")
WAKES_A_ROUND = 40
WAKE_AIM = 200
"""Microseconds."""

MANY = {"none": 100_000, "copies": 20_000}
"""Jobs of the mount with very many: without I/O, and 4 KiB from a file to a file."""
LISTING_AIM = {"none": 2}
MEMORY_AIM = 2048
"""Seconds of `ls -l`, and bytes of a finished job."""
FILE = 96 * MIB
"""Bytes of the files: room for these copies."""
WARM_UP = 32 * MIB
"""Bytes of a copy that has the daemon's buffers touched before its memory is looked at: more than the pages of a client."""


def selected(only, without_kcopyfs):
  """The names of the rows to measure, by part; none without kcopyfs, for there is nobody else to measure."""
  if without_kcopyfs:
    return {}
  parts = {rate.name: [c.name for c in contenders(rate)] for rate in RATES} | {"mount-wake": WAKES, "mount-jobs": MANY}
  plan = {part: [name for name in names if only in f"{part}/{name}"] for part, names in parts.items()}
  return {part: chosen for part, chosen in plan.items() if chosen}


def contenders(rate):
  return [Contender("kcopyfs", rate.script, KCOPYFS), Contender("idle-fuse", rate.script, LIMIT)]


class RateCase(report.Case):
  """One table: a rate, with the samples of kcopyfs and idle-fuse, one per round."""

  def __init__(self, rate, chosen):
    self.rate = rate
    self.title = f"{rate.name}: {rate.title}"
    self.samples = {contender: [] for contender in chosen}

  def table(self):
    idle = next(iter(self.with_role(LIMIT)), None)
    lines = [f"{self.title}: {self.rate.count} times, medians of {len(next(iter(self.samples.values())))}"]
    rows = [["", "seconds", "min to max", "a second", "us each", "user", "system us each", "speed to idle-fuse"]]
    return lines + report.aligned(rows + [self._row(contender, idle) for contender in self.samples])

  def _row(self, contender, idle):
    seconds = self.seconds(contender)
    user, system = (1e6 * mean(getattr(one, kind) for one in self.samples[contender]) / self.rate.count for kind in ("user", "system"))
    ratios = report.spread(self.ratios(idle, contender)) if idle and contender is not idle else ""
    return [
      contender.name, f"{median(seconds):.3f}", f"{min(seconds):.3f} to {max(seconds):.3f}", f"{self.rate.count / median(seconds):.0f}",
      f"{1e6 * median(seconds) / self.rate.count:.1f}", f"{user:.1f}", f"{system:.1f}", ratios]

  def summary(self):
    kcopyfs, idle = (next(iter(self.with_role(role)), None) for role in (KCOPYFS, LIMIT))
    if not kcopyfs:
      return f"{self.title}: kcopyfs was not measured"
    rate = self.rate.count / median(self.seconds(kcopyfs))
    parts = [f"{rate:.0f} a second" + (f", aim {self.rate.rate}: {verdict(rate >= self.rate.rate)}" if self.rate.rate else "")]
    if idle:
      ratios = self.ratios(idle, kcopyfs)
      aim = f", aim {self.rate.share}: {verdict(median(ratios) >= self.rate.share)}" if self.rate.share else ""
      parts.append(f"{report.spread(ratios)} of idle-fuse's speed{aim}")
    return f"{self.title}: kcopyfs has " + "; ".join(parts)

  def record(self):
    rows = [{"name": c.name, "role": c.role, "command": c.script, "samples": [vars(s) for s in self.samples[c]]} for c in self.samples]
    return {"case": self.title, "operations": self.rate.count, "contenders": rows}


class MountBench:
  """The running of the parts, with files on a tmpfs of its own."""

  def __init__(self, options, stack, folder):
    self.options = options
    self.folder = folder
    files = make_tmpfs(stack, os.path.join(folder, "tmpfs"), 2 * FILE)
    self.source, self.destination, self.status, *records = (
      os.path.join(files, name) for name in ("source", "destination", "status", *MANY))
    self.records = dict(zip(MANY, records))
    fill(self.source, FILE, os.urandom)
    fill(self.destination, FILE, bytes)
    places = range(0, 4 * MANY["copies"], 4)
    self._write("none", ["op=none"] * MANY["none"])
    self._write("copies", [f"from={self.source}@{place}K+4K to={self.destination}@{place}K" for place in places])
    # Slow enough to be waited for.
    self.wake_record = f"from={self.source}@0+2M to={self.destination} rate=20M"
    with undoing() as first:
      self.make_status(self.daemon(first))

  def _write(self, name, lines):
    with open(self.records[name], "x", encoding="ascii") as file:
      file.writelines(f"{line}\n" for line in lines)

  def facts(self):
    programs = {"CLIENT": self._program("mount-client"), "idle-fuse": f"{self._program('idle-fuse')} MNT FILE-WITH-A-STATUS"}
    return {"each run": f"{self.options.daemon} MNT -f -o {self.options.mount_options}"} | programs | {
      "RECORDS": f"{MANY['none']} lines op=none; of copies, see mount-jobs", STATUS: "of a copy of 4 KiB that is done"}

  def _program(self, name):
    return os.path.join(self.options.mount_programs, name)

  def daemon(self, stack):
    return Daemon(stack, self.options.daemon, self.folder, self.options.mount_options)

  def client(self, script, server, **variables):
    return measure(script, {"CLIENT": self._program("mount-client"), "MNT": server.mount_point} | variables)

  # MARK: Rates

  def rate_run(self, rate, contender):
    """One run on a mount of its own; its Sample."""
    with rate.processors(), undoing() as stack:
      if contender.role == KCOPYFS:
        server = self.daemon(stack)
        self.make_status(server)
      else:
        server = Server(stack, self.folder, self._program("idle-fuse"), Server.MOUNT, self.status)
      before = server.cpu()
      output = self.client(contender.script, server, RECORDS=self.records["none"])[1]
      said = said_pairs(output)
      if said["operations"] != str(rate.count):
        raise Failure(f"{contender.script}\nis not what was asked for: {output.strip()}")
      sample = server.sample(float(said["seconds"]), before)
      if contender.role == KCOPYFS:
        self.check(server, 1 + rate.jobs)
      return sample

  def make_status(self, daemon):
    """A final job `one`, whose status is what idle-fuse says of it, too."""
    self.copy(daemon, "4K")
    with open(os.path.join(daemon.mount_point, STATUS), "rb") as source, open(self.status, "wb") as file:
      file.write(source.read())

  def copy(self, daemon, size):
    self.client(f'echo "from={self.source}@0+{size} to={self.destination}" > $MNT/jobs/one && cat $MNT/jobs/one/result', daemon)

  def check(self, daemon, count):
    daemon.await_jobs(FINAL_LIMIT)
    daemon.require_done(count)

  # MARK: Waking

  def wakes(self, ways):
    case = MeasureCase("mount-wake: microseconds from the notification to a woken reader",
                       [Measure(way, ".0f", WAKE_AIM) for way in ways])
    print(f"\n{case.title}")
    scripts = {way: f"$CLIENT wake $MNT {way} '{self.wake_record}' {WAKES_A_ROUND}" for way in ways}
    print("\n".join(f"  {way}: {script}" for way, script in scripts.items()))
    with undoing() as stack:
      daemon = self.daemon(stack)
      for number in range(self.options.runs):
        for way, script in scripts.items():
          case.measures[way].values += map(float, self.client(script, daemon)[1].split())
        print(f"  round {number + 1}: " + ", ".join(f"{way} {median(case.measures[way].values[-WAKES_A_ROUND:]):.0f}" for way in scripts))
    print("\n" + "\n".join(case.table()))
    return case

  # MARK: Many jobs

  def many(self, name):
    case = MeasureCase(
      f"mount-jobs/{name}: a mount with {MANY[name]} finished jobs, {self.options.runs} of them",
      [Measure("records a second, submitted", ".0f"), Measure("records a second, to the last job's end", ".0f"),
       Measure("ls -l jobs, seconds", ".2f", LISTING_AIM.get(name)), Measure("ls jobs, seconds", ".2f"),
       Measure("cat list, seconds", ".2f"), Measure("list in one read, seconds", ".2f"), Measure("memory a job, bytes", ".0f", MEMORY_AIM)])
    print(f"\n{case.title}")
    print("\n".join(f"  {script}" for script in [BATCH, *LISTINGS.values(), WHOLE]))
    for number in range(self.options.runs):
      case.add(self.many_run(name))
      print(f"  round {number + 1}: " + ", ".join(f"{m.name} {format(m.values[-1], m.form)}" for m in case.measures.values()))
    print("\n" + "\n".join(case.table()))
    return case

  def many_run(self, name):
    count = MANY[name]
    with undoing() as stack:
      daemon = self.daemon(stack)
      self.copy(daemon, f"{WARM_UP}B")
      before = daemon.resident()
      sample, output = self.client(BATCH, daemon, RECORDS=self.records[name])
      submitting = float(said_pairs(output)["seconds"])
      values = {"records a second, submitted": count / submitting, "records a second, to the last job's end": count / sample.seconds}
      self.check(daemon, 1 + count)
      values["memory a job, bytes"] = (daemon.resident() - before) / count
      for what, script in LISTINGS.items():
        sample, output = measure(script, {"MNT": daemon.mount_point})
        if int(output) - count not in (1, 2):
          raise Failure(f"{script}\nhas {output.strip()} lines for {1 + count} jobs")
        values[f"{what}, seconds"] = sample.seconds
      said = said_pairs(self.client(WHOLE, daemon)[1])
      if int(said["lines"]) != 1 + count:
        raise Failure(f"{WHOLE}\nhas {said['lines']} lines for {1 + count} jobs, {said['bytes']} bytes of {said['size']}")
      return values | {"list in one read, seconds": float(said["seconds"])}


BATCH = f"$CLIENT batch $MNT $RECORDS {LINES_A_WRITE} && cat $MNT/clients/default/wait > /dev/null"
LISTINGS = {
  "ls -l jobs": "LC_ALL=C ls -l $MNT/jobs | wc -l", "ls jobs": "LC_ALL=C ls $MNT/jobs | wc -l", "cat list": "cat $MNT/list | wc -l"}
WHOLE = "$CLIENT whole $MNT list"


def measured(bench, plan, folder):
  """The finished cases of the plan; `bench` runs the rounds."""
  with undoing() as stack:
    mounts = MountBench(bench.options, stack, make_directory(stack, os.path.join(folder, "M")))
    report.print_facts("M, the mount itself", mounts.facts())
    cases = []
    for rate in RATES:
      chosen = [c for c in contenders(rate) if c.name in plan.get(rate.name, [])]
      if chosen:
        case = RateCase(rate, chosen)
        bench.rounds(case, lambda contender: mounts.rate_run(rate, contender), lambda contender: mounts.rate_run(rate, contender))
        cases.append(case)
    if "mount-wake" in plan:
      cases.append(mounts.wakes(plan["mount-wake"]))
    return cases + [mounts.many(name) for name in plan.get("mount-jobs", [])]
