/* Random system calls of several uids on one mount: what the parts of the program share. */
#ifndef KCOPYFS_STORM_H
#define KCOPYFS_STORM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { UIDS = 3, WORKERS = 6, NAMES = 10, DESCRIPTORS = 24 };

extern const uid_t uids[UIDS];
extern const char *mount_point;
/* Its data/ has the files of the jobs, its canary/ what no job of another may read or change. */
extern const char *scratch;

/* One process that makes calls. Its numbers come from the seed and its own number alone. */
struct worker {
  uint64_t state;
  uid_t uid;
  int descriptors[DESCRIPTORS];
  /* Of which path, so that what comes of it can be judged. */
  char paths[DESCRIPTORS][600];
};

uint64_t chance(struct worker *worker, uint64_t below);

/* A place in the mount: a file that is always there, or of a job or a client that may be. */
void random_path(struct worker *worker, char *path, size_t size);
/* The name of a job or of a client of this worker's uid. */
void own_name(struct worker *worker, char kind, char *name, size_t size);

/* A job's path as far as its directory tells whose it is: jobs/wUID-NUMBER. Those with an even number are private. */
struct owner {
  int is_known;
  int is_whole;
  int is_private;
  uid_t uid;
};
struct owner owner_of(const char *path);

/* A record, a line of ctl, or the value of a client's file; often with a slip. */
size_t random_text(struct worker *worker, const char *path, char *text, size_t size);

/* One call, or a few that belong together. */
void make_calls(struct worker *worker);

/* What must not be: it is printed, and the storm has failed. */
void violation(struct worker *worker, const char *what, const char *path);

#endif
