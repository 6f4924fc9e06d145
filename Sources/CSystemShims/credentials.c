#define _GNU_SOURCE
#include "include/CSystemShims.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* All by system call: glibc's functions of these names change every thread of the process. */

static int set_groups(const uint32_t *groups, uint32_t count) {
  _Static_assert(sizeof(gid_t) == sizeof(uint32_t), "the kernel's groups are 32 bits wide");
  return syscall(SYS_setgroups, (size_t)count, groups) < 0 ? -errno : 0;
}

/* Real and saved ids stay: a process of that user could otherwise signal this thread, and with it end this process. */
static int set_effective_gid(uint32_t gid) { return syscall(SYS_setresgid, -1, gid, -1) < 0 ? -errno : 0; }
static int set_effective_uid(uint32_t uid) { return syscall(SYS_setresuid, -1, uid, -1) < 0 ? -errno : 0; }

static int get_capabilities(struct __user_cap_data_struct data[2]) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

static int set_effective_capabilities(uint64_t wanted) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  struct __user_cap_data_struct data[2];
  int result = get_capabilities(data);
  if (result < 0) return result;
  data[0].effective = (uint32_t)wanted & data[0].permitted;
  data[1].effective = (uint32_t)(wanted >> 32) & data[1].permitted;
  return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int kcs_take_identity(const struct kcs_identity *other) {
  int result = set_groups(other->groups, other->group_count);
  if (result == 0) result = set_effective_gid(other->gid);
  /* From root to another uid the kernel clears what is effective, and leaves what is permitted for the way back. */
  if (result == 0) result = set_effective_uid(other->uid);
  if (result == 0) result = set_effective_capabilities(other->capabilities);
  return result;
}

void kcs_take_back_identity(const struct kcs_identity *own) {
  /* The uid first: it gives back the rights that the rest takes. */
  if (set_effective_uid(own->uid) < 0 || set_effective_capabilities(own->capabilities) < 0 || set_effective_gid(own->gid) < 0
      || set_groups(own->groups, own->group_count) < 0)
    abort();
}

int kcs_is_scheduled_as_process(void) {
  pid_t leader = getpid();
  cpu_set_t own, whole;
  CPU_ZERO(&own);
  CPU_ZERO(&whole);
  if (syscall(SYS_sched_getaffinity, 0, sizeof own, &own) < 0 || syscall(SYS_sched_getaffinity, leader, sizeof whole, &whole) < 0) return 1;
  return syscall(SYS_sched_getscheduler, 0) == syscall(SYS_sched_getscheduler, leader)
         && syscall(SYS_getpriority, PRIO_PROCESS, 0) == syscall(SYS_getpriority, PRIO_PROCESS, leader) && CPU_EQUAL(&own, &whole);
}
