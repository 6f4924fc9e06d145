#define _GNU_SOURCE
#include "include/CSystemShims.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/sysmacros.h>

ssize_t kcs_read_text(const char *path, char *text, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t count = read(fd, text, size - 1);
  if (count < 0) count = -errno;
  close(fd);
  if (count >= 0) text[count] = 0;
  return count;
}

/* A partition has no queue of its own: it is its disk's. */
static ssize_t read_queue(uint64_t device, const char *name, char *text, size_t size) {
  char path[128];
  ssize_t count = -ENOENT;
  const char *places[] = {"queue", "../queue"};
  for (int i = 0; i < 2 && count < 0; i++) {
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/%s/%s", major(device), minor(device), places[i], name);
    count = kcs_read_text(path, text, size);
  }
  return count;
}

int kcs_block_writes_zeroes(uint64_t device) {
  char text[32];
  ssize_t count = read_queue(device, "write_zeroes_max_bytes", text, sizeof text);
  return count > 0 && strtoull(text, NULL, 10) > 0;
}

int kcs_block_is_zoned(uint64_t device) {
  char text[32];
  ssize_t count = read_queue(device, "zoned", text, sizeof text);
  return count > 0 && strncmp(text, "none", 4) != 0;
}

int kcs_zero_range(int fd, uint64_t offset, uint64_t count) {
  return fallocate(fd, FALLOC_FL_ZERO_RANGE, (off_t)offset, (off_t)count) < 0 ? -errno : 0;
}

int kcs_punch_hole(int fd, uint64_t offset, uint64_t count) {
  return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)count) < 0 ? -errno : 0;
}

int64_t kcs_seek_data(int fd, uint64_t offset) {
  off_t found = lseek(fd, (off_t)offset, SEEK_DATA);
  return found < 0 ? -errno : found;
}

int64_t kcs_seek_hole(int fd, uint64_t offset) {
  off_t found = lseek(fd, (off_t)offset, SEEK_HOLE);
  return found < 0 ? -errno : found;
}

int kcs_eventfd_wait_until(int fd, uint64_t deadline) {
  while (1) {
    uint64_t now = kcs_monotonic();
    uint64_t left = deadline > now ? deadline - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
    struct pollfd poll = {.fd = fd, .events = POLLIN};
    int ready = ppoll(&poll, 1, &timeout, NULL);
    if (ready > 0) return kcs_eventfd_wait(fd);
    if (ready == 0) return -ETIMEDOUT;
    if (errno != EINTR) return -errno;
  }
}
