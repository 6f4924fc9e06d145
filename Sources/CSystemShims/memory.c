#include "include/CSystemShims.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The number behind a word at the beginning of a line; 0 when there is none. */
static uint64_t number_after(const char *text, const char *word) {
  size_t length = strlen(word);
  for (const char *line = text; line != NULL && *line; line = strchr(line, '\n'), line += line != NULL) {
    if (strncmp(line, word, length) == 0) return strtoull(line + length, NULL, 10);
  }
  return 0;
}

/* One number in a file of a control group; UINT64_MAX for "max", or when it cannot be read. */
static uint64_t group_number(const char *group, const char *name) {
  char path[1024], text[64];
  snprintf(path, sizeof path, "%s/%s", group, name);
  if (kcs_read_text(path, text, sizeof text) <= 0 || strncmp(text, "max", 3) == 0) return UINT64_MAX;
  return strtoull(text, NULL, 10);
}

/* What a group and those above it let a process have, at least; files that nobody uses any more can be had back. */
static uint64_t group_available(const char *root, const char *path, const char *limit, const char *usage, const char *files) {
  char group[1024], text[8192], place[1100];
  uint64_t least = UINT64_MAX;
  snprintf(group, sizeof group, "%s%s", root, path);
  while (strlen(group) >= strlen(root)) {
    uint64_t most = group_number(group, limit), used = group_number(group, usage);
    if (most != UINT64_MAX && used != UINT64_MAX) {
      snprintf(place, sizeof place, "%s/memory.stat", group);
      uint64_t idle = kcs_read_text(place, text, sizeof text) > 0 ? number_after(text, files) : 0;
      uint64_t held = used > idle ? used - idle : 0, left = most > held ? most - held : 0;
      if (left < least) least = left;
    }
    char *slash = strrchr(group, '/');
    if (slash == NULL) break;
    *slash = 0;
  }
  return least;
}

/* What RLIMIT_AS leaves; UINT64_MAX without a limit. */
static uint64_t address_space_left(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  char text[128];
  if (kcs_read_text("/proc/self/statm", text, sizeof text) <= 0) return UINT64_MAX;
  uint64_t used = strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
  return used < limit.rlim_cur ? limit.rlim_cur - used : 0;
}

int kcs_has_address_space(uint64_t bytes) {
  uint64_t left = address_space_left(), kept = 16u << 20;
  return left >= kept && left - kept >= bytes;
}

void kcs_spare_address_space(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) mallopt(M_ARENA_MAX, 1);
}

int kcs_memory_available(uint64_t *bytes) {
  char text[8192];
  ssize_t count = kcs_read_text("/proc/meminfo", text, sizeof text);
  if (count < 0) return (int)count;
  *bytes = number_after(text, "MemAvailable:") * 1024;
  if (*bytes == 0) return -ENODATA;
  uint64_t mappable = address_space_left();
  if (mappable < *bytes) *bytes = mappable;
  if (kcs_read_text("/proc/self/cgroup", text, sizeof text) <= 0) return 0;
  char *rest = NULL;
  for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
    char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (path == NULL) continue;
    *path++ = 0;
    uint64_t left = UINT64_MAX;
    if (strcmp(controllers, ":") == 0) {
      left = group_available("/sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file ");
    } else if (strcmp(controllers, ":memory") == 0) {
      left = group_available(
          "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ");
    }
    if (left < *bytes) *bytes = left;
  }
  return 0;
}

int kcs_is_zero(const void *bytes, uint64_t count) {
  const unsigned char *start = bytes;
  /* Data shows in the first bytes, mostly; the rest is then compared with itself, a little further on. */
  uint64_t first = count < 16 ? count : 16;
  for (uint64_t i = 0; i < first; i++)
    if (start[i]) return 0;
  return count <= 16 || memcmp(start, start + 16, count - 16) == 0;
}
