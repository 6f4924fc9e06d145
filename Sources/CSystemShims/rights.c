#define _GNU_SOURCE
#include "include/CSystemShims.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* By the system calls themselves: the library's functions would change all threads, those that need their rights too. */

static int get_capabilities(struct __user_cap_data_struct data[2]) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

static int set_capabilities(const struct __user_cap_data_struct data[2]) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

int kcs_forbid_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0; }

int kcs_keep_capabilities(uint64_t wanted) {
  struct __user_cap_data_struct data[2];
  int result = get_capabilities(data);
  if (result < 0) return result;
  for (int half = 0; half < 2; half++) {
    data[half].permitted &= (uint32_t)(wanted >> (32 * half));
    data[half].effective = data[half].permitted;
    data[half].inheritable = 0;
  }
  return set_capabilities(data);
}

int kcs_may_be_root(void) {
  uint32_t real, effective, saved;
  return syscall(SYS_getresuid, &real, &effective, &saved) == 0 && (real == 0 || effective == 0 || saved == 0);
}

/* A thread inherits from its maker, which may be acting for somebody else just now. */
static int be_root(void) {
  uint32_t real, effective, saved;
  if (syscall(SYS_getresuid, &real, &effective, &saved) < 0) return -errno;
  if (real == 0 && effective == 0 && saved == 0) return 0;
  int result = kcs_keep_capabilities(~(uint64_t)0);
  if (result < 0) return result;
  return syscall(SYS_setresuid, 0, 0, 0) < 0 ? -errno : 0;
}

int kcs_give_up_rights(uint32_t id) {
  int result = be_root();
  if (result < 0) return result;
  int groups = (int)syscall(SYS_getgroups, 0, NULL);
  if (groups != 0 && syscall(SYS_setgroups, 0, NULL) < 0) return -errno;
  /* These two tell no errors, only what was before. */
  syscall(SYS_setfsgid, id);
  syscall(SYS_setfsuid, id);
  if ((uint32_t)syscall(SYS_setfsgid, -1) != id || (uint32_t)syscall(SYS_setfsuid, -1) != id) return -EPERM;
  result = kcs_keep_capabilities(0);
  return result < 0 ? result : kcs_forbid_new_privileges();
}
