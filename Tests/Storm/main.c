/* storm MOUNT SCRATCH SEED SECONDS: processes of three uids make random system calls on a mount, each by a seed. Exit status 1 when one could do
   to a job what only its owner may, or does not end by SIGKILL. */
#define _GNU_SOURCE
#include "storm.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const uid_t uids[UIDS] = {0, 1001, 1002};
const char *mount_point;
const char *scratch;

static struct {
  atomic_ulong calls;
  atomic_ulong violations;
} *shared;

void no_mapping(int number);

static void nothing(int number) { (void)number; }

void violation(struct worker *worker, const char *what, const char *path) {
  atomic_fetch_add(&shared->violations, 1);
  fprintf(stderr, "storm: uid %u %s: %s\n", worker->uid, what, path);
}

static void work(uint64_t seed, int number) {
  struct worker *worker = calloc(1, sizeof *worker);
  *worker = (struct worker){.state = seed * 1000003 + (uint64_t)number, .uid = uids[number % UIDS]};
  for (int index = 0; index < DESCRIPTORS; index++) worker->descriptors[index] = -1;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  umask(077);
  if (worker->uid != 0 && (setgroups(0, NULL) || setresgid(worker->uid, worker->uid, worker->uid) || setresuid(worker->uid, worker->uid, worker->uid))) _exit(2);
  // Whatever waits is interrupted before long.
  sigaction(SIGALRM, &(struct sigaction){.sa_handler = nothing}, NULL);
  sigaction(SIGBUS, &(struct sigaction){.sa_handler = no_mapping, .sa_flags = SA_NODEFER}, NULL);
  sigaction(SIGSEGV, &(struct sigaction){.sa_handler = no_mapping, .sa_flags = SA_NODEFER}, NULL);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGIO, SIG_IGN);
  for (;;) {
    struct itimerval timer = {{0, 20000}, {0, 1000 + (suseconds_t)chance(worker, 30000)}};
    setitimer(ITIMER_REAL, &timer, NULL);
    make_calls(worker);
    atomic_fetch_add(&shared->calls, 1);
  }
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
  if (count != 5) return 2;
  mount_point = arguments[1];
  scratch = arguments[2];
  uint64_t seed = strtoull(arguments[3], NULL, 10);
  double seconds = strtod(arguments[4], NULL);
  shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 2;
  pid_t workers[WORKERS];
  for (int number = 0; number < WORKERS; number++) {
    workers[number] = fork();
    if (workers[number] < 0) return 2;
    if (workers[number] == 0) work(seed, number);
  }
  double end = now() + seconds;
  struct worker killer = {.state = seed + 77};
  int failures = 0;
  while (now() < end) {
    nanosleep(&(struct timespec){0, 200000000}, NULL);
    for (int number = 0; number < WORKERS; number++) {
      int status;
      // One dies in the middle of whatever it does, and another takes its place.
      if (chance(&killer, 40) == 0) kill(workers[number], SIGKILL);
      if (waitpid(workers[number], &status, WNOHANG) != workers[number]) continue;
      if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        fprintf(stderr, "storm: worker %d ended with status %x\n", number, (unsigned)status);
        failures++;
      }
      workers[number] = fork();
      if (workers[number] == 0) work(seed ^ chance(&killer, UINT64_MAX), number);
    }
  }
  for (int number = 0; number < WORKERS; number++) kill(workers[number], SIGKILL);
  double deadline = now() + 20;
  for (int number = 0; number < WORKERS; number++) {
    while (waitpid(workers[number], NULL, WNOHANG) == 0 && now() < deadline) nanosleep(&(struct timespec){0, 1000000}, NULL);
    if (kill(workers[number], 0) == 0) {
      fprintf(stderr, "storm: worker %d does not end by SIGKILL\n", number);
      failures++;
    }
  }
  printf("%lu calls\n", atomic_load(&shared->calls));
  return failures || atomic_load(&shared->violations) ? 1 : 0;
}
