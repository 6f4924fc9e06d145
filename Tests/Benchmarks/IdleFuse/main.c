/* A FUSE file system that does nothing: what a mount of this shape can cost at the least on this machine.

   It answers the requests that kcopyfs gets for the same calls, at once and with as many threads, and keeps no state but a
   counter. jobs/NAME can be created, written and closed, and is gone then; submit takes all that is written;
   jobs/one/status says a text that was read from a file when it started. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

/* As CFuse3's shim.h has it. */
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

enum { ROOT = FUSE_ROOT_ID, SUBMIT, JOBS, JOB, STATUS, FIRST_CREATED };
enum { THREADS = 2 };

static const double remembered = 60;
static atomic_ulong created = FIRST_CREATED;
static char text[1 << 16];
static size_t text_size;
static struct fuse_session *session;

static struct stat attributes(fuse_ino_t node) {
  int is_directory = node == ROOT || node == JOBS || node == JOB;
  mode_t mode = is_directory ? S_IFDIR | 0755 : node == STATUS ? S_IFREG | 0444 : S_IFREG | 0666;
  return (struct stat){.st_ino = node, .st_mode = mode, .st_nlink = is_directory ? 2 : 1, .st_blksize = 4096,
                       .st_size = node == STATUS ? (off_t)text_size : 0};
}

/* A name that is created stands for another node later, so the kernel must ask each time; no node's attributes change. */
static struct fuse_entry_param entry(fuse_ino_t node) {
  return (struct fuse_entry_param){
      .ino = node, .attr = attributes(node), .entry_timeout = node >= FIRST_CREATED ? 0 : remembered, .attr_timeout = remembered};
}

static void do_init(void *data, struct fuse_conn_info *connection) {
  (void)data;
  /* As kcopyfs: replies come from memory, and nothing is written back. */
  connection->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE);
}

static void do_lookup(fuse_req_t request, fuse_ino_t parent, const char *name) {
  static const struct {
    fuse_ino_t parent;
    const char *name;
    fuse_ino_t node;
  } names[] = {{ROOT, "submit", SUBMIT}, {ROOT, "jobs", JOBS}, {JOBS, "one", JOB}, {JOB, "status", STATUS}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (parent != names[i].parent || strcmp(name, names[i].name) != 0) continue;
    struct fuse_entry_param found = entry(names[i].node);
    fuse_reply_entry(request, &found);
    return;
  }
  fuse_reply_err(request, ENOENT);
}

static void do_getattr(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file) {
  (void)file;
  struct stat facts = attributes(node);
  fuse_reply_attr(request, &facts, remembered);
}

static void do_open(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file) {
  (void)node;
  file->direct_io = 1;
  fuse_reply_open(request, file);
}

static void do_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *file) {
  (void)name;
  (void)mode;
  if (parent != JOBS) {
    fuse_reply_err(request, EPERM);
    return;
  }
  struct fuse_entry_param made = entry(atomic_fetch_add(&created, 1));
  file->direct_io = 1;
  fuse_reply_create(request, &made, file);
}

static void do_read(fuse_req_t request, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *file) {
  (void)file;
  size_t length = node == STATUS ? text_size : 0;
  size_t begin = (size_t)offset < length ? (size_t)offset : length;
  fuse_reply_buf(request, text + begin, size < length - begin ? size : length - begin);
}

static void do_write(fuse_req_t request, fuse_ino_t node, const char *bytes, size_t size, off_t offset, struct fuse_file_info *file) {
  (void)node;
  (void)bytes;
  (void)offset;
  (void)file;
  fuse_reply_write(request, size);
}

/* kcopyfs needs to see a flush and a release; left out, the kernel would stop sending the first. */
static void do_flush(fuse_req_t request, fuse_ino_t node, struct fuse_file_info *file) {
  (void)node;
  (void)file;
  fuse_reply_err(request, 0);
}

static void *serve(void *unused) {
  (void)unused;
  struct fuse_buf buffer = {0};
  while (!fuse_session_exited(session)) {
    int received = fuse_session_receive_buf(session, &buffer);
    if (received == -EINTR) continue;
    if (received <= 0) break;
    fuse_session_process_buf(session, &buffer);
  }
  free(buffer.mem);
  /* The mount is gone, whoever took it away: main has to know. */
  kill(getpid(), SIGTERM);
  return NULL;
}

static int fail(const char *what) {
  fprintf(stderr, "idle-fuse: %s: %s\n", what, strerror(errno));
  return 1;
}

static int read_text(const char *path) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t count = file < 0 ? -1 : read(file, text, sizeof text);
  if (count < 0) return -1;
  text_size = (size_t)count;
  return close(file);
}

static int run(const char *mount_point) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, NULL);
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++) {
    errno = pthread_create(&threads[i], NULL, serve, NULL);
    if (errno) return fail("threads");
  }
  int number;
  sigwait(&ends, &number);
  /* Ends the reads of the threads; after an umount from outside there is nothing to take away any more. */
  umount2(mount_point, MNT_DETACH | MNT_FORCE);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  return 0;
}

int main(int count, char **arguments) {
  if (count != 3) {
    fputs("usage: idle-fuse MOUNTPOINT FILE-WITH-THE-TEXT-OF-STATUS\n", stderr);
    return 2;
  }
  if (read_text(arguments[2])) return fail(arguments[2]);
  char *options[] = {"idle-fuse", "-o", "fsname=idle-fuse,subtype=idle-fuse,default_permissions"};
  struct fuse_args list = FUSE_ARGS_INIT(3, options);
  const struct fuse_lowlevel_ops operations = {.init = do_init, .lookup = do_lookup, .getattr = do_getattr, .open = do_open,
                                               .create = do_create, .read = do_read, .write = do_write, .flush = do_flush,
                                               .release = do_flush};
  session = fuse_session_new(&list, &operations, sizeof operations, NULL);
  if (!session) return 1;
  int status = fuse_session_mount(session, arguments[1]) == 0 ? run(arguments[1]) : 1;
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  fuse_opt_free_args(&list);
  return status;
}
