/* The system calls. What they return is of no interest, unless it shows that one uid could do something to a job of another. */
#define _GNU_SOURCE
#include "storm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char buffer[70000];
static sigjmp_buf mapping;

/* Whether the path is of another's job, and the caller is not root. */
static int is_foreign(struct worker *worker, const char *path) {
  struct owner owner = owner_of(path);
  return worker->uid != 0 && owner.is_known && owner.uid != worker->uid;
}

static int *slot(struct worker *worker) { return &worker->descriptors[chance(worker, DESCRIPTORS)]; }
static int any(struct worker *worker) { return *slot(worker); }
static const char *path_of(struct worker *worker, int *place) { return worker->paths[place - worker->descriptors]; }

static void keep(struct worker *worker, int descriptor, const char *path) {
  if (descriptor < 0) return;
  int *place = slot(worker);
  if (*place >= 0) close(*place);
  *place = descriptor;
  snprintf(worker->paths[place - worker->descriptors], sizeof worker->paths[0], "%s", path);
}

static void call_open(struct worker *worker) {
  static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_CREAT | O_TRUNC, O_WRONLY | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_WRONLY | O_APPEND,
    O_RDONLY | O_NONBLOCK, O_RDWR | O_NONBLOCK, O_PATH, O_RDONLY | O_DIRECTORY, O_RDONLY | O_DIRECT, O_RDWR | O_TMPFILE, O_WRONLY | O_SYNC, O_RDONLY | O_NOFOLLOW, O_RDONLY | O_NOATIME};
  char path[600];
  random_path(worker, path, sizeof path);
  struct owner owner = owner_of(path);
  int flag = flags[chance(worker, sizeof flags / sizeof flags[0])];
  // Nobody makes a job with a name that tells of another.
  if (owner.is_known && owner.uid != worker->uid) flag &= ~(O_CREAT | O_EXCL);
  int descriptor;
  if (chance(worker, 4) == 0) {
    struct open_how how = {.flags = (uint64_t)flag, .mode = flag & O_CREAT ? 0644 : 0, .resolve = chance(worker, 64)};
    descriptor = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
  } else {
    descriptor = open(path, flag | O_CLOEXEC, 0644);
  }
  if (descriptor >= 0 && is_foreign(worker, path) && !(flag & O_PATH)) {
    if (owner.is_private && !owner.is_whole) violation(worker, "opened a private file of another's job", path);
    // A placeholder is open to whom its owner's chmod lets in.
    if ((flag & O_ACCMODE) != O_RDONLY && (owner.is_private || !owner.is_whole)) violation(worker, "opened for writing a file of another's job", path);
  }
  keep(worker, descriptor, path);
}

static void call_write(struct worker *worker) {
  int *place = slot(worker);
  const char *path = path_of(worker, place);
  size_t length = random_text(worker, path, buffer, 4096);
  switch (chance(worker, 6)) {
  case 0: {
    size_t middle = length / 2;
    struct iovec parts[] = {{buffer, middle}, {buffer + middle, length - middle}};
    if (writev(*place, parts, 2) < 0) return;
    break;
  }
  case 1: if (pwrite(*place, buffer, length, (off_t)chance(worker, 8192)) < 0) return; break;
  case 2:
    for (size_t index = 0; index < length && index < 40; index++)
      if (write(*place, buffer + index, 1) < 0) return;
    if (length > 40 && write(*place, buffer + 40, length - 40) < 0) return;
    break;
  case 3: {
    size_t large = chance(worker, sizeof buffer);
    memset(buffer + length, 'x', sizeof buffer - length);
    if (large > length && chance(worker, 20) == 0) length = large;
  } // Falls through.
  default: if (write(*place, buffer, length) < 0) return;
  }
}

/* What most callers do, for by chance alone few records would be complete. */
static void call_submit(struct worker *worker) {
  char name[64], path[600];
  own_name(worker, 'w', name, sizeof name);
  if (chance(worker, 2)) snprintf(path, sizeof path, "%s/jobs/%s", mount_point, name);
  else snprintf(path, sizeof path, "%s/submit", mount_point);
  int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  size_t length = random_text(worker, path, buffer, 4096);
  if (descriptor >= 0 && write(descriptor, buffer, length) < 0 && chance(worker, 2)) close(descriptor);
  else keep(worker, descriptor, path);
}

/* A file of a job of one's own, which may be there. */
static void call_own(struct worker *worker) {
  static const char *const files[] = {"ctl", "wait", "result", "status", "dest/0/map", "spec"};
  char name[64], path[600];
  own_name(worker, 'w', name, sizeof name);
  const char *file = files[chance(worker, 6)];
  snprintf(path, sizeof path, "%s/jobs/%s/%s", mount_point, name, file);
  int descriptor = open(path, (file[0] == 'c' ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
  if (descriptor < 0) return;
  if (file[0] == 'c' && write(descriptor, buffer, random_text(worker, path, buffer, 4096)) < 0) errno = 0;
  keep(worker, descriptor, path);
}

static void call_read(struct worker *worker) {
  int *place = slot(worker), descriptor = *place;
  const char *path = path_of(worker, place);
  size_t length = chance(worker, 3) ? sizeof buffer : chance(worker, 64);
  struct iovec parts[] = {{buffer, length / 3}, {buffer + length / 3, length - length / 3}};
  ssize_t count = -1;
  switch (chance(worker, 4)) {
  case 0: count = pread(descriptor, buffer, length, (off_t)(chance(worker, 4) ? chance(worker, 5000) : 1u << chance(worker, 31))); break;
  case 1: count = readv(descriptor, parts, 2); break;
  default: count = read(descriptor, buffer, length);
  }
  // A draft is given back as it was written; all else in the mount is text for a terminal.
  if (strncmp(path, mount_point, strlen(mount_point)) || strstr(path, "/jobs/.") || strchr(path, '~')) return;
  for (ssize_t index = 0; index < count; index++)
    if (((unsigned char)buffer[index] < 32 && buffer[index] != '\n') || buffer[index] == 127) {
      violation(worker, "read a control character", path);
      return;
    }
}

static void call_move(struct worker *worker) {
  static const int origins[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE};
  lseek(any(worker), (off_t)chance(worker, 10000) - 100, origins[chance(worker, 5)]);
}

static void call_change(struct worker *worker) {
  int descriptor = any(worker);
  switch (chance(worker, 6)) {
  case 0: if (ftruncate(descriptor, (off_t)chance(worker, 5000)) < 0) return; break;
  case 1: fallocate(descriptor, (int)chance(worker, 4), 0, 4096); break;
  case 2: fsync(descriptor); break;
  case 3: fdatasync(descriptor); break;
  case 4: syncfs(descriptor); break;
  default: posix_fadvise(descriptor, 0, 4096, (int)chance(worker, 6));
  }
}

static void call_close(struct worker *worker) {
  int *place = slot(worker);
  if (*place >= 0) close(*place);
  *place = -1;
}

static void call_dup(struct worker *worker) {
  int *place = slot(worker);
  if (*place >= 0) keep(worker, fcntl(*place, F_DUPFD_CLOEXEC, 0), path_of(worker, place));
}

static void call_map(struct worker *worker) {
  int is_shared = (int)chance(worker, 2);
  volatile char *bytes = mmap(NULL, 8192, PROT_READ | (chance(worker, 2) ? PROT_WRITE : 0), is_shared ? MAP_SHARED : MAP_PRIVATE, any(worker), 0);
  if (bytes == MAP_FAILED) return;
  if (sigsetjmp(mapping, 1) == 0) {
    (void)bytes[chance(worker, 8192)];
    bytes[chance(worker, 4096)] = 'x';
  }
  munmap((void *)bytes, 8192);
}

void no_mapping(int number) {
  (void)number;
  siglongjmp(mapping, 1);
}

static void call_names(struct worker *worker) {
  char one[600], other[600], name[64];
  random_path(worker, one, sizeof one);
  random_path(worker, other, sizeof other);
  int is_foreign_one = is_foreign(worker, one);
  struct owner owner = owner_of(one);
  int result = -1;
  const char *what = "";
  switch (chance(worker, 14)) {
  case 0:
    own_name(worker, 'w', name, sizeof name);
    snprintf(other, sizeof other, "%s/jobs/%s%s", mount_point, name, chance(worker, 6) ? "" : "~");
    // A draft of one's own becomes a job, and so does whatever else anybody tries.
    result = rename(one, other);
    what = "renamed another's job";
    break;
  case 1: result = (int)syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, one, chance(worker, 8)); is_foreign_one = 0; break;
  case 2: result = link(one, other); what = "linked another's job"; break;
  case 3: result = symlink(one, other); is_foreign_one = 0; break;
  case 4: result = mknod(other, S_IFREG | 0644, 0); is_foreign_one = 0; break;
  case 5: result = rmdir(one); what = "removed another's job"; break;
  case 6: result = unlink(one); what = "unlinked a file of another's job"; break;
  case 7:
    if (owner.is_known && owner.is_private) break;
    result = chmod(one, (mode_t)chance(worker, 01000));
    what = "changed the mode of another's job";
    break;
  case 8: result = chown(one, worker->uid, (gid_t)-1); what = "changed the owner of another's job"; break;
  case 9: {
    struct timespec times[2] = {{(time_t)chance(worker, 1u << 31), 0}, {0, UTIME_NOW}};
    result = utimensat(AT_FDCWD, one, times, AT_SYMLINK_NOFOLLOW);
    what = "changed the times of another's job";
    break;
  }
  case 10: result = truncate(one, (off_t)chance(worker, 100)); what = "truncated a file of another's job"; break;
  case 11: result = setxattr(one, chance(worker, 2) ? "user.x" : "security.capability", "v", 1, 0); what = "set an attribute of another's job"; break;
  default:
    own_name(worker, 'c', name, sizeof name);
    snprintf(one, sizeof one, "%s/%s/%s", mount_point, chance(worker, 5) ? "clients" : "jobs", name);
    result = chance(worker, 3) ? mkdir(one, 0755) : rmdir(one);
    is_foreign_one = 0;
  }
  if (result == 0 && is_foreign_one) violation(worker, what, one);
}

static void call_look(struct worker *worker) {
  char path[600];
  struct stat facts;
  struct statx more;
  struct statvfs space;
  random_path(worker, path, sizeof path);
  switch (chance(worker, 8)) {
  case 0: stat(path, &facts); break;
  case 1: statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_ALL, &more); break;
  case 2: statvfs(path, &space); break;
  case 3: access(path, (int)chance(worker, 8)); break;
  case 4: if (getxattr(path, "user.x", buffer, 100) < 0) return; break;
  case 5: if (listxattr(path, buffer, 100) < 0) return; break;
  case 6: if (readlink(path, buffer, 100) < 0) return; break;
  default: {
    union { struct file_handle handle; char room[sizeof(struct file_handle) + MAX_HANDLE_SZ]; } place;
    place.handle.handle_bytes = MAX_HANDLE_SZ;
    int mount;
    if (name_to_handle_at(AT_FDCWD, path, &place.handle, &mount, 0) < 0) return;
    int directory = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    keep(worker, open_by_handle_at(directory, &place.handle, O_RDONLY | O_NONBLOCK), "by handle");
    close(directory);
  }
  }
}

static void call_list(struct worker *worker) {
  char path[600];
  random_path(worker, path, sizeof path);
  DIR *directory = opendir(path);
  if (!directory) return;
  long places[8] = {0};
  for (int turn = 0; turn < 60; turn++) {
    if (!readdir(directory)) {
      if (chance(worker, 2)) break;
      rewinddir(directory);
    }
    places[turn % 8] = telldir(directory);
    if (chance(worker, 10) == 0) seekdir(directory, places[chance(worker, 8)]);
  }
  closedir(directory);
}

static void call_locks(struct worker *worker) {
  struct flock lock = {.l_type = (short)chance(worker, 3), .l_whence = SEEK_SET, .l_start = (off_t)chance(worker, 10), .l_len = (off_t)chance(worker, 10)};
  int descriptor = any(worker);
  switch (chance(worker, 5)) {
  case 0: flock(descriptor, LOCK_SH | LOCK_NB); break;
  case 1: flock(descriptor, chance(worker, 2) ? LOCK_UN : LOCK_EX); break;
  case 2: fcntl(descriptor, F_SETLK, &lock); break;
  case 3: fcntl(descriptor, F_SETLKW, &lock); break;
  default: fcntl(descriptor, F_GETLK, &lock);
  }
  fcntl(descriptor, F_SETFL, (int)(chance(worker, 2) ? O_NONBLOCK : 0) | (chance(worker, 4) ? 0 : O_APPEND));
}

static void call_wait(struct worker *worker) {
  int descriptor = any(worker);
  struct pollfd polls[3];
  for (int index = 0; index < 3; index++) polls[index] = (struct pollfd){.fd = any(worker), .events = (short)chance(worker, 32)};
  switch (chance(worker, 4)) {
  case 0: poll(polls, 3, (int)chance(worker, 20)); break;
  case 1: {
    int set = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = (uint32_t)(chance(worker, 2) ? EPOLLIN : EPOLLPRI | EPOLLET)};
    epoll_ctl(set, EPOLL_CTL_ADD, descriptor, &event);
    epoll_ctl(set, EPOLL_CTL_ADD, any(worker), &event);
    epoll_wait(set, &event, 1, (int)chance(worker, 20));
    if (chance(worker, 2)) close(set); else keep(worker, set, "epoll");
    break;
  }
  case 2: {
    if (descriptor < 0 || descriptor >= FD_SETSIZE) return;
    fd_set set;
    FD_ZERO(&set);
    FD_SET(descriptor, &set);
    struct timeval time = {0, (suseconds_t)chance(worker, 20000)};
    select(descriptor + 1, &set, NULL, chance(worker, 2) ? &set : NULL, &time);
    break;
  }
  default: {
    char path[600];
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    random_path(worker, path, sizeof path);
    inotify_add_watch(watch, path, IN_ALL_EVENTS);
    keep(worker, watch, "inotify");
  }
  }
}

static void call_pass(struct worker *worker) {
  int pipes[2];
  if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0) return;
  int *to = slot(worker);
  size_t length = random_text(worker, path_of(worker, to), buffer, 4096);
  loff_t offset = (loff_t)chance(worker, 100);
  switch (chance(worker, 5)) {
  case 0: if (write(pipes[1], buffer, length) > 0) splice(pipes[0], NULL, *to, NULL, length, SPLICE_F_NONBLOCK); break;
  case 1: splice(any(worker), chance(worker, 2) ? &offset : NULL, pipes[1], NULL, 4096, SPLICE_F_NONBLOCK); break;
  case 2: sendfile(*to, any(worker), NULL, 4096); break;
  case 3: if (copy_file_range(any(worker), NULL, *to, NULL, 4096, 0) < 0) break; break;
  default: ioctl(*to, chance(worker, 1ull << 32), buffer);
  }
  close(pipes[0]);
  close(pipes[1]);
}

/* A child has all descriptors of its parent, writes to some and goes without closing one; or it tries to run a file. */
static void call_fork(struct worker *worker) {
  pid_t child = fork();
  if (child < 0) return;
  if (child == 0) {
    char path[600];
    alarm(1);
    if (chance(worker, 3) == 0) {
      random_path(worker, path, sizeof path);
      execl(path, path, (char *)NULL);
    } else if (worker->uid == 0 && chance(worker, 2) && setresuid(1001, 1001, 1001) == 0) {
      // What root opened, written by another: the worker's own checks would count it as root's.
      if (write(any(worker), "op=none\n", 8) > 0 && chance(worker, 2)) fsync(any(worker));
    } else {
      call_write(worker);
      call_read(worker);
      call_close(worker);
    }
    _exit(0);
  }
  if (chance(worker, 3) == 0) kill(child, SIGKILL);
  while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
}

void make_calls(struct worker *worker) {
  static void (*const calls[])(struct worker *) = {call_open, call_open, call_open, call_open, call_open, call_open, call_write, call_write, call_write, call_submit, call_submit, call_own, call_read,
    call_read, call_read, call_move, call_change, call_close, call_close, call_dup, call_map, call_names, call_names, call_names, call_look, call_list, call_locks, call_wait,
    call_pass};
  if (chance(worker, 100) == 0) call_fork(worker);
  else calls[chance(worker, sizeof calls / sizeof calls[0])](worker);
}
