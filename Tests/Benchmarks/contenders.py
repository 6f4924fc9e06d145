"""Who is measured, by which command. $S is the source, $D0 to $D2 the destinations.

Every command ends with the data on the medium: kcopyfs answers `ok` after its flush, dd calls fdatasync, qemu-img flushes at close
when its cache is off, nbdcopy has --flush, cp is followed by sync, fio ends with fsync. The destinations exist at full size; cp and nbdcopy
truncate a file first, as they always do, the others overwrite.
"""

import json
from dataclasses import dataclass

from commands import Failure, run

KCOPYFS, LIBRARY, PEER, LIMIT = "kcopyfs", "library", "peer", "limit"


@dataclass(frozen=True)
class Contender:
  """A row of a table: its name, the bash script that is timed, and what it counts as."""

  name: str
  script: str
  role: str = PEER


def contenders(shape, engine, size):
  """The contenders of a shape, which is the number of destinations: 1 or 3."""
  peers = _one_to_one() if shape == 1 else _one_to_three()
  return [_kcopyfs(shape), *peers, _fio(shape, engine, size)]


def _kcopyfs(count):
  to = " ".join(f"to=$D{i}" for i in range(count))
  return Contender("kcopyfs", f'echo "from=$S {to}" > $MNT/jobs/$JOB && cat $MNT/jobs/$JOB/result', KCOPYFS)


def _dd(i):
  return f"dd if=$S of=$D{i} bs=4M iflag=direct oflag=direct conv=notrunc,fdatasync status=none"


def _dd_from(pipe, i):
  """dd from a pipe, whose short reads it has to gather, or direct I/O would end with the first."""
  return f"dd {pipe}of=$D{i} bs=4M iflag=fullblock oflag=direct conv=notrunc,fdatasync status=none"


def _qemu(i):
  return f"qemu-img convert -n -f raw -O raw -t none -T none -W -m 16 $S $D{i}"


def _nbdcopy(i):
  return f"nbdcopy --flush $S $D{i}"


def _cp(i):
  return f"cp $S $D{i} && sync $D{i}"


def _one_to_one():
  return [
    Contender("dd", _dd(0)),
    Contender("qemu-img", _qemu(0)),
    Contender("nbdcopy", _nbdcopy(0)),
    Contender("cp", _cp(0)),
  ]


def _one_to_three():
  tee = (f"set -e -o pipefail; {_dd_from('if=$P1 ', 1)} & a=$!; {_dd_from('if=$P2 ', 2)} & b=$!; "
         f"dd if=$S bs=4M iflag=direct status=none | tee $P1 $P2 | {_dd_from('', 0)}; wait $a; wait $b")
  return [
    Contender("3 dd at once", _at_once(_dd)),
    Contender("3 qemu-img at once", _at_once(_qemu)),
    Contender("3 nbdcopy at once", _at_once(_nbdcopy)),
    Contender("3 cp at once", _at_once(_cp)),
    Contender("dd | tee", tee),
    Contender("3 dd in turn", " && ".join(_dd(i) for i in range(3))),
  ]


def _at_once(command):
  return f"set -e; {{ {command(0)}; }} & a=$!; {{ {command(1)}; }} & b=$!; {{ {command(2)}; }} & c=$!; wait $a; wait $b; wait $c"


def _fio(count, engine, size):
  writers = " ".join(f"--name=write{i} --rw=write --filename=$D{i}" for i in range(count))
  return Contender(
    "fio", f"fio --output-format=json --ioengine={engine} --direct=1 --bs=1M --iodepth=16 --size={size} --overwrite=1 --fallocate=none "
    f"--end_fsync=1 --name=read --rw=read --filename=$S {writers}", LIMIT)


def fio_seconds(output):
  """The time of fio's slowest job, fsync included, by fio's own clock: fio takes a good part of a second to start, and a limit must not."""
  jobs = json.loads(output[output.index("{"):])["jobs"]
  milliseconds = max(job[direction]["runtime"] for job in jobs for direction in ("read", "write"))
  if milliseconds == 0 or any(job["error"] for job in jobs):
    raise Failure(f"fio measured nothing: {output}")
  return milliseconds / 1000


def fio_engine(source):
  """io_uring, or libaio where io_uring is refused, as in many containers."""
  try:
    run("fio", "--name=probe", "--ioengine=io_uring", "--rw=read", "--direct=1", "--bs=4k", "--size=4k", f"--filename={source}")
  except Failure:
    return "libaio"
  return "io_uring"
