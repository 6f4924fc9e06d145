#define _GNU_SOURCE
#include "include/CSystemShims.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All of a file of /proc, in `fixed` or, if it is longer, in memory of its own that the caller frees. */
static char *read_all(const char *path, char *fixed, size_t size, char **owned) {
  *owned = NULL;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NULL;
  char *text = fixed;
  size_t used = 0;
  for (;;) {
    ssize_t count = read(fd, text + used, size - used - 1);
    if (count < 0) break;
    if (count == 0) {
      close(fd);
      text[used] = 0;
      return text;
    }
    used += (size_t)count;
    if (used < size - 1) continue;
    char *larger = realloc(*owned, size * 4);
    if (!larger) break;
    if (!*owned) memcpy(larger, fixed, used);
    *owned = text = larger;
    size *= 4;
  }
  close(fd);
  free(*owned);
  *owned = NULL;
  return NULL;
}

/* Up to `capacity` numbers of a line; how many there are. */
static uint32_t numbers(const char *line, uint32_t *out, uint32_t capacity) {
  uint32_t count = 0;
  while (*line && *line != '\n') {
    if (*line < '0' || *line > '9') {
      line++;
      continue;
    }
    char *end;
    unsigned long number = strtoul(line, &end, 10);
    if (count < capacity) out[count] = (uint32_t)number;
    count++;
    line = end;
  }
  return count;
}

int kcs_process_status(int thread, struct kcs_process_status *out, uint32_t *groups, uint32_t capacity) {
  if (thread <= 0) return -ESRCH;
  char path[64], fixed[4096], *owned;
  snprintf(path, sizeof path, "/proc/%d/status", thread);
  char *text = read_all(path, fixed, sizeof fixed, &owned);
  if (!text) return -ESRCH;
  memset(out, 0, sizeof *out);
  enum { UMASK = 1, TGID = 2, UID = 4, GID = 8, GROUPS = 16, CAPABILITIES = 32, ALL = 63 };
  int found = 0;
  for (char *line = text; line && found != ALL; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (!strncmp(line, "Umask:", 6)) out->umask = (uint32_t)strtoul(line + 6, NULL, 8), found |= UMASK;
    else if (!strncmp(line, "Tgid:", 5)) found |= numbers(line + 5, &out->process, 1) == 1 ? TGID : 0;
    else if (!strncmp(line, "Uid:", 4)) found |= numbers(line + 4, out->uid, 4) == 4 ? UID : 0;
    else if (!strncmp(line, "Gid:", 4)) found |= numbers(line + 4, out->gid, 4) == 4 ? GID : 0;
    else if (!strncmp(line, "Groups:", 7)) out->groups = numbers(line + 7, groups, capacity), found |= GROUPS;
    else if (!strncmp(line, "CapEff:", 7)) out->capabilities = strtoull(line + 7, NULL, 16), found |= CAPABILITIES;
  }
  free(owned);
  return found == ALL ? 0 : -ENODATA;
}

uint64_t kcs_process_namespace(int thread, const char *kind) {
  char path[64], target[64];
  snprintf(path, sizeof path, "/proc/%d/ns/%s", thread, kind);
  ssize_t count = readlink(path, target, sizeof target - 1);
  if (count <= 0) return 0;
  target[count] = 0;
  const char *number = strchr(target, '[');
  return number ? strtoull(number + 1, NULL, 10) : 0;
}
