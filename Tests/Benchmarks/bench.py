"""kcopyfs side by side with the tools that people use today; `mount-scripts/bench` is the way to start it.

One source is copied to one and to three destinations, between loop devices on tmpfs (T) and between files on disk (D). In each case
everybody first makes one copy that is compared with the source and not timed; then the rounds, in each of which everybody runs once, the
first of a round being the second of the round before. Caches are dropped before each run. A slow result is a result; a wrong copy is not.

Then kcopyd's own workloads, between loop devices on tmpfs (K): jobs of 4 KiB to 2 MiB to one and up to eight destinations, by the library
without a mount, beside fio with the same sizes and depths.

Then the mount itself (M): jobs made, status read and batches written, beside a FUSE program in C that does nothing; how soon a waiting
reader is woken; a mount with 100,000 jobs.

Then what people do around a copy (X): verified, hashed, sparse, shared or of a domain, beside the tool that they take for it.

Then what durability costs (R): large copies with checkpoints and without, small jobs one at a time and in batches, beside programs in C
that do the same by hand, and a dd for each.
"""

import argparse
import os
import re
import sys
import tempfile
from dataclasses import dataclass

import durable
import extras
import kcopyd
import mount
import report
from commands import Failure, Sample, make_directory, measure, remove_at_end, stop, undoing
from contenders import KCOPYFS, LIBRARY, LIMIT, contenders, fio_engine, fio_seconds
from daemon import Daemon
from media import FilesOnDisk, LoopsOnTmpfs

MEDIA = {"T": LoopsOnTmpfs, "D": FilesOnDisk}
SHAPES = (1, 3)
UNITS = {"M": 1 << 20, "G": 1 << 30}


def main():
  options = parse_options()
  if os.geteuid() != 0:
    raise Failure("must run as root: it mounts a tmpfs, sets up loop devices and writes to them")
  stop.catch()
  plan, workloads = selected(options), selected_workloads(options)
  mounts, durables, around = (part.selected(options.only, options.without_kcopyfs) for part in (mount, durable, extras))
  if not plan and not workloads and not mounts and not durables and not around:
    raise Failure(f"--only {options.only}: no contender's name contains it")
  with undoing() as stack:
    folder = os.path.realpath(tempfile.mkdtemp(prefix="kcopyfs-bench-", dir=options.directory))
    stack.callback(os.rmdir, folder)
    if not re.fullmatch(r"[A-Za-z0-9_./+-]+", folder):
      raise Failure(f"{folder}: the commands that are printed take no such characters in a path; name another with --directory")
    facts = {"machine": report.machine(), "versions": report.versions(), "runs": options.runs}
    report.print_facts("machine", facts["machine"])
    pipes = make_pipes(stack, folder)
    daemon = start_daemon(stack, options, folder, plan, around)
    if daemon:
      facts["versions"]["kcopyfs"] = daemon.version
      facts["daemon"] = " ".join(daemon.command)
    report.print_facts("versions", facts["versions"])
    bench = Bench(options, daemon, pipes, set())
    cases = []
    for key in dict.fromkeys(key for key, _ in plan):
      cases += bench.medium(key, plan, folder)
    if workloads:
      cases += bench.workloads(workloads, folder)
    if mounts:
      cases += mount.measured(bench, mounts, folder)
    if around:
      cases += extras.measured(bench, around, folder, undoing)
    if durables:
      cases += durable.measured(bench, durables, folder)
  parts = ((plan, report.FOOTNOTES), (workloads, kcopyd.FOOTNOTES), (mounts, mount.FOOTNOTES), (around, extras.FOOTNOTES),
           (durables, durable.FOOTNOTES))
  for part, footnotes in parts:
    if part:
      print(f"\n{footnotes}")
  print()
  for case in cases:
    print(case.summary())
  if options.json:
    report.write_json(options.json, facts, cases)


def parse_options():
  parser = argparse.ArgumentParser(prog="mount-scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--runs", type=positive, default=5, metavar="N", help="timed runs of each contender in each case (5)")
  parser.add_argument("--size", type=size, default=size("1G"),
                      help="bytes of the source, as 128M or 1G (1G); the devices of kcopyd's workloads always have 256M")
  parser.add_argument("--only", default="", metavar="SUBSTRING",
                      help="only what contains it, of names like T-1to1/dd, D-1to3/kcopyfs, kcopyd-4K-1to8/fio, mount-create/idle-fuse, "
                      "extra-hash/kcopyfs or durable-one/kcopyfs")
  parser.add_argument("--json", metavar="FILE", help="write every sample there too")
  parser.add_argument("--directory", default=os.environ.get("TMPDIR") or "/var/tmp", metavar="DIR",
                      help="where to make the files on disk ($TMPDIR or /var/tmp)")
  parser.add_argument("--daemon", metavar="PATH", help="measure this kcopyfs and build none")
  parser.add_argument("--workload", metavar="PATH", help="measure the library by this kcopy-workload and build none")
  parser.add_argument("--mount-programs", metavar="DIR", help="measure by the idle-fuse, mount-client and plain-copy there and build none")
  parser.add_argument("--mount-options", default="state=none,pages=4096", metavar="OPTIONS", help="of the daemon (%(default)s)")
  parser.add_argument("--without-kcopyfs", action="store_true", help="measure the peers alone")
  options = parser.parse_args()
  if not (options.daemon and options.workload and options.mount_programs) and not options.without_kcopyfs:
    parser.error("not all of --daemon, --workload and --mount-programs, nor --without-kcopyfs: mount-scripts/bench builds what these name")
  if options.json and not os.access(os.path.dirname(os.path.abspath(options.json)), os.W_OK):
    parser.error(f"--json {options.json}: its directory is not there or not writable")
  return options


def positive(text):
  number = int(text)
  if number < 1:
    raise argparse.ArgumentTypeError("at least 1")
  return number


def size(text):
  match = re.fullmatch(r"([1-9][0-9]*)([MG])", text)
  if not match or int(match[1]) * UNITS[match[2]] % (4 << 20):
    raise argparse.ArgumentTypeError("a number with M or G, a multiple of 4M")
  return int(match[1]) * UNITS[match[2]]


def selected(options):
  """The contenders to measure, by medium and number of destinations."""
  plan = {}
  for key in MEDIA:
    for count in SHAPES:
      names = [c.name for c in contenders(count, "", 0) if not (options.without_kcopyfs and c.role == KCOPYFS)]
      chosen = [name for name in names if options.only in f"{key}-1to{count}/{name}"]
      if chosen:
        plan[key, count] = chosen
  return plan


def selected_workloads(options):
  """The contenders to measure, by kcopyd's workload."""
  plan = {}
  for shape in kcopyd.SHAPES:
    names = [c.name for c in kcopyd.contenders(shape, "io_uring") if not (options.without_kcopyfs and c.role == LIBRARY)]
    chosen = [name for name in names if options.only in f"{shape.name}/{name}"]
    if chosen:
      plan[shape] = chosen
  return plan


def start_daemon(stack, options, folder, plan, around):
  """The daemon, if there is a row for it."""
  if not any("kcopyfs" in names for names in plan.values()) and not any(c.role == KCOPYFS for rows in around.values() for c in rows):
    return None
  daemon = Daemon(stack, options.daemon, folder, options.mount_options)
  print(f"\nthe daemon, once for all runs:\n  MNT={daemon.mount_point}\n  {' '.join(daemon.command)}")
  return daemon


def make_pipes(stack, folder):
  """Named pipes for `dd | tee`: with them bash can wait for every dd and see its status, which it can't with >(...)."""
  pipes = {}
  for name in ("P1", "P2"):
    pipes[name] = remove_at_end(stack, os.path.join(folder, name))
    os.mkfifo(pipes[name])
  return pipes


@dataclass
class Bench:
  """The running of the cases; `printed` holds the commands that have been printed."""

  options: argparse.Namespace
  daemon: Daemon | None
  pipes: dict
  printed: set

  def medium(self, key, plan, folder):
    """The finished cases of a medium, which is there only while they run: the tmpfs' memory is free again for the disk."""
    with undoing() as stack:
      medium = MEDIA[key](stack, make_directory(stack, os.path.join(folder, key)), self.options.size)
      engine = fio_engine(medium.source)
      report.print_facts(f"{key}, {medium.title}", {"where": medium.describe()} | medium.environment())
      cases = []
      for count in SHAPES:
        chosen = [c for c in contenders(count, engine, self.options.size) if c.name in plan.get((key, count), [])]
        if chosen:
          cases.append(self.case(medium, count, chosen))
      return cases

  def case(self, medium, count, chosen):
    case = report.Case(medium, count, self.options.size, chosen)
    self.rounds(case, lambda contender: self.verified_copy(medium, count, contender), lambda contender: self.copy(medium, contender))
    return case

  def workloads(self, plan, folder):
    """The finished cases of kcopyd's workloads, on devices of their own."""
    with undoing() as stack:
      most = max(shape.count for shape in plan)
      medium = LoopsOnTmpfs(stack, make_directory(stack, os.path.join(folder, "K")), kcopyd.DEVICE, most)
      engine = fio_engine(medium.source)
      facts = {"where": medium.describe()} | medium.environment()
      if any("KCopy" in names for names in plan.values()):
        facts |= {"WORKLOAD": self.options.workload, "KCopy's transport": kcopyd.transport(self.options.workload, medium)}
      report.print_facts(f"K, {medium.title}", facts)
      cases = []
      for shape, names in plan.items():
        chosen = [c for c in kcopyd.contenders(shape, engine) if c.name in names]
        if chosen:
          cases.append(self.workload(medium, shape, chosen))
      return cases

  def workload(self, medium, shape, chosen):
    case = kcopyd.WorkloadCase(medium, shape, chosen)

    def copy(contender):
      medium.settle()
      _, output = measure(contender.script, medium.environment() | {"WORKLOAD": self.options.workload or ""})
      return kcopyd.sample(contender, shape, output)

    def verified(contender):
      medium.wipe(shape.count)
      copy(contender)
      self.correct(contender, lambda: kcopyd.verify(medium, shape))

    self.rounds(case, verified, copy)
    return case

  def rounds(self, case, verified, copy):
    """A copy of everybody's that is verified, but of the limits, which copy nothing; the rounds; the table."""
    chosen = list(case.samples)
    print(f"\n{case.title}")
    self.print_commands(chosen)
    for contender in chosen:
      if contender.role != LIMIT:
        verified(contender)
    for number in range(self.options.runs):
      first = number % len(chosen)
      for contender in chosen[first:] + chosen[:first]:
        case.samples[contender].append(copy(contender))
      print(f"  round {number + 1}: " + ", ".join(f"{c.name} {case.seconds(c)[-1]:.3f}" for c in chosen))
    print("\n" + "\n".join(case.table()))

  def print_commands(self, chosen):
    new = [contender for contender in chosen if contender.script not in self.printed]
    self.printed.update(contender.script for contender in new)
    for contender in new:
      print(f"  {contender.name}: {contender.script}")
    if len(new) < len(chosen):
      print("  " + ", ".join(contender.name for contender in chosen if contender not in new) + ": as above")

  def verified_copy(self, medium, count, contender):
    medium.wipe(count)
    self.copy(medium, contender)
    self.correct(contender, lambda: medium.verify(count))

  @staticmethod
  def correct(contender, verify):
    try:
      verify()
    except Failure as failure:
      raise Failure(f"{contender.name} made a wrong copy: {failure}\n{contender.script}") from None

  def copy(self, medium, contender):
    """One measured run of a contender on dropped caches."""
    medium.settle()
    environment = medium.environment() | self.pipes
    if contender.role == KCOPYFS:
      return self.daemon.copy(contender.script, environment)
    sample, output = measure(contender.script, environment)
    return Sample(fio_seconds(output), sample.user, sample.system) if contender.role == LIMIT else sample


def failures(error):
  """The errors that end the bench, the first one first: the cleaning up after it may fail too."""
  earlier = None if error.__suppress_context__ else error.__context__
  return (failures(earlier) if earlier else []) + ([error] if isinstance(error, (Failure, OSError)) else [])


if __name__ == "__main__":
  sys.stdout.reconfigure(line_buffering=True)
  try:
    main()
  except (Failure, OSError) as error:
    for each in failures(error):
      print(f"bench: {each}", file=sys.stderr)
    sys.exit(1)
