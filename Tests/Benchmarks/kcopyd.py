"""kcopyd's own workloads (K): many small jobs given to the library, without a mount, beside fio with the same sizes and depths.

KCopy keeps `depth` jobs in flight, each a read and then its writes; the last one flushes the devices for all. fio reads and writes the
same numbers of blocks of the same size at once, `depth` of them in flight on every device: as no write waits for its read, and each device
has a process of its own, it is what the machine has to give and no copy. It stands there twice: as it is commonly started, and with what
KCopy does too (registered buffers and files, many requests a call, no clock read for each).
"""

import json
import os
from dataclasses import dataclass
from statistics import mean, median

import report
from commands import Failure, Sample, run, said_pairs
from contenders import LIBRARY, LIMIT, Contender

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

DEVICE = 256 * MIB
"""Bytes of a device; jobs that are more than fit go round."""
MOST_JOBS = 40_000
MOST_MOVED = 10 * GIB
"""Bytes that a run reads and writes at most: a second or two of a machine's memory, as all the devices are on a tmpfs."""

FOOTNOTES = """\
KCopy's speed, KCopy's CPU: its jobs a second and its CPU over those of the row in the same round, median (min to max): a speed above 1
and CPU below 1 are in KCopy's favour. CPU: mean of the runs, without the start of the program; fio's as it reports it itself. A GiB is one
of the source, and a job of fio's is a read and its share of writes. What the kernel's threads do for the loop devices is in nobody's.
KCopy's buffers are 16 MiB in huge pages for all devices together; fio has ordinary pages, and of them so many for each device."""


@dataclass(frozen=True)
class Shape:
  """A workload: jobs of `size` bytes, `depth` of them in flight, to `count` destinations."""

  label: str
  size: int
  depth: int
  count: int
  pattern: str = "sequential"

  @property
  def name(self):
    return f"kcopyd-{self.label}-1to{self.count}"

  @property
  def title(self):
    return f"{self.name}: {_bytes(self.size)} jobs, {self.depth} in flight, source {self.pattern}"

  @property
  def jobs(self):
    return min(MOST_JOBS, MOST_MOVED // (self.size * (1 + self.count)))

  def place(self, number):
    """Where on the source the job lies whose destination is the place of its number; as Workload/Places.swift has it."""
    if self.pattern == "sequential":
      return number
    places = DEVICE // self.size
    place = number * 0x9E3779B1 % places
    place ^= place >> (places.bit_length() - 1) // 2 + 1
    return place * 0x85EBCA6B % places


SHAPES = (
  *(Shape(label, size, depth, count)
    for label, size, depth in (("4K", 4 * KIB, 32), ("64K", 64 * KIB, 32), ("512K", 512 * KIB, 8)) for count in (1, 3, 8)),
  # dm-snapshot: chunks of the origin, wherever they are written first, copied one after the other into the snapshot's store.
  Shape("snapshot", 4 * KIB, 32, 1, "random"),
  # dm-mirror: regions of 2 MiB, from the primary to all others.
  *(Shape("mirror", 2 * MIB, 4, count) for count in (1, 2, 3, 8)),
)


def contenders(shape, engine):
  """The contenders of a shape; `engine` is fio's."""
  rows = [Contender("KCopy", _kcopy(shape), LIBRARY), Contender("fio", _fio(shape, engine), LIMIT)]
  if engine == "io_uring":
    batches = f"--iodepth_batch={shape.depth // 2} --iodepth_batch_complete_max={shape.depth}"
    tuned = f" --fixedbufs=1 --registerfiles=1 {batches} --gtod_reduce=1"
    rows.append(Contender("tuned fio", _fio(shape, engine, tuned), LIMIT))
  return rows


def _kcopy(shape):
  to = " ".join(f"--destination $D{i}" for i in range(shape.count))
  return (f"$WORKLOAD --source $S {to} --job-size {shape.size} --jobs {shape.jobs} --depth {shape.depth} --pattern {shape.pattern} "
          "--pages 4096 --subjob 1M --slots 8 --sync end")


def _fio(shape, engine, tuned=""):
  writers = " ".join(f"--name=write{i} --rw=write --filename=$D{i}" for i in range(shape.count))
  reads = "randread" if shape.pattern == "random" else "read"
  return (f"fio --output-format=json --ioengine={engine} --direct=1 --bs={shape.size} --iodepth={shape.depth} --size={DEVICE} "
          f"--io_size={shape.size * shape.jobs} --overwrite=1 --fallocate=none --end_fsync=1{tuned} "
          f"--name=read --rw={reads} --filename=$S {writers}")


def transport(program, medium):
  """What moves KCopy's bytes on this machine: the ring, or threads where io_uring is refused."""
  paths = ["--source", medium.source, "--destination", medium.destinations[0]]
  return said_pairs(run(program, *paths, "--job-size", "4K", "--jobs", "1", "--depth", "1"))["transport"]


def sample(contender, shape, output):
  """The Sample of a run, from what the program says of itself; fails if it didn't do all of the work."""
  taken = _fio_sample(shape, output) if contender.role == LIMIT else _kcopy_sample(shape, output)
  if not taken:
    raise Failure(f"{contender.script}\nis not what was asked for, or nothing: {output.strip()}")
  return taken


def _kcopy_sample(shape, output):
  said = said_pairs(output)
  asked = {"jobs": shape.jobs, "notifications": shape.jobs, "bytes": shape.jobs * shape.size, "errors": 0}
  if any(said.get(key) != str(value) for key, value in asked.items()):
    return None
  return Sample(*(float(said[key]) for key in ("seconds", "user", "system")))


def _fio_sample(shape, output):
  jobs = json.loads(output[output.index("{"):])["jobs"]
  done = [job[direction] for job in jobs for direction in ("read", "write") if job[direction]["total_ios"]]
  milliseconds = max((part["runtime"] for part in done), default=0)
  if len(done) != 1 + shape.count or any(part["total_ios"] != shape.jobs for part in done) or milliseconds == 0:
    return None
  user, system = (sum(job[key] * job["job_runtime"] for job in jobs) / 1e5 for key in ("usr_cpu", "sys_cpu"))
  return None if any(job["error"] for job in jobs) else Sample(milliseconds / 1000, user, system)


def verify(medium, shape):
  """Compares what the jobs have written with where each read it, from the medium."""
  medium.settle()
  for path in medium.destinations[:shape.count]:
    with open(medium.source, "rb", buffering=0) as source, open(path, "rb", buffering=0) as destination:
      for number in range(min(shape.jobs, DEVICE // shape.size)):
        expected = os.pread(source.fileno(), shape.size, shape.place(number) * shape.size)
        if os.pread(destination.fileno(), shape.size, number * shape.size) != expected or len(expected) != shape.size:
          raise Failure(f"{path} differs in job {number}, of {shape.size} bytes")


class WorkloadCase(report.Case):
  """One table: a shape, with the samples of each contender, one per round."""

  def __init__(self, medium, shape, chosen):
    super().__init__(medium, shape.count, shape.size * shape.jobs, chosen)
    self.shape = shape
    self.title = shape.title

  def table(self):
    kcopy = self._kcopy()
    lines = [f"{self.title}: {self.shape.jobs} jobs, {self.size / GIB:.2f} GiB, medians of {len(self.seconds(next(iter(self.samples))))}"]
    rows = [["", "seconds", "min to max", "jobs/s", "MiB/s", "user", "system ms/GiB", "CPU ms/GiB", "CPU us/job"]]
    if kcopy:
      rows[0] += ["KCopy's speed", "KCopy's CPU"]
    rows += [self._row(contender, kcopy) for contender in self.samples]
    return lines + report.aligned(rows)

  def _kcopy(self):
    return next(iter(self.with_role(LIBRARY)), None)

  def _row(self, contender, kcopy):
    seconds, samples = self.seconds(contender), self.samples[contender]
    user, system = (1000 * mean(getattr(one, kind) for one in samples) for kind in ("user", "system"))
    gibibytes = self.size / GIB
    row = [
      contender.name, f"{median(seconds):.3f}", f"{min(seconds):.3f} to {max(seconds):.3f}", f"{self.shape.jobs / median(seconds):.0f}",
      f"{self.size / MIB / median(seconds):.0f}", f"{user / gibibytes:.0f}", f"{system / gibibytes:.0f}",
      f"{(user + system) / gibibytes:.0f}", f"{1000 * (user + system) / self.shape.jobs:.1f}"]
    if contender is kcopy:
      row += ["", ""]
    elif kcopy:
      row += [report.spread(self.ratios(contender, kcopy)), report.spread(self._cpu_ratios(kcopy, contender))]
    return row

  def _cpu_ratios(self, contender, reference):
    """CPU of one over CPU of the other, for each round."""
    pairs = zip(self.samples[contender], self.samples[reference], strict=True)
    return [(a.user + a.system) / max(b.user + b.system, 1e-6) for a, b in pairs]

  def summary(self):
    kcopy = self._kcopy()
    if not kcopy:
      return f"{self.title}: KCopy was not measured"
    parts = []
    for limit in (contender for contender in self.samples if contender.role == LIMIT):
      speed, cpu = (report.spread(ratios) for ratios in (self.ratios(limit, kcopy), self._cpu_ratios(kcopy, limit)))
      parts.append(f"{speed} of the speed of {limit.name}, at {cpu} of its CPU")
    return f"{self.title}: KCopy has " + ("; ".join(parts) or "nobody to compare with")

  def record(self):
    shape = self.shape
    return super().record() | {"jobs": shape.jobs, "job_size": shape.size, "depth": shape.depth, "pattern": shape.pattern}


def _bytes(number):
  return f"{number // MIB} MiB" if number >= MIB else f"{number // KIB} KiB"
