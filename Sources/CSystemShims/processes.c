#define _GNU_SOURCE
#include "include/CSystemShims.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

int kcs_gettid(void) { return (int)syscall(SYS_gettid); }

void kcs_name_thread(const char *name) {
  char cut[16];
  snprintf(cut, sizeof cut, "%s", name);
  prctl(PR_SET_NAME, cut);
}

int kcs_semaphore_wait_until(void *semaphore, uint64_t deadline) {
  struct timespec time = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
  return sem_clockwait(semaphore, CLOCK_MONOTONIC, &time) < 0 ? -errno : 0;
}

struct start {
  void (*body)(void *);
  void *context;
};

static void *run(void *raw) {
  struct start start = *(struct start *)raw;
  free(raw);
  start.body(start.context);
  return NULL;
}

/* The same whatever RLIMIT_STACK says: of a small one a body would run out, and a large one takes much of RLIMIT_AS. */
static const size_t stack_size = 2 << 20;

int kcs_thread_start(uint64_t *handle, void (*body)(void *), void *context) {
  if (!kcs_has_address_space(stack_size)) return -EAGAIN;
  struct start *start = malloc(sizeof *start);
  if (!start) return -ENOMEM;
  *start = (struct start){body, context};
  /* Signals are main's business: a new thread blocks them all, but for the errors of its own instructions and the
     one that ends a blocked system call. */
  sigset_t all, before;
  sigfillset(&all);
  const int own[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT, SIGUSR1};
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&all, own[i]);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, stack_size);
  int error = pthread_create(&thread, &attributes, run, start);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error) {
    free(start);
    return -error;
  }
  *handle = (uint64_t)thread;
  return 0;
}

int kcs_thread_join(uint64_t handle) { return -pthread_join((pthread_t)handle, NULL); }
int kcs_thread_detach(uint64_t handle) { return -pthread_detach((pthread_t)handle); }
int kcs_thread_signal(uint64_t handle, int signal) { return -pthread_kill((pthread_t)handle, signal); }

static sigset_t set_of(const int *signals, int count) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < count; i++) sigaddset(&set, signals[i]);
  return set;
}

int kcs_block_signals(const int *signals, int count) {
  sigset_t set = set_of(signals, count);
  return -pthread_sigmask(SIG_BLOCK, &set, NULL);
}

int kcs_wait_signal(const int *signals, int count) {
  sigset_t set = set_of(signals, count);
  for (;;) {
    int signal = sigwaitinfo(&set, NULL);
    if (signal >= 0) return signal;
    if (errno != EINTR) return -errno;
  }
}

int kcs_ignore_signal(int signal) {
  struct sigaction action = {.sa_handler = SIG_IGN};
  return sigaction(signal, &action, NULL) < 0 ? -errno : 0;
}

static void nothing(int signal) { (void)signal; }

int kcs_wake_up_signal(void) {
  struct sigaction action = {.sa_handler = nothing};
  return sigaction(SIGUSR1, &action, NULL) < 0 ? -errno : SIGUSR1;
}

int kcs_fork(void) {
  int pid = fork();
  return pid < 0 ? -errno : pid;
}

int kcs_clone_mount(const char *path) {
  long result = syscall(SYS_open_tree, AT_FDCWD, path, 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC | AT_SYMLINK_NOFOLLOW);
  return result < 0 ? -errno : (int)result;
}

int kcs_notify(const char *address, const char *text) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  size_t length = strlen(address);
  if (length >= sizeof to.sun_path) return -ENAMETOOLONG;
  memcpy(to.sun_path, address, length);
  if (to.sun_path[0] == '@') to.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  /* The address ends where its name does: a 0 more would be part of an abstract name. */
  ssize_t sent = sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
  int result = sent < 0 ? -errno : 0;
  close(fd);
  return result;
}

int kcs_detach_mount(const char *path) { return umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 ? -errno : 0; }

static uint64_t clock_now(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t kcs_monotonic(void) { return clock_now(CLOCK_MONOTONIC); }
uint64_t kcs_realtime(void) { return clock_now(CLOCK_REALTIME); }

const char *kcs_errno_name(int error) {
  const char *name = strerrorname_np(error);
  if (name) return name;
  static __thread char number[16];
  snprintf(number, sizeof number, "E%d", error);
  return number;
}

int kcs_unshare_descriptors(void) {
  if (unshare(CLONE_FILES) < 0) return -errno;
  return syscall(SYS_close_range, 0, ~0u, 0) < 0 ? -errno : 0;
}
