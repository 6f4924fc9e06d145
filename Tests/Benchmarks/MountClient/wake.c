#define _GNU_SOURCE
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A reader that came later than this before the notification may not have been asleep by then: such a job doesn't count. */
static const int64_t asleep_for = 2000000;
/* More such jobs than that for each one that counts: the record is too quick to be waited for. */
enum { MOST_TOO_QUICK = 4 };

/* The value of a time in a text of key=value lines or words, in nanoseconds. */
static int64_t time_in(const char *text, const char *key) {
  const char *found = strstr(text, key);
  long seconds, microseconds;
  if (!found || sscanf(found + strlen(key), "%ld.%6ld", &seconds, &microseconds) != 2) {
    errno = EPROTO;
    fail("no %s in %s", key, text);
  }
  return seconds * 1000000000ll + microseconds * 1000ll;
}

/* Waits on `wait`; returns when its bytes are there, and notes when the waiting began. */
static int64_t wait_for(int file, int polls, char *text, size_t size, int64_t *began) {
  if (polls) {
    struct pollfd waiting = {.fd = file, .events = POLLIN};
    *began = (int64_t)now(CLOCK_REALTIME);
    if (poll(&waiting, 1, -1) != 1) fail("poll of wait");
  } else {
    *began = (int64_t)now(CLOCK_REALTIME);
  }
  read_text(file, text, size, "wait");
  return (int64_t)now(CLOCK_REALTIME);
}

/* Reads `events` up to the final event of a job. */
static int64_t wait_for_event(int events, const char *name, char *text, size_t size, int64_t *began) {
  char job[160];
  snprintf(job, sizeof job, " job=%s ", name);
  while (1) {
    *began = (int64_t)now(CLOCK_REALTIME);
    read_text(events, text, size, "events");
    int64_t woken = (int64_t)now(CLOCK_REALTIME);
    /* One read may bring several events, and several of the job. */
    for (char *line = text; *line; line += strcspn(line, "\n"), line += *line != 0) {
      char *found = strstr(line, job), *end = line + strcspn(line, "\n");
      if (!found || found > end) continue;
      char *state = strstr(line, " state=done ");
      if (state && state < end) return woken;
    }
  }
}

void wake(const char *mount, const char *way, const char *record, uint64_t count) {
  int polls = !strcmp(way, "poll"), is_stream = !strcmp(way, "events");
  char line[8192], name[128], path[256], text[1 << 16];
  snprintf(line, sizeof line, "%s\n", record);
  int submit = open_in(mount, "submit", O_RDWR);
  int events = is_stream ? open_in(mount, "events", O_RDONLY) : -1;
  uint64_t too_quick = 0;
  for (uint64_t done = 0; done < count;) {
    submit_job(submit, line, strlen(line), name, sizeof name);
    int64_t began, woken;
    if (is_stream) woken = wait_for_event(events, name, text, sizeof text, &began);
    snprintf(path, sizeof path, "jobs/%s/wait", name);
    int file = open_in(mount, path, O_RDONLY | (polls ? O_NONBLOCK : 0));
    if (is_stream) {
      read_text(file, text, sizeof text, "wait");
    } else {
      woken = wait_for(file, polls, text, sizeof text, &began);
    }
    close(file);
    if (strncmp(text, "state=done\n", 11) != 0) {
      errno = EPROTO;
      fail("a job that is not done: %s", text);
    }
    int64_t notified = time_in(text, "\nfinished_at=");
    if (notified - began < asleep_for) {
      if (++too_quick > MOST_TOO_QUICK * count) {
        errno = ETIME;
        fail("jobs are done before they are waited for");
      }
      continue;
    }
    /* The daemon's clock is cut to microseconds: up to one of them is its own. */
    printf("%.1f\n", (double)(woken - notified) / 1000);
    done++;
  }
  close(submit);
  if (events >= 0) close(events);
}
