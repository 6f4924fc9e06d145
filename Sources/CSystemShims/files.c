#define _GNU_SOURCE
#include "include/CSystemShims.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

/* Debian 12's glibc knows statx, but not its fields of Linux 6.1. */
#include <linux/stat.h>

const int kcs_O_DIRECT = O_DIRECT;
const int kcs_O_PATH = O_PATH;
const int kcs_O_TMPFILE = O_TMPFILE;

#define RETURN(call)               \
  do {                             \
    __auto_type result_ = (call);  \
    return result_ < 0 ? -errno : result_; \
  } while (0)

int kcs_open(const char *path, int flags, unsigned mode) { RETURN(open(path, flags | O_CLOEXEC, mode)); }

int kcs_openat(int dirfd, const char *path, int flags, unsigned mode) { RETURN(openat(dirfd, path, flags | O_CLOEXEC, mode)); }

static int open_resolving(int dirfd, const char *path, int flags, unsigned mode, uint64_t resolve) {
  struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .mode = mode, .resolve = resolve};
  RETURN((int)syscall(SYS_openat2, dirfd, path, &how, sizeof how));
}

int kcs_openat_no_magiclinks(int dirfd, const char *path, int flags, unsigned mode) {
  return open_resolving(dirfd, path, flags, mode, RESOLVE_NO_MAGICLINKS);
}

int kcs_openat_in_root(int dirfd, const char *path, int flags, unsigned mode) {
  return open_resolving(dirfd, path, flags, mode, RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT);
}

int kcs_may_write_directory(int fd) { RETURN(faccessat(fd, ".", W_OK | X_OK, AT_EACCESS)); }

int kcs_close(int fd) { RETURN(close(fd)); }

/* Of Linux 6.8; an older kernel passes over what it doesn't know. */
#define MOUNT_ID_UNIQUE 0x4000u

int kcs_file_facts(int fd, struct kcs_file_facts *out) {
  struct statx facts;
  memset(&facts, 0, sizeof facts);
  if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME | STATX_DIOALIGN | MOUNT_ID_UNIQUE, &facts) < 0) return -errno;
  memset(out, 0, sizeof *out);
  out->mode = facts.stx_mode;
  out->uid = facts.stx_uid;
  out->gid = facts.stx_gid;
  out->links = facts.stx_nlink;
  out->inode = facts.stx_ino;
  out->size = facts.stx_size;
  out->device = makedev(facts.stx_dev_major, facts.stx_dev_minor);
  out->rdevice = makedev(facts.stx_rdev_major, facts.stx_rdev_minor);
  if (facts.stx_mask & STATX_DIOALIGN) {
    out->dio_memory = facts.stx_dio_mem_align;
    out->dio_offset = facts.stx_dio_offset_align;
  }
  if (facts.stx_mask & STATX_BTIME) out->born = (uint64_t)facts.stx_btime.tv_sec * 1000000000u + facts.stx_btime.tv_nsec;
  out->modified = (uint64_t)facts.stx_mtime.tv_sec * 1000000000u + facts.stx_mtime.tv_nsec;
  out->changed = (uint64_t)facts.stx_ctime.tv_sec * 1000000000u + facts.stx_ctime.tv_nsec;
  if (facts.stx_mask & MOUNT_ID_UNIQUE) out->mount = facts.stx_mnt_id;
  return 0;
}

int kcs_file_device(int fd, uint64_t *device) {
  struct statx facts;
  memset(&facts, 0, sizeof facts);
  /* Nothing is asked for: st_dev the kernel knows by itself. */
  if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &facts) < 0) return -errno;
  *device = makedev(facts.stx_dev_major, facts.stx_dev_minor);
  return 0;
}

int kcs_file_system_magic(int fd, uint64_t *magic) {
  struct statfs facts;
  if (fstatfs(fd, &facts) < 0) return -errno;
  *magic = (uint64_t)(unsigned long)facts.f_type;
  return 0;
}

/* Of Linux 6.9; older headers don't have it. */
struct file_system_uuid {
  uint8_t length;
  uint8_t uuid[16];
};
#define GET_FILE_SYSTEM_UUID _IOR(0x15, 0, struct file_system_uuid)

void kcs_file_system_uuid(int fd, uint8_t *uuid) {
  struct file_system_uuid answer = {0};
  memset(uuid, 0, sizeof answer.uuid);
  if (ioctl(fd, GET_FILE_SYSTEM_UUID, &answer) == 0 && answer.length == sizeof answer.uuid) memcpy(uuid, answer.uuid, sizeof answer.uuid);
}

uint64_t kcs_file_system_number(int fd) {
  struct statfs facts;
  if (fstatfs(fd, &facts) < 0) return 0;
  uint32_t words[2];
  _Static_assert(sizeof words == sizeof facts.f_fsid, "f_fsid is two words");
  memcpy(words, &facts.f_fsid, sizeof words);
  return (uint64_t)words[1] << 32 | words[0];
}

uint32_t kcs_file_generation(int fd) {
  /* Declared for a long, of which file systems write an int. */
  long generation = 0;
  return ioctl(fd, FS_IOC_GETVERSION, &generation) == 0 ? (uint32_t)generation : 0;
}

int kcs_is_block_device(uint32_t mode) { return S_ISBLK(mode); }
int kcs_is_regular_file(uint32_t mode) { return S_ISREG(mode); }
int kcs_is_directory(uint32_t mode) { return S_ISDIR(mode); }
unsigned kcs_major(uint64_t device) { return major(device); }
unsigned kcs_minor(uint64_t device) { return minor(device); }
uint64_t kcs_device(unsigned major, unsigned minor) { return makedev(major, minor); }

int kcs_block_size_bytes(int fd, uint64_t *bytes) { RETURN(ioctl(fd, BLKGETSIZE64, bytes)); }
int kcs_block_logical(int fd, uint32_t *bytes) { RETURN(ioctl(fd, BLKSSZGET, bytes)); }
int kcs_block_read_only(int fd, int *read_only) { RETURN(ioctl(fd, BLKROGET, read_only)); }
int kcs_block_sequence(int fd, uint64_t *sequence) { RETURN(ioctl(fd, BLKGETDISKSEQ, sequence)); }

int kcs_loop_facts(int fd, struct kcs_loop_facts *out) {
  struct loop_info64 info;
  memset(&info, 0, sizeof info);
  if (ioctl(fd, LOOP_GET_STATUS64, &info) < 0) return -errno;
  out->device = info.lo_device;
  out->inode = info.lo_inode;
  out->rdevice = info.lo_rdevice;
  out->offset = info.lo_offset;
  out->size_limit = info.lo_sizelimit;
  return 0;
}

int64_t kcs_pread(int fd, void *buffer, uint64_t count, uint64_t offset) { RETURN((int64_t)pread(fd, buffer, count, (off_t)offset)); }

int64_t kcs_pwrite(int fd, const void *buffer, uint64_t count, uint64_t offset) {
  RETURN((int64_t)pwrite(fd, buffer, count, (off_t)offset));
}

int kcs_fdatasync(int fd) { RETURN(fdatasync(fd)); }
int kcs_fsync(int fd) { RETURN(fsync(fd)); }
int kcs_ftruncate(int fd, uint64_t size) { RETURN(ftruncate(fd, (off_t)size)); }

int kcs_fallocate_keep(int fd, uint64_t offset, uint64_t count) {
  RETURN(fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)count));
}

int kcs_drop_cache(int fd, uint64_t offset, uint64_t count) {
  return -posix_fadvise(fd, (off_t)offset, (off_t)count, POSIX_FADV_DONTNEED);
}

#ifndef __NR_cachestat
#define __NR_cachestat 451
#endif

int kcs_is_cached(int fd, uint64_t offset, uint64_t count) {
  struct { uint64_t offset, count; } range = {offset, count};
  struct { uint64_t cached, dirty, in_writeback, evicted, recently_evicted; } pages = {0};
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  if (syscall(__NR_cachestat, fd, &range, &pages, 0) == 0) return pages.cached > 0;
  char byte;
  struct iovec first = {&byte, 1};
  return preadv2(fd, &first, 1, (off_t)offset, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

int kcs_flock_exclusive(int fd) { RETURN(flock(fd, LOCK_EX | LOCK_NB)); }
int kcs_remove_directory_at(int dirfd, const char *path) { RETURN(unlinkat(dirfd, path, AT_REMOVEDIR)); }

int kcs_touch_at(int dirfd, const char *path) {
  const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
  RETURN(utimensat(dirfd, path, times, AT_SYMLINK_NOFOLLOW));
}

int kcs_unlinkat(int dirfd, const char *name) { RETURN(unlinkat(dirfd, name, 0)); }

void *kcs_map_pages(uint64_t bytes) {
  const uint64_t huge = 2u << 20;
  /* mmap promises 4 KiB only: map one huge page more and give back what sticks out. */
  uint8_t *base = mmap(NULL, bytes + huge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return NULL;
  uint64_t head = (huge - (uintptr_t)base % huge) % huge;
  if (head) munmap(base, head);
  if (huge - head) munmap(base + head + bytes, huge - head);
  madvise(base + head, bytes, MADV_HUGEPAGE);
  madvise(base + head, bytes, MADV_DONTFORK);
  /* Now, in pieces, and by who asks: whoever pins it later would take seconds while others wait. A kernel before 5.14 knows
     no MADV_POPULATE_WRITE, and then it is as it was. */
  for (uint64_t at = 0; at < bytes; at += 64u << 20) {
    uint64_t piece = bytes - at < (64u << 20) ? bytes - at : 64u << 20;
    if (madvise(base + head + at, piece, 23 /* MADV_POPULATE_WRITE */) < 0 && errno != EINVAL) {
      munmap(base + head, bytes);
      return NULL;
    }
  }
  return base + head;
}

void kcs_unmap_pages(void *base, uint64_t bytes) { munmap(base, bytes); }

int kcs_eventfd(void) { RETURN(eventfd(0, EFD_CLOEXEC)); }

int kcs_eventfd_signal(int fd) {
  uint64_t one = 1;
  for (;;) {
    if (write(fd, &one, sizeof one) == sizeof one) return 0;
    if (errno != EINTR) return -errno;
  }
}

int kcs_eventfd_wait(int fd) {
  uint64_t count;
  for (;;) {
    if (read(fd, &count, sizeof count) == sizeof count) return 0;
    if (errno != EINTR) return -errno;
  }
}
