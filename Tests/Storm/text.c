/* The paths that are tried, and what is written to them. */
#define _GNU_SOURCE
#include "storm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const root_files[] = {"README", "version", "stats", "metrics", "list", "submit", "check", "events", "errors", "jobs", "clients", "", "none"};
static const char *const job_files[] = {"spec", "status", "status.json", "state", "progress", "read_err", "write_err", "wait", "result", "ctl",
  "dest", "dest/0", "dest/0/status", "dest/0/map", "dest/1/map", "dest/99", "nothing", "."};
static const char *const client_files[] = {"pages", "pages_free", "throttle", "rate", "subjob", "slots", "max_jobs", "jobs", "wait", "none", "."};
static const char *const odd_names[] = {"1", "2", "17", ".draft", "draft~", "-x", "a b", "\x1b[31m", "\xff", "x\ny", "..", "0123456789012345678901234567890123456789012345678901234567890123456789"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define PICK(worker, array) ((array)[chance((worker), COUNT(array))])

/* SplitMix64. */
uint64_t chance(struct worker *worker, uint64_t below) {
  uint64_t word = worker->state += 0x9e3779b97f4a7c15u;
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
  return (word ^ (word >> 31)) % below;
}

void own_name(struct worker *worker, char kind, char *name, size_t size) {
  snprintf(name, size, "%c%u-%u", kind, worker->uid, (unsigned)chance(worker, NAMES));
}

static void any_name(struct worker *worker, char kind, char *name, size_t size) {
  if (chance(worker, 12) == 0) {
    snprintf(name, size, "%s", PICK(worker, odd_names));
    return;
  }
  unsigned number = (unsigned)chance(worker, NAMES);
  const char *prefix = chance(worker, 10) == 0 ? "." : "";
  snprintf(name, size, "%s%c%u-%u", prefix, kind, chance(worker, 2) ? worker->uid : uids[chance(worker, UIDS)], number);
}

void random_path(struct worker *worker, char *path, size_t size) {
  char name[128];
  switch (chance(worker, 10)) {
  case 0:
  case 1: snprintf(path, size, "%s/%s", mount_point, PICK(worker, root_files)); break;
  case 2:
    any_name(worker, 'w', name, sizeof name);
    snprintf(path, size, "%s/jobs/%s", mount_point, name);
    break;
  case 3:
    any_name(worker, 'c', name, sizeof name);
    snprintf(path, size, "%s/clients/%s", mount_point, name);
    break;
  case 4:
    any_name(worker, 'c', name, sizeof name);
    snprintf(path, size, "%s/clients/%s/%s", mount_point, chance(worker, 4) ? name : "default", PICK(worker, client_files));
    break;
  default:
    any_name(worker, 'w', name, sizeof name);
    snprintf(path, size, "%s/jobs/%s/%s", mount_point, name, PICK(worker, job_files));
  }
}

struct owner owner_of(const char *path) {
  struct owner owner = {0};
  size_t length = strlen(mount_point);
  unsigned uid, number;
  int end = 0;
  if (strncmp(path, mount_point, length) == 0 && sscanf(path + length, "/jobs/w%u-%u%n", &uid, &number, &end) == 2) {
    const char *rest = path + length + end;
    if (*rest != 0 && *rest != '/') return owner;
    owner = (struct owner){.is_known = 1, .is_whole = *rest == 0, .is_private = number % 2 == 0, .uid = uid};
  }
  return owner;
}

/* The files of the caller, seldom those of others or a canary, which root never names: it could. */
static void file(struct worker *worker, unsigned first, char *path, size_t size) {
  uid_t uid = worker->uid;
  if (uid != 0 && chance(worker, 4) == 0) uid = uids[chance(worker, UIDS)];
  if (uid != worker->uid && chance(worker, 2))
    snprintf(path, size, "%s/canary/%u", scratch, uid);
  else
    snprintf(path, size, "%s/data/%u/%u", scratch, uid, first + (unsigned)chance(worker, 3));
}

static const char *const places[] = {"", "@0", "@4096B", "@8s+8s", "@0+64K", "@1", "@0+8388607T", "@0+0"};
static const char *const keys[] = {"errors=drop", "errors=stop", "errors=ignore", "errors=pause", "order=sequential", "retries=2", "sync=none", "create=yes", "tail=zero",
  "rate=64K", "rate=512K", "rate=max", "priority=0", "priority=9", "context='a b'", "client=default", "op=copy"};
static const char *const slips[] = {"verify=yes", "hash=sha256", "sparse=yes", "clone=no", "context=x\x1b[2J", "domain=/none", "unknown=1", "from=/x", "retries=99999999999",
  "mode=0999", "after=", "rate=0", "to=relative"};

static const char *place(struct worker *worker) { return chance(worker, 3) ? "" : PICK(worker, places); }

static size_t record(struct worker *worker, int is_named, char *text, size_t size) {
  char from[400], to[400], name[64];
  size_t length;
  file(worker, 0, from, sizeof from);
  file(worker, 2, to, sizeof to);
  switch (chance(worker, 8)) {
  case 0: length = (size_t)snprintf(text, size, "op=none"); break;
  case 1: length = (size_t)snprintf(text, size, "op=zero to=%s@0+%uK", to, 4u << chance(worker, 6)); break;
  case 2:
    return (size_t)snprintf(text, size, "{\"from\":{\"path\":\"%s\",\"start\":0,\"count\":%u},\"to\":[\"%s\"],\"priority\":%u}", from, 4096u << chance(worker, 4), to,
      (unsigned)chance(worker, 11));
  default:
    length = (size_t)snprintf(text, size, "from=%s%s to=%s%s", from, place(worker), to, place(worker));
    if (chance(worker, 3) == 0) {
      file(worker, 2, to, sizeof to);
      length += (size_t)snprintf(text + length, size - length, " to=%s", to);
    }
  }
  while (chance(worker, 2)) length += (size_t)snprintf(text + length, size - length, " %s", PICK(worker, keys));
  if (chance(worker, 6) == 0) length += (size_t)snprintf(text + length, size - length, " %s", PICK(worker, slips));
  if (chance(worker, 8) == 0) {
    own_name(worker, 'w', name, sizeof name);
    length += (size_t)snprintf(text + length, size - length, " after=%s", name);
  }
  if (chance(worker, 8) == 0) {
    own_name(worker, 'c', name, sizeof name);
    length += (size_t)snprintf(text + length, size - length, " client=%s", name);
  }
  if (is_named && chance(worker, 2)) {
    own_name(worker, 'w', name, sizeof name);
    // The umask makes all private; by their names half of them stay so.
    int is_private = (name[strlen(name) - 1] - '0') % 2 == 0;
    length += (size_t)snprintf(text + length, size - length, " name=%s%s", name, is_private ? "" : " mode=0755");
  }
  return length;
}

static const char *const commands[] = {"cancel", "pause", "resume", "retry", "rate=1K", "rate=max", "priority=3", "rate=", "priority=10", "kill", "\x1b[31m"};
static const char *const values[] = {"1", "100", "256", "4096", "8192", "1M", "max", "0", "-1", "99999999999999999999", "64K", "x", "20M"};

size_t random_text(struct worker *worker, const char *path, char *text, size_t size) {
  size_t length;
  if (strstr(path, "/ctl")) {
    length = (size_t)snprintf(text, size, "%s", PICK(worker, commands));
  } else if (strstr(path, "/clients/")) {
    length = (size_t)snprintf(text, size, "%s", PICK(worker, values));
  } else {
    length = record(worker, strstr(path, "/submit") || strstr(path, "/check"), text, size - 2);
    if (length >= size - 2) length = size - 3;
  }
  if (chance(worker, 10) == 0 && length > 0) {
    // A slip, but not in what says whose it is.
    size_t place = chance(worker, length);
    if (text[place] != 'w' && text[place] != '-' && text[place] != '/' && (text[place] < '0' || text[place] > '9')) text[place] = (char)chance(worker, 256);
  }
  if (chance(worker, 8)) text[length++] = '\n';
  if (chance(worker, 15) == 0) length = chance(worker, length + 1);
  return length;
}
