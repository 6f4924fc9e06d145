#define _GNU_SOURCE
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct disk disks[MOST_DISKS];
int disk_count;
bool is_down;
/* How often power was lost. */
static uint64_t losses;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct {
  uint64_t left, seed;
  enum survival survival;
  unsigned mask;
} awaited;

void lock_disks(void) { pthread_mutex_lock(&lock); }

void unlock_disks(void) { pthread_mutex_unlock(&lock); }

/* Sebastiano Vigna's splitmix64: any seed does, the ones that follow each other too. */
static uint64_t next_random(uint64_t *state) {
  uint64_t number = *state += 0x9e3779b97f4a7c15;
  number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9;
  number = (number ^ number >> 27) * 0x94d049bb133111eb;
  return number ^ number >> 31;
}

static int map_disk(struct disk *disk, int file) {
  struct stat facts;
  if (fstat(file, &facts)) return -1;
  disk->size = (size_t)facts.st_size;
  if (disk->size == 0 || disk->size % SECTOR) {
    errno = EINVAL;
    return -1;
  }
  disk->medium = mmap(NULL, disk->size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (disk->medium == MAP_FAILED) return -1;
  disk->view = mmap(NULL, disk->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (disk->view == MAP_FAILED) return -1;
  memcpy(disk->view, disk->medium, disk->size);
  disk->last = &disk->first;
  return 0;
}

int disk_add(const char *path) {
  if (disk_count == MOST_DISKS) {
    errno = E2BIG;
    return -1;
  }
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return -1;
  int result = map_disk(&disks[disk_count], file);
  close(file);
  if (result == 0) disk_count++;
  return result;
}

static void put(unsigned char *image, const struct unflushed *write, size_t begin, size_t end) {
  if (write->bytes)
    memcpy(image + write->offset + begin, write->bytes + begin, end - begin);
  else
    memset(image + write->offset + begin, 0, end - begin);
}

/* Sectors come to the medium whole: the one that a write ends in goes with the rest of the write. */
static void put_sectors(struct disk *disk, const struct unflushed *write, size_t first, size_t end) {
  size_t to = end * SECTOR < write->size ? end * SECTOR : write->size;
  if (first < end) put(disk->medium, write, first * SECTOR, to);
}

static void survive(struct disk *disk, const struct unflushed *write, enum survival survival, uint64_t *state) {
  size_t sectors = (write->size + SECTOR - 1) / SECTOR;
  switch (survival) {
    case DROP: break;
    case KEEP: put_sectors(disk, write, 0, sectors); break;
    case RAND:
      for (size_t i = 0; i < sectors; i++)
        if (next_random(state) & 1) put_sectors(disk, write, i, i + 1);
      break;
    case TORN: {
      /* A write of one sector can't be torn: its beginning is nothing or all. */
      uint64_t choice = next_random(state) % 4;
      size_t cut = sectors > 1 ? 1 + next_random(state) % (sectors - 1) : next_random(state) & 1;
      if (choice == 0) put_sectors(disk, write, 0, sectors);
      if (choice == 1) put_sectors(disk, write, 0, cut);
      if (choice == 2) put_sectors(disk, write, cut, sectors);
      break;
    }
  }
}

/* Forgets the writes up to a number. */
static void forget(struct disk *disk, uint64_t number) {
  while (disk->first && disk->first->number <= number) {
    struct unflushed *write = disk->first;
    disk->first = write->next;
    free(write->bytes);
    free(write);
  }
  if (!disk->first) disk->last = &disk->first;
}

void disks_crash(enum survival survival, uint64_t seed) {
  uint64_t state = seed;
  for (int i = 0; i < disk_count; i++) {
    for (struct unflushed *write = disks[i].first; write; write = write->next) survive(&disks[i], write, survival, &state);
    forget(&disks[i], UINT64_MAX);
  }
  is_down = true;
  losses++;
  awaited.left = 0;
}

void disks_crash_at(uint64_t count, enum survival survival, uint64_t seed, unsigned mask) {
  awaited.left = count;
  awaited.survival = survival;
  awaited.seed = seed;
  awaited.mask = mask;
}

uint64_t disks_crash_in(void) { return awaited.left; }

void disks_up(void) {
  for (int i = 0; i < disk_count; i++) memcpy(disks[i].view, disks[i].medium, disks[i].size);
  is_down = false;
}

static struct unflushed *note(struct disk *disk, const unsigned char *bytes, size_t size, off_t offset) {
  struct unflushed *write = calloc(1, sizeof *write);
  if (!write) return NULL;
  write->offset = offset;
  write->size = size;
  if (bytes) {
    write->bytes = malloc(size);
    if (!write->bytes) {
      free(write);
      return NULL;
    }
    memcpy(write->bytes, bytes, size);
  }
  write->number = ++disk->writes;
  *disk->last = write;
  disk->last = &write->next;
  return write;
}

static void check_seals(struct disk *disk, size_t size, off_t offset) {
  for (int i = 0; i < disk->seal_count; i++) {
    if (offset >= disk->seals[i].end || offset + (off_t)size <= disk->seals[i].begin) continue;
    if (disk->broken_seals++ == 0) {
      disk->broken_offset = offset;
      disk->broken_size = size;
    }
    return;
  }
}

int disk_write(struct disk *disk, const unsigned char *bytes, size_t size, off_t offset) {
  if (is_down) return EIO;
  if (size == 0) return 0;
  if (offset < 0 || (size_t)offset >= disk->size || size > disk->size - (size_t)offset) return ENOSPC;
  struct unflushed *write = note(disk, bytes, size, offset);
  if (!write) return ENOMEM;
  put(disk->view, write, 0, size);
  check_seals(disk, size, offset);
  disk->bytes += size;
  if (awaited.left == 0 || !(awaited.mask >> (disk - disks) & 1) || --awaited.left > 0) return 0;
  disks_crash(awaited.survival, awaited.seed);
  return EIO;
}

struct flush disk_begin_flush(struct disk *disk) {
  disk->flushing++;
  return (struct flush){.writes = disk->writes, .losses = losses};
}

int disk_end_flush(struct disk *disk, struct flush flush) {
  disk->flushing--;
  if (is_down || losses != flush.losses) return EIO;
  disk->flushes++;
  if (disk->lies) return 0;
  for (struct unflushed *write = disk->first; write && write->number <= flush.writes; write = write->next)
    put(disk->medium, write, 0, write->size);
  forget(disk, flush.writes);
  return 0;
}
