/* Small copies as a program in C would make them without kcopyfs: what a job can cost at the least on this machine.

   Copy number i is of the bytes at i times the size, from the source to the same place of the destination. */
#define _GNU_SOURCE
#include "plain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void fail(const char *format, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  fputs("plain-copy: ", stderr);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, ": %s\n", strerror(error));
  exit(1);
}

char *aligned_memory(size_t size) {
  char *memory = aligned_alloc(4096, size);
  if (!memory) fail("memory");
  memset(memory, 0, size);
  return memory;
}

static int open_direct(const char *path, int mode) {
  int file = open(path, mode | O_DIRECT | O_CLOEXEC);
  if (file < 0) fail("%s", path);
  return file;
}

static uint64_t number(const char *text) {
  char *end;
  unsigned long value = strtoul(text, &end, 10);
  if (*end || value == 0) {
    errno = EINVAL;
    fail("%s", text);
  }
  return value;
}

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
  const char *mode = count == 7 ? arguments[1] : "";
  int is_durable = !strcmp(mode, "durable");
  if (!is_durable && strcmp(mode, "ring") != 0) {
    fputs(
        "usage: plain-copy durable SOURCE DESTINATION SIZE COUNT DATABASE\n"
        "       plain-copy ring SOURCE DESTINATION SIZE COUNT DEPTH\n",
        stderr);
    return 2;
  }
  int files[] = {open_direct(arguments[2], O_RDONLY), open_direct(arguments[3], O_WRONLY)};
  uint64_t size = number(arguments[4]), copies = number(arguments[5]);
  double begin;
  if (is_durable) {
    struct journal journal = open_journal(arguments[6]);
    begin = seconds();
    copy_durably(files, size, copies, &journal);
  } else {
    struct copies ring = make_ring(files, size, (unsigned)number(arguments[6]));
    begin = seconds();
    copy_by_ring(&ring, copies);
  }
  printf("operations=%lu seconds=%.6f\n", (unsigned long)copies, seconds() - begin);
  return 0;
}
