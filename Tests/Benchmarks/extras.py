"""What people do around a copy (X): it is verified, hashed, sparse, shared or of a domain only, beside the tool that they take for it.

Each run begins on dropped caches, and where a file is made, without it. The first copy of everybody's is compared with the source and
not timed.
"""

import os
from dataclasses import dataclass
from statistics import median

import report
from commands import Failure, make_directory, measure, remove_at_end, run
from contenders import KCOPYFS, LIMIT, PEER, Contender
from dying import DyingDisk, HealthyDisk
from measures import verdict
from media import GIB, MIB, LoopsOnTmpfs, fill, make_tmpfs, unmount, varied

FOOTNOTES = """\
extras: ratio as above. dd, then cmp: the destination's cache is dropped in between. openssl reads and hashes the source and copies nothing:
hash=sha256 is to take 1.1 of its time at most. The sparse image has 16 GiB with a MiB of data in every 100; the clones lie on xfs."""


@dataclass(frozen=True)
class Extra:
  """One case: where it is done, by whom, and what is wanted: the most that kcopyfs's time may be of the reference's."""

  label: str
  title: str
  place: type
  contenders: tuple
  most: float = 1.0

  @property
  def name(self):
    return f"extra-{self.label}"


class Loops(LoopsOnTmpfs):
  """A GiB on a loop device, and one destination."""

  def __init__(self, stack, folder):
    super().__init__(stack, folder, GIB, 1)
    self.folder = folder

  def prepare(self):
    self.settle()

  def wipe_all(self):
    self.wipe(1)

  def correct(self):
    self.verify(1)


class DomainLoops(Loops):
  """With a mapfile that marks a MiB of every four."""

  def __init__(self, stack, folder):
    super().__init__(stack, folder)
    self.domain = remove_at_end(stack, os.path.join(folder, "domain"))
    self.map = remove_at_end(stack, os.path.join(folder, "map"))
    lines = ["0 + 1"] + [f"{place} {MIB} +\n{place + MIB} {3 * MIB} ?" for place in range(0, self.size, 4 * MIB)]
    with open(self.domain, "w", encoding="ascii") as file:
      file.write("\n".join(lines) + "\n")

  def environment(self):
    return super().environment() | {"DOMAIN": self.domain, "MAP": self.map}

  def prepare(self):
    super().prepare()
    if os.path.exists(self.map):
      os.unlink(self.map)

  def correct(self):
    self.settle()
    with open(self.source, "rb", buffering=0) as source, open(self.destinations[0], "rb", buffering=0) as copy:
      for place in range(0, self.size, MIB):
        expected = os.pread(source.fileno(), MIB, place) if place % (4 * MIB) == 0 else bytes(MIB)
        if os.pread(copy.fileno(), MIB, place) != expected:
          raise Failure(f"the MiB at {place} is wrong")


class Files:
  """A source file, and one that each run makes."""

  def __init__(self, folder, size):
    self.size = size
    self.source, self.copy = (os.path.join(folder, name) for name in ("source", "copy"))

  def environment(self):
    return {"S": self.source, "D0": self.copy}

  def prepare(self):
    self.wipe_all()
    run("sync", "-f", os.path.dirname(self.source), limit=1800)
    descriptor = os.open(self.source, os.O_RDONLY)
    try:
      os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
      os.close(descriptor)

  def wipe_all(self):
    if os.path.exists(self.copy):
      os.unlink(self.copy)

  def correct(self):
    run("cmp", self.source, self.copy, limit=1800)


class SparseFiles(Files):
  """16 GiB with a MiB of data in every 100, on a disk."""

  def __init__(self, stack, folder):
    super().__init__(folder, 16 * GIB)
    for path in (self.source, self.copy):
      remove_at_end(stack, path)
    with open(self.source, "xb", buffering=0) as file:
      os.truncate(file.fileno(), self.size)
      for place in range(0, self.size - MIB, 100 * MIB):
        os.pwrite(file.fileno(), varied(MIB), place)
      os.fsync(file.fileno())


class SharedFiles(Files):
  """A GiB on an xfs in memory."""

  def __init__(self, stack, folder):
    tmpfs = make_tmpfs(stack, os.path.join(folder, "tmpfs"), 2 * GIB)
    image, mounted = os.path.join(tmpfs, "image"), make_directory(stack, os.path.join(folder, "xfs"))
    run("truncate", "-s", str(2 * GIB), image)
    run("mkfs.xfs", "-q", image)
    stack.callback(unmount, mounted)
    run("mount", "-o", "loop", image, mounted)
    super().__init__(mounted, GIB)
    fill(self.source, self.size, varied)


def _kcopyfs(keys, error=None):
  # Whose job fails as it should says ok, too: reading its result fails with its errno.
  result = f"! cat $MNT/jobs/$JOB/result 2>&- && sed -n s/^error={error}$/ok/p $MNT/jobs/$JOB/status" if error else "cat $MNT/jobs/$JOB/result"
  return Contender("kcopyfs", f'echo "from=$S to=$D0 {keys}" > $MNT/jobs/$JOB && {result}', KCOPYFS)


_DDRESCUE = Contender("ddrescue", "ddrescue -q -d -D -f -r1 $S $D0 $MAP && sync $D0")


_DD = "dd if=$S of=$D0 bs=4M iflag=direct oflag=direct conv=notrunc,fdatasync status=none"

EXTRAS = (
  Extra("verify", "copied and read back, 1 GiB between loop devices on tmpfs", Loops, (
    _kcopyfs("verify=yes"), Contender("dd, then cmp", f"{_DD} && blockdev --flushbufs $D0 && cmp $S $D0"))),
  Extra("hash", "copied with its SHA-256, 1 GiB between loop devices on tmpfs", Loops, (
    _kcopyfs("hash=sha256"), Contender("openssl alone", "openssl dgst -sha256 $S", LIMIT),
    Contender("dd, then sha256sum", f"{_DD} && sha256sum $S")), 1.1),
  Extra("sparse", "an image of 16 GiB with 1 % data, files on disk", SparseFiles, (
    _kcopyfs("create=yes sparse=yes"), Contender("cp", "cp --sparse=always $S $D0 && sync $D0"),
    Contender("qemu-img", "qemu-img convert -f raw -O raw -T none $S $D0 && sync $D0"))),
  Extra("clone", "a file of 1 GiB on xfs", SharedFiles, (
    _kcopyfs("create=yes"), Contender("cp --reflink", "cp --reflink=always $S $D0 && sync $D0"))),
  Extra("domain", "a MiB of every four, 1 GiB between loop devices on tmpfs", DomainLoops, (
    _kcopyfs("domain=$DOMAIN"), Contender("ddrescue", "ddrescue -q -d -D -f -m $DOMAIN $S $D0 $MAP && sync $D0"))),
  Extra("after", "wiped, then copied, 1 GiB between loop devices on tmpfs", Loops, (
    Contender("kcopyfs", 'echo "op=zero to=$D0@0+1G" > $MNT/jobs/wipe$JOB && echo "from=$S to=$D0 after=wipe$JOB" > $MNT/jobs/$JOB &&'
              ' cat $MNT/jobs/$JOB/result && rmdir $MNT/jobs/wipe$JOB', KCOPYFS),
    Contender("blkdiscard -z, then dd", f"blkdiscard -z $D0 && {_DD}"))),
  Extra("salvage", "512 MiB with 32 bad areas, behind nbdkit", DyingDisk, (_kcopyfs("errors=ignore retries=1", "EIO"), _DDRESCUE)),
  Extra("healthy", "the same disk without any", HealthyDisk, (_kcopyfs("errors=ignore retries=1"), _DDRESCUE)),
)


class ExtraCase(report.Case):
  """The table of an extra."""

  def __init__(self, extra, place, chosen):
    super().__init__(_Described(extra, place), 1, place.size, chosen)
    self.title = f"{extra.name}: {extra.title}"
    self.most = extra.most

  def summary(self):
    kcopyfs = self.with_role(KCOPYFS)
    others = self.with_role(LIMIT) or self.with_role(PEER)
    if not kcopyfs or not others:
      return f"{self.title}: nobody to compare with"
    ratios = self.ratios(kcopyfs[0], others[0])
    return (f"{self.title}: kcopyfs takes {report.spread(ratios)} of the time of {others[0].name}, aim {self.most:g}: "
            f"{verdict(median(ratios) <= self.most)}")


class _Described:
  """What a case asks of a medium."""

  def __init__(self, extra, place):
    self.title = extra.title
    self.environment = place.environment


def selected(only, without_kcopyfs):
  """The contenders to measure, by extra."""
  plan = {}
  for extra in EXTRAS:
    chosen = [c for c in extra.contenders if not (without_kcopyfs and c.role == KCOPYFS) and only in f"{extra.name}/{c.name}"]
    if chosen:
      plan[extra] = chosen
  return plan


def measured(bench, plan, folder, undoing):
  """The finished cases; each place is there only while its case runs."""
  cases = []
  for extra, chosen in plan.items():
    with undoing() as stack:
      place = extra.place(stack, make_directory(stack, os.path.join(folder, extra.name)))

      def copy(contender, place=place):
        place.prepare()
        if contender.role == KCOPYFS:
          return bench.daemon.copy(contender.script, place.environment())
        return measure(contender.script, place.environment())[0]

      def verified(contender, place=place, copy=copy):
        place.wipe_all()
        copy(contender)
        bench.correct(contender, place.correct)

      case = ExtraCase(extra, place, chosen)
      bench.rounds(case, verified, copy)
      cases.append(case)
  return cases
