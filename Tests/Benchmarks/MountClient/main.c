/* The client of the mount's benchmark, in C so that it costs little: the same calls for kcopyfs and for idle-fuse. */
#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void fail(const char *format, ...) {
  int error = errno;
  va_list arguments;
  va_start(arguments, format);
  fputs("mount-client: ", stderr);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fprintf(stderr, ": %s\n", strerror(error));
  exit(1);
}

uint64_t now(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

int open_in(const char *mount, const char *name, int flags) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", mount, name);
  int file = open(path, flags | O_CLOEXEC, 0666);
  if (file < 0) fail("%s", path);
  return file;
}

void read_text(int file, char *text, size_t size, const char *what) {
  ssize_t length = read(file, text, size - 1);
  if (length <= 0) fail("read of %s", what);
  text[length] = 0;
}

void submit_job(int submit, const char *line, size_t length, char *name, size_t size) {
  if (write(submit, line, length) != (ssize_t)length) fail("write to submit");
  read_text(submit, name, size, "submit");
  name[strcspn(name, "\n")] = 0;
}

char *read_whole(const char *path, size_t *size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  struct stat facts;
  if (file < 0 || fstat(file, &facts)) fail("%s", path);
  *size = (size_t)facts.st_size;
  char *text = malloc(*size + 1);
  if (!text || read(file, text, *size) != facts.st_size) fail("%s", path);
  text[*size] = 0;
  close(file);
  return text;
}

void report(uint64_t operations, uint64_t begin) {
  double seconds = (double)(now(CLOCK_MONOTONIC) - begin) / 1e9;
  printf("operations=%lu seconds=%.6f nanoseconds=%.1f\n", (unsigned long)operations, seconds, seconds * 1e9 / (double)operations);
}

/* One job a file, as `echo op=none > jobs/NAME` does. */
static void create(const char *mount, uint64_t count) {
  static const char record[] = "op=none\n";
  char name[32];
  uint64_t begin = now(CLOCK_MONOTONIC);
  for (uint64_t i = 0; i < count; i++) {
    snprintf(name, sizeof name, "jobs/b%lu", (unsigned long)i);
    int file = open_in(mount, name, O_WRONLY | O_CREAT | O_EXCL);
    if (write(file, record, sizeof record - 1) != sizeof record - 1) fail("write to %s", name);
    if (close(file)) fail("close of %s", name);
  }
  report(count, begin);
}

/* A status file from open to close, read to its end. */
static void status(const char *mount, const char *name, uint64_t count) {
  char text[1 << 16];
  uint64_t begin = now(CLOCK_MONOTONIC);
  for (uint64_t i = 0; i < count; i++) {
    int file = open_in(mount, name, O_RDONLY);
    ssize_t length, sum = 0;
    while ((length = read(file, text, sizeof text)) > 0) sum += length;
    if (length < 0 || sum == 0) fail("read of %s", name);
    if (close(file)) fail("close of %s", name);
  }
  report(count, begin);
}

const char *after_lines(const char *text, const char *end, uint64_t lines) {
  for (; lines > 0 && text < end; lines--) {
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    text = newline ? newline + 1 : end;
  }
  return text;
}

/* Waits until all jobs of the client `default` are final. */
static void await_jobs(const char *mount) {
  char text[4096];
  int file = open_in(mount, "clients/default/wait", O_RDONLY);
  if (read(file, text, sizeof text) <= 0) fail("read of clients/default/wait");
  close(file);
}

/* The lines of a file to submit, so many a write. */
static void batch(const char *mount, const char *path, uint64_t lines) {
  size_t size;
  char *text = read_whole(path, &size);
  const char *end = text + size;
  uint64_t records = 0;
  for (const char *line = text; line < end; line = after_lines(line, end, 1)) records++;

  int submit = open_in(mount, "submit", O_WRONLY);
  uint64_t begin = now(CLOCK_MONOTONIC);
  for (const char *next = text; next < end;) {
    ssize_t taken = write(submit, next, (size_t)(after_lines(next, end, lines) - next));
    /* Short when a batch takes longer than a write may: the rest comes again. Unfinished jobs can have all descriptors. */
    if (taken < 0 && errno == ENOBUFS) {
      await_jobs(mount);
    } else if (taken <= 0) {
      fail("write to submit, %lu bytes before the end", (unsigned long)(end - next));
    } else {
      next += taken;
    }
  }
  report(records, begin);
  if (close(submit)) fail("close of submit");
  free(text);
}

/* A file in one read(2), into a buffer that is a page larger than the file says it is. */
static void whole(const char *mount, const char *name) {
  int file = open_in(mount, name, O_RDONLY);
  struct stat facts;
  if (fstat(file, &facts)) fail("fstat of %s", name);
  size_t size = (size_t)facts.st_size + 4096;
  char *text = malloc(size);
  if (!text) fail("memory");
  memset(text, 0, size);
  uint64_t begin = now(CLOCK_MONOTONIC);
  ssize_t length = read(file, text, size);
  double seconds = (double)(now(CLOCK_MONOTONIC) - begin) / 1e9;
  if (length < 0) fail("read of %s", name);
  uint64_t lines = 0;
  for (const char *line = text; line < text + length; line = after_lines(line, text + length, 1)) lines++;
  printf("lines=%lu bytes=%ld size=%ld seconds=%.6f\n", (unsigned long)lines, (long)length, (long)facts.st_size, seconds);
  free(text);
  close(file);
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

int main(int count, char **arguments) {
  const char *mode = count > 1 ? arguments[1] : "";
  if (!strcmp(mode, "create") && count == 4) {
    create(arguments[2], number(arguments[3]));
  } else if (!strcmp(mode, "status") && count == 5) {
    status(arguments[2], arguments[3], number(arguments[4]));
  } else if (!strcmp(mode, "batch") && count == 5) {
    batch(arguments[2], arguments[3], number(arguments[4]));
  } else if (!strcmp(mode, "each") && count == 5) {
    each(arguments[2], arguments[3], number(arguments[4]));
  } else if (!strcmp(mode, "whole") && count == 4) {
    whole(arguments[2], arguments[3]);
  } else if (!strcmp(mode, "wake") && count == 6) {
    wake(arguments[2], arguments[3], arguments[4], number(arguments[5]));
  } else {
    fputs(
        "usage: mount-client create MOUNT COUNT\n"
        "       mount-client status MOUNT FILE COUNT\n"
        "       mount-client batch MOUNT FILE-WITH-RECORDS LINES-A-WRITE\n"
        "       mount-client each MOUNT FILE-WITH-RECORDS WRITERS\n"
        "       mount-client whole MOUNT FILE\n"
        "       mount-client wake MOUNT wait|poll|events RECORD COUNT\n",
        stderr);
    return 2;
  }
  return 0;
}
