"""One crash point from its beginning to its end, and what must hold after it."""

import os
import time

from client import Client
from commands import Failure
from disks import DESTINATIONS, SOURCE
from life import Crashed, Life, Wrong, take_away_mount
from points import MAPS, Extent, Power
from work import SECTOR, Work


class Trial:
  """Runs one point on a rig; `sabotage` is what the self-test does to see that it's found."""

  def __init__(self, rig, program, point, sabotage=None):
    self.point = point
    self.story = []
    self.struck = 0
    self._rig = rig
    self._program = program
    self._sabotage = sabotage
    self._mount_point = os.path.join(rig.folder, "mount")
    self._log = os.path.join(rig.folder, "daemon.log")
    self._begin = time.monotonic()
    self.work = Work(point.work, point.seed, rig)
    self.client = Client(self.work, self._seal_final, self._tell)

  def run(self):
    """Raises Wrong; whatever happens, no daemon and no mount of it is left."""
    open(self._log, "wb").close()
    self._rig.reset()
    try:
      self._rig.mount_state()
      self._seal_rest()
      self.work.slow_down()
      if self._sabotage:
        self._sabotage.begin(self._rig)
      for crash in [*self.point.crashes, None]:
        if self._lives(crash):
          break
      self._check_end()
    except (KeyError, ValueError) as error:
      raise Wrong(f"the mount says what can't be read: {error!r}") from error
    finally:
      take_away_mount(self._mount_point)
      self._rig.unmount_state()

  def measure(self):
    """How far the work goes by itself."""
    open(self._log, "wb").close()
    self._rig.reset()
    self._rig.mount_state()
    self.work.slow_down()
    writes, begin = self._rig.power.writes, time.monotonic()
    life = Life(self._rig, self._program, self._mount_point, self._log, None)
    try:
      life.start()
      self.client.submit_rest(life)
      self.client.follow(life)
      return Extent(self._rig.power.writes - writes, round((time.monotonic() - begin) * 1000))
    finally:
      life.end()
      take_away_mount(self._mount_point)
      self._rig.unmount_state()

  def evidence(self):
    """The files that show what came of it: the media as they are, with the state's file system among them, and the daemon's log."""
    return [*self._rig.images, self._log]

  def _tell(self, text):
    self.story.append(f"{(time.monotonic() - self._begin) * 1000:6.0f} ms  {text}")

  # The lives

  def _lives(self, crash):
    """Whether all jobs came to their end in this life of the daemon."""
    life = Life(self._rig, self._program, self._mount_point, self._log, crash)
    self._tell(f"the daemon starts; to come: {crash or 'no crash'}")
    try:
      life.start()
      if self.struck:
        self.client.look(life, after_restart=True)
      self.client.submit_rest(life)
      if isinstance(crash, Power) and crash.write == MAPS:
        self.client.look(life)
        life.strike()
      self.client.follow(life)
      self._rig.power.ask("crash never")
      return True
    except Crashed:
      self.struck += 1
      self.client.has_crashed = True
      self._tell("crash")
    finally:
      life.end()
    if isinstance(crash, Power):
      self._restore_power()
    return False

  def _restore_power(self):
    if not self._rig.power.is_down:
      raise Failure("the crash was seen, and the power is there")
    self._start_machine()
    self._check_maps()

  def _start_machine(self):
    self._rig.restore_power()
    try:
      self._rig.mount_state()
    except Failure as failure:
      raise Wrong(f"the file system of the state is broken: {failure}") from failure

  # What must hold

  def _check_maps(self):
    """After a loss of power: what a map said to be durable is on the medium."""
    for known in self.client.known.values():
      for i, ranges in known.maps.items():
        place = known.job.places[i]
        medium = self._medium(place)
        for begin, end in ranges:
          if medium[place.start + begin:place.start + end] != known.job.content[begin:end]:
            at = _first_difference(medium[place.start + begin:place.start + end], known.job.content[begin:end])
            raise Wrong(f"{known}: the map of destination {i} said +{begin}..{end}, and the medium differs at {begin + at}")

  def _medium(self, place):
    if not place.file:
      return self._rig.image(place.disk)
    path = os.path.join(self._rig.files, place.file)
    if not os.path.exists(path):
      return b""
    with open(path, "rb") as file:
      return file.read()

  def _check_end(self):
    """Everything is final: power is lost once more, the media are compared, and the daemon must still know it all."""
    for disk in (SOURCE, *DESTINATIONS):
      self._rig.power.seal(disk, 0, len(self._rig.fresh[disk]))
    if self._sabotage:
      self._sabotage.end(self._rig, self)
    self._rig.power.ask("crash now drop 0")
    self._start_machine()
    self._check_media()
    times = self._file_times()
    life = Life(self._rig, self._program, self._mount_point, self._log, None)
    self._tell("the daemon starts for the last time")
    try:
      life.start()
      if self._sabotage:
        self._sabotage.after(life, self)
      self.client.look(life, after_restart=True)
      self.client.submit_new(life)
      life.stop()
    finally:
      life.end()
    self._check_seals()
    if self._file_times() != times:
      raise Wrong("files that were final were written again")

  def _file_times(self):
    with os.scandir(self._rig.files) as files:
      return {file.name: (file.stat().st_mtime_ns, file.stat().st_size) for file in files}

  def _check_seals(self):
    for disk, place in self._rig.power.broken_seals():
      raise Wrong(f"disk {disk} was written at {place} (offset+size), which no job writes or the job was final by then")

  def _seal_rest(self):
    """Nobody is to write the source, nor on the destinations what lies between the regions."""
    self._rig.power.seal(SOURCE, 0, len(self._rig.fresh[SOURCE]))
    for disk in DESTINATIONS:
      end = 0
      for place in sorted(self._places(disk), key=lambda place: place.start):
        self._rig.power.seal(disk, end, place.start)
        end = place.end
      self._rig.power.seal(disk, end, len(self._rig.fresh[disk]))

  def _seal_final(self, known):
    """A job that is final writes no more."""
    for place in known.job.places:
      if not place.file:
        self._rig.power.seal(place.disk, place.start, place.end)

  def _places(self, disk):
    return [place for job in self.work.jobs for place in job.places if place.disk == disk and not place.file]

  def _check_media(self):
    self._check_seals()
    if self._rig.image(SOURCE) != self._rig.fresh[SOURCE]:
      raise Wrong("the source was written")
    for disk in DESTINATIONS:
      self._check_whole(f"disk {disk}", self._rig.fresh[disk], self._rig.image(disk), disk, "")
    for name, fresh in self._rig.fresh_files.items():
      self._check_whole(f"the file {name}", fresh, self._medium_of_file(name), -1, name)
    for known in self.client.known.values():
      for place in known.job.places:
        if place.made:
          self._check_made(known, place)
    expected = set(self._rig.fresh_files) | {place.file for job in self.work.jobs for place in job.places if place.file}
    strangers = set(os.listdir(self._rig.files)) - expected
    if strangers:
      raise Wrong(f"files that no job makes: {' '.join(strangers)}")

  def _medium_of_file(self, name):
    with open(os.path.join(self._rig.files, name), "rb") as file:
      return file.read()

  def _check_whole(self, title, fresh, medium, disk, file):
    """Every byte of a disk or file: the right ones in the regions, and the old ones around them."""
    right = bytearray(fresh)
    for known in self.client.known.values():
      for place in known.job.places:
        if (place.disk, place.file) == (disk, file):
          right[place.start:place.end] = self._right(known, place, fresh, medium)
    if medium == right:
      return
    at = _first_difference(medium, right)
    owner = next((known for known in self.client.known.values() for place in known.job.places
                  if (place.disk, place.file) == (disk, file) and place.start <= at < place.end), None)
    whose = f"in the region of {owner}, {owner.state or owner.outcome.value}" if owner else "outside of all regions"
    is_old = medium[at:at + SECTOR] == fresh[at:at + SECTOR]
    raise Wrong(f"wrong bytes on {title} at {at}, {whose}; there {'is what was there before' if is_old else 'are other bytes'}")

  def _right(self, known, place, fresh, medium):
    if known.state == "done":
      return known.job.content
    old = fresh[place.start:place.end]
    if known.state != "cancelled":
      return old  # never accepted: nothing may have been written
    found = medium[place.start:place.end]
    mixed = bytearray()
    # Sectors of a copy that was cancelled are old or new.
    for i in range(0, place.count, SECTOR):
      new = known.job.content[i:i + SECTOR]
      mixed += new if found[i:i + SECTOR] == new else old[i:i + SECTOR]
    return mixed

  def _check_made(self, known, place):
    path = os.path.join(self._rig.files, place.file)
    if known.state != "done":
      # A crash between the making of the file and the job's acceptance may leave it, empty or as long as it shall be, and never with data.
      if os.path.exists(path) and any(self._medium_of_file(place.file)):
        raise Wrong(f"{known} was never accepted, and wrote to {place.file}")
      return
    right = bytes(place.start) + known.job.content
    if not os.path.exists(path):
      raise Wrong(f"{known} is done, and {place.file} is not there")
    found = self._medium_of_file(place.file)
    if found != right:
      at = _first_difference(found, right)
      raise Wrong(f"wrong bytes in {place.file}, made by {known}: {len(found)} bytes of {len(right)}, the first that differs is at {at}")


def _first_difference(one, other):
  at = 0
  step = 4096
  while at < min(len(one), len(other)) and one[at:at + step] == other[at:at + step]:
    at += step
  return next((i for i in range(at, min(len(one), len(other))) if one[i] != other[i]), min(len(one), len(other)))
