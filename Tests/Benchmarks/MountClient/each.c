#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct writer {
  const char *mount, *text, *end;
  uint64_t first, writers, jobs;
  pthread_t thread;
};

/* One job from its record to its result. */
static void run_job(const char *mount, int submit, const char *line, size_t length) {
  char name[256], path[300], result[64];
  submit_job(submit, line, length, name, sizeof name);
  snprintf(path, sizeof path, "jobs/%s/result", name);
  int file = open_in(mount, path, O_RDONLY);
  read_text(file, result, sizeof result, path);
  close(file);
  if (strcmp(result, "ok\n") != 0) {
    errno = EPROTO;
    fail("%s is %s", path, result);
  }
}

/* The first line of the writer, and every one that is as many behind it as there are writers. */
static void *write_lines(void *argument) {
  struct writer *writer = argument;
  int submit = open_in(writer->mount, "submit", O_RDWR);
  const char *line = after_lines(writer->text, writer->end, writer->first);
  while (line < writer->end) {
    run_job(writer->mount, submit, line, (size_t)(after_lines(line, writer->end, 1) - line));
    writer->jobs++;
    line = after_lines(line, writer->end, writer->writers);
  }
  if (close(submit)) fail("close of submit");
  return NULL;
}

void each(const char *mount, const char *path, uint64_t count) {
  size_t size;
  char *text = read_whole(path, &size);
  struct writer *writers = calloc(count, sizeof *writers);
  if (!writers) fail("memory");
  uint64_t begin = now(CLOCK_MONOTONIC), jobs = 0;
  for (uint64_t i = 0; i < count; i++) {
    writers[i] = (struct writer){.mount = mount, .text = text, .end = text + size, .first = i, .writers = count};
    errno = pthread_create(&writers[i].thread, NULL, write_lines, &writers[i]);
    if (errno) fail("a thread");
  }
  for (uint64_t i = 0; i < count; i++) {
    pthread_join(writers[i].thread, NULL);
    jobs += writers[i].jobs;
  }
  report(jobs, begin);
  free(writers);
  free(text);
}
