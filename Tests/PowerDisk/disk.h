/* Disks that lose power together: each has a medium and, before it, a cache that forgets. */
#ifndef POWER_DISK_H
#define POWER_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MOST_DISKS = 16, MOST_SEALS = 256, SECTOR = 512 };

/* What becomes of the sectors that are in a cache when the power goes. */
enum survival {
  DROP, /* none of them is on the medium */
  KEEP, /* all are */
  RAND, /* each is or isn't */
  TORN, /* of each write all, nothing, its beginning or its end is */
};

/* One write since the last flush. */
struct unflushed {
  struct unflushed *next;
  uint64_t number;
  off_t offset;
  size_t size;
  /* NULL for zeroes. */
  unsigned char *bytes;
};

/* Bytes that nobody is to write any more. */
struct seal {
  off_t begin, end;
};

struct disk {
  size_t size;
  /* The file of the image, mapped: what a loss of power leaves is there at once. */
  unsigned char *medium;
  /* What is read: the medium with all writes. */
  unsigned char *view;
  struct unflushed *first, **last;
  /* A disk that answers a flush and does nothing. */
  bool lies;
  /* What a write and a flush take, in microseconds. */
  unsigned write_delay, flush_delay;
  uint64_t writes, bytes, flushes;
  int flushing;
  struct seal seals[MOST_SEALS];
  int seal_count;
  /* Writes that met a seal, and where the first of them was. */
  uint64_t broken_seals;
  off_t broken_offset;
  size_t broken_size;
};

/* All disks; whoever uses them holds `lock_disks`. */
extern struct disk disks[MOST_DISKS];
extern int disk_count;
/* Between a loss of power and `disks_up`. */
extern bool is_down;

void lock_disks(void);
void unlock_disks(void);

/* Adds the disk that a file is the medium of; -1 with errno. */
int disk_add(const char *path);

/* 0, or an errno; `bytes` may be NULL for zeroes. */
int disk_write(struct disk *disk, const unsigned char *bytes, size_t size, off_t offset);

/* A flush covers the writes that were answered before it came, and no later one: what there is by then is to be given to
   `disk_end_flush`, which brings it to the medium unless power was lost meanwhile. */
struct flush {
  uint64_t writes, losses;
};
struct flush disk_begin_flush(struct disk *disk);
int disk_end_flush(struct disk *disk, struct flush flush);

/* The power goes now. */
void disks_crash(enum survival survival, uint64_t seed);
/* The power goes at the `count`th write from now on to the disks of which the mask has the bit: that write is in the cache, and isn't
   answered any more.  0 takes it back. */
void disks_crash_at(uint64_t count, enum survival survival, uint64_t seed, unsigned mask);
/* How many writes are still to come; 0 when none is awaited. */
uint64_t disks_crash_in(void);
/* The power is there again: what can be read is what is on the media. */
void disks_up(void);

#endif
