"""How often a SQLite database was committed to: read from its write-ahead log, so that nobody who is measured is asked."""

import struct

HEADER, FRAME = 32, 24
"""Bytes of the log's header, and of the header of each page in it."""


def commits(database):
  """Commits in the log of a database; it must not begin anew between two counts, which it does after 1000 pages at the soonest."""
  with open(f"{database}-wal", "rb") as file:
    header = file.read(HEADER)
    if len(header) < HEADER:
      return 0
    page, salts = struct.unpack(">I", header[8:12])[0], header[16:24]
    count = 0
    while len(frame := file.read(FRAME)) == FRAME and frame[8:16] == salts:
      # The last page of a commit carries the size of the database.
      count += frame[4:8] != b"\0\0\0\0"
      file.seek(page, 1)
    return count
