/* Disks with a volatile cache that lose power together, for tests of what is left after a crash.

   `power-disk MOUNTPOINT IMAGE...` shows each image as a file d0, d1 ... to put a loop device with direct I/O over, whose flush is then
   the fsync of the file.  What is written is in memory until a flush brings it to the image; when the power goes, of what is not flushed
   only that comes to the image which the kind of the loss lets survive, and every request fails with EIO until the power is back.

   Standard input takes commands, a line each, and standard output answers each by a line; at the end of the input the program takes its
   mount away and ends, so that it never outlives who started it:
     crash now drop|keep|rand|torn SEED              the power goes
     crash at N drop|keep|rand|torn SEED [D,D...]    ... at the Nth write from now on, of those to the disks that are named
     crash never                                     ... not at all, if it still is to
     up                                              the power is back
     lie D yes|no                                    whether disk D answers flushes without doing them
     slow D WRITE FLUSH                              what each write and each flush of disk D takes, in microseconds
     seal D BEGIN END                                bytes that are not to be written any more: stat counts the writes that are
     unseal                                          forgets all seals and what broke them
     stat                                            the counters */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "disk.h"

/* As CFuse3's shim.h has it. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

enum { FIRST_NODE = FUSE_ROOT_ID + 1, MOST_WORDS = 8 };

static const double remembered = 3600;
static struct fuse_session *session;

static struct disk *disk_of(fuse_ino_t node) { return &disks[node - FIRST_NODE]; }

static struct stat attributes(fuse_ino_t node) {
  if (node == FUSE_ROOT_ID) return (struct stat){.st_ino = node, .st_mode = S_IFDIR | 0700, .st_nlink = 2};
  return (struct stat){.st_ino = node, .st_mode = S_IFREG | 0600, .st_nlink = 1, .st_blksize = 4096,
                       .st_size = (off_t)disk_of(node)->size};
}

static void do_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  char *end = "";
  unsigned long number = name[0] == 'd' && name[1] ? strtoul(name + 1, &end, 10) : MOST_DISKS;
  if (parent != FUSE_ROOT_ID || *end || number >= (unsigned long)disk_count) {
    fuse_reply_err(request, ENOENT);
    return;
  }
  fuse_ino_t node = FIRST_NODE + number;
  struct fuse_entry_param found = {.ino = node, .attr = attributes(node), .entry_timeout = remembered, .attr_timeout = remembered};
  fuse_reply_entry(request, &found);
}

static void do_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file) {
  (void)file;
  struct stat facts = attributes(node);
  fuse_reply_attr(request, &facts, remembered);
}

static void do_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file) {
  (void)node;
  /* Each request of the loop device has to come here: the page cache would be a cache that no crash empties. */
  file->direct_io = 1;
  fuse_reply_open(request, file);
}

static void do_read(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *file) {
  (void)file;
  struct disk *disk = disk_of(node);
  lock_disks();
  size_t begin = (size_t)offset < disk->size ? (size_t)offset : disk->size;
  size_t count = size < disk->size - begin ? size : disk->size - begin;
  if (is_down)
    fuse_reply_err(request, EIO);
  else
    fuse_reply_buf(request, (const char *)disk->view + begin, count);
  unlock_disks();
}

static int delayed_write(fuse_ino_t node, const char *bytes, size_t size, off_t offset) {
  lock_disks();
  unsigned delay = is_down ? 0 : disk_of(node)->write_delay;
  unlock_disks();
  if (delay) usleep(delay);
  lock_disks();
  int result = disk_write(disk_of(node), (const unsigned char *)bytes, size, offset);
  unlock_disks();
  return result;
}

static void do_write(fuse_req_t request, fuse_ino_t node, const char *bytes, size_t size, off_t offset, struct fuse_file_info *file) {
  (void)file;
  int result = delayed_write(node, bytes, size, offset);
  if (result)
    fuse_reply_err(request, result);
  else
    fuse_reply_write(request, size);
}

/* A loop device writes zeroes and discards by it: to a disk both are a write of zeroes. */
static void do_fallocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length, struct fuse_file_info *file) {
  (void)mode;
  (void)file;
  fuse_reply_err(request, delayed_write(node, NULL, (size_t)length, offset));
}

struct slow_flush {
  fuse_req_t request;
  struct disk *disk;
  struct flush flush;
  unsigned delay;
};

static void *flush_slowly(void *data) {
  struct slow_flush *slow = data;
  usleep(slow->delay);
  lock_disks();
  int result = disk_end_flush(slow->disk, slow->flush);
  unlock_disks();
  fuse_reply_err(slow->request, result);
  free(slow);
  return NULL;
}

/* The other disks go on meanwhile. */
static bool start_slow_flush(fuse_req_t request, struct disk *disk, struct flush flush, unsigned delay) {
  struct slow_flush *slow = malloc(sizeof *slow);
  if (!slow) return false;
  *slow = (struct slow_flush){.request = request, .disk = disk, .flush = flush, .delay = delay};
  pthread_t thread;
  bool started = pthread_create(&thread, NULL, flush_slowly, slow) == 0;
  if (started)
    pthread_detach(thread);
  else
    free(slow);
  return started;
}

static void do_fsync(fuse_req_t request, fuse_ino_t node, int data_only, struct fuse_file_info *file) {
  (void)data_only;
  (void)file;
  struct disk *disk = disk_of(node);
  lock_disks();
  struct flush flush = disk_begin_flush(disk);
  unsigned delay = is_down ? 0 : disk->flush_delay;
  unlock_disks();
  if (delay && start_slow_flush(request, disk, flush, delay)) return;
  lock_disks();
  int result = disk_end_flush(disk, flush);
  unlock_disks();
  fuse_reply_err(request, result);
}

static void *serve(void *unused) {
  (void)unused;
  /* One thread: what comes to a disk comes in one order. */
  fuse_session_loop(session);
  /* The mount is gone, whoever took it away. */
  exit(0);
}

static bool read_number(const char *text, uint64_t *number) {
  char *end = "";
  errno = 0;
  *number = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
  return text && *text >= '0' && *text <= '9' && *end == 0 && errno == 0;
}

static bool read_survival(const char *text, enum survival *survival) {
  static const char *names[] = {[DROP] = "drop", [KEEP] = "keep", [RAND] = "rand", [TORN] = "torn"};
  for (int i = 0; text && i < 4; i++) {
    if (strcmp(text, names[i]) != 0) continue;
    *survival = (enum survival)i;
    return true;
  }
  return false;
}

static bool read_mask(char *text, unsigned *mask) {
  *mask = text ? 0 : ~0u;
  uint64_t number;
  for (char *rest = text, *word; rest && (word = strsep(&rest, ","));) {
    if (!read_number(word, &number) || number >= (uint64_t)disk_count) return false;
    *mask |= 1u << number;
  }
  return true;
}

static const char *crash(char **words) {
  enum survival survival;
  uint64_t count, seed;
  unsigned mask;
  if (words[1] && strcmp(words[1], "never") == 0) {
    disks_crash_at(0, DROP, 0, 0);
    return "ok";
  }
  if (words[1] && strcmp(words[1], "now") == 0 && read_survival(words[2], &survival) && read_number(words[3], &seed)) {
    disks_crash(survival, seed);
    return "ok";
  }
  if (words[1] && strcmp(words[1], "at") == 0 && read_number(words[2], &count) && count > 0 && read_survival(words[3], &survival) &&
      read_number(words[4], &seed) && read_mask(words[5], &mask)) {
    disks_crash_at(count, survival, seed, mask);
    return "ok";
  }
  return "error: crash now MODE SEED | at N MODE SEED [DISKS] | never";
}

static const char *lie(char **words) {
  uint64_t number;
  if (!read_number(words[1], &number) || number >= (uint64_t)disk_count || !words[2]) return "error: lie DISK yes|no";
  disks[number].lies = strcmp(words[2], "yes") == 0;
  return "ok";
}

static const char *slow(char **words) {
  uint64_t number, write, flush;
  if (!read_number(words[1], &number) || number >= (uint64_t)disk_count || !read_number(words[2], &write) ||
      !read_number(words[3], &flush))
    return "error: slow DISK WRITE FLUSH";
  disks[number].write_delay = (unsigned)write;
  disks[number].flush_delay = (unsigned)flush;
  return "ok";
}

static const char *seal(char **words) {
  uint64_t number, begin, end;
  if (!read_number(words[1], &number) || number >= (uint64_t)disk_count || !read_number(words[2], &begin) || !read_number(words[3], &end))
    return "error: seal DISK BEGIN END";
  struct disk *disk = &disks[number];
  if (disk->seal_count == MOST_SEALS) return "error: too many seals";
  disk->seals[disk->seal_count++] = (struct seal){.begin = (off_t)begin, .end = (off_t)end};
  return "ok";
}

static const char *unseal(void) {
  for (int i = 0; i < disk_count; i++) disks[i].seal_count = 0, disks[i].broken_seals = 0;
  return "ok";
}

static void print_counters(void) {
  uint64_t writes = 0;
  for (int i = 0; i < disk_count; i++) writes += disks[i].writes;
  printf("down=%d crash_in=%" PRIu64 " writes=%" PRIu64, is_down, disks_crash_in(), writes);
  for (int i = 0; i < disk_count; i++) {
    const struct disk *disk = &disks[i];
    printf(" d%d_writes=%" PRIu64 " d%d_bytes=%" PRIu64 " d%d_flushes=%" PRIu64 " d%d_flushing=%d d%d_broken_seals=%" PRIu64, i,
           disk->writes, i, disk->bytes, i, disk->flushes, i, disk->flushing, i, disk->broken_seals);
    if (disk->broken_seals) printf(" d%d_broken_at=%jd+%zu", i, (intmax_t)disk->broken_offset, disk->broken_size);
  }
  putchar('\n');
}

static void obey(char *line) {
  char *words[MOST_WORDS + 1] = {NULL};
  int count = 0;
  for (char *rest = line, *word; count < MOST_WORDS && (word = strsep(&rest, " "));)
    if (*word) words[count++] = word;
  const char *command = words[0] ? words[0] : "";
  lock_disks();
  if (strcmp(command, "crash") == 0)
    puts(crash(words));
  else if (strcmp(command, "up") == 0)
    disks_up(), puts("ok");
  else if (strcmp(command, "lie") == 0)
    puts(lie(words));
  else if (strcmp(command, "slow") == 0)
    puts(slow(words));
  else if (strcmp(command, "seal") == 0)
    puts(seal(words));
  else if (strcmp(command, "unseal") == 0)
    puts(unseal());
  else if (strcmp(command, "stat") == 0)
    print_counters();
  else
    puts("error: crash, up, lie, slow, seal, unseal, stat");
  unlock_disks();
  fflush(stdout);
}

static int fail(const char *what) {
  fprintf(stderr, "power-disk: %s: %s\n", what, strerror(errno));
  return 1;
}

static int run(const char *mount_point) {
  pthread_t thread;
  errno = pthread_create(&thread, NULL, serve, NULL);
  if (errno) return fail("thread");
  puts("ready");
  fflush(stdout);
  char *line = NULL;
  size_t room = 0;
  for (ssize_t length; (length = getline(&line, &room, stdin)) > 0;) {
    if (line[length - 1] == '\n') line[length - 1] = 0;
    obey(line);
  }
  free(line);
  /* Whoever has a disk open gets errors from now on. */
  umount2(mount_point, MNT_DETACH | MNT_FORCE);
  return 0;
}

int main(int count, char **arguments) {
  if (count < 3 || count > 2 + MOST_DISKS) {
    fprintf(stderr, "usage: power-disk MOUNTPOINT IMAGE...   (at most %d)\n", MOST_DISKS);
    return 2;
  }
  /* The end of the input is what ends it; Ctrl-C in a terminal is for who started it, whose loop devices still need the disks. */
  signal(SIGINT, SIG_IGN);
  for (int i = 2; i < count; i++)
    if (disk_add(arguments[i])) return fail(arguments[i]);
  char *options[] = {"power-disk", "-o", "fsname=power-disk,subtype=power-disk,default_permissions"};
  struct fuse_args list = FUSE_ARGS_INIT(3, options);
  const struct fuse_lowlevel_ops operations = {.lookup = do_lookup, .getattr = do_getattr, .open = do_open, .read = do_read,
                                               .write = do_write, .fallocate = do_fallocate, .fsync = do_fsync};
  session = fuse_session_new(&list, &operations, sizeof operations, NULL);
  if (!session) return 1;
  int status = fuse_session_mount(session, arguments[1]) == 0 ? run(arguments[1]) : 1;
  fuse_opt_free_args(&list);
  return status;
}
