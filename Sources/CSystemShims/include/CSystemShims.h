#pragma once
/* What Swift's importer cannot see: constants behind macros that it drops, variadic system calls, and system calls
   without a wrapper in Debian 12's glibc. Each function returns what the system call returns, or -errno; none of them
   touches errno, so that a Swift caller never reads it too late. */
#include <signal.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <unistd.h>

/* open(2) */
extern const int kcs_O_DIRECT;
extern const int kcs_O_PATH;
extern const int kcs_O_TMPFILE;
int kcs_open(const char *path, int flags, unsigned mode);
int kcs_openat(int dirfd, const char *path, int flags, unsigned mode);
/* openat2(2) with RESOLVE_NO_MAGICLINKS: a path that goes through /proc/PID/fd and its like is ELOOP. */
int kcs_openat_no_magiclinks(int dirfd, const char *path, int flags, unsigned mode);
/* The same with RESOLVE_IN_ROOT: "/" and ".." end at `dirfd`. */
int kcs_openat_in_root(int dirfd, const char *path, int flags, unsigned mode);
int kcs_close(int fd);

/* What statx(2) says of a descriptor; dio_* are 0 where the file system does not report STATX_DIOALIGN. */
struct kcs_file_facts {
  uint32_t mode;
  uint32_t uid, gid;
  uint32_t links;
  uint64_t inode;
  uint64_t size;
  uint64_t device;      /* st_dev */
  uint64_t rdevice;     /* st_rdev */
  uint32_t dio_memory;  /* alignment of the buffer, bytes */
  uint32_t dio_offset;  /* alignment of offset and length, bytes */
  uint64_t born;        /* nanoseconds since the epoch; 0 where the file system does not tell */
  uint64_t modified;    /* st_mtime and st_ctime, likewise */
  uint64_t changed;
  uint64_t mount;       /* STATX_MNT_ID_UNIQUE, which no other mount has before the next boot; 0 before Linux 6.8 */
};
int kcs_file_facts(int fd, struct kcs_file_facts *out);
/* st_dev alone, without a request to the file system that the descriptor is of.  For our own mount: SIGKILL ends who would answer,
   but not who waits for the answer, and while that one is there /dev/fuse stays open, which keeps the kernel from answering for
   us: the process would be there for ever. */
int kcs_file_device(int fd, uint64_t *device);
/* f_type of fstatfs(2), as the magic numbers of linux/magic.h. */
int kcs_file_system_magic(int fd, uint64_t *magic);
int kcs_is_block_device(uint32_t mode);
/* FS_IOC_GETFSUUID, 16 bytes; zeroes where the file system has none, and by O_PATH. */
void kcs_file_system_uuid(int fd, uint8_t *uuid);
/* f_fsid of fstatfs(2), the first word in the low half; 0 where the file system has none. */
uint64_t kcs_file_system_number(int fd);
/* FS_IOC_GETVERSION; 0 where the file system has none, and by O_PATH. */
uint32_t kcs_file_generation(int fd);
int kcs_is_regular_file(uint32_t mode);
int kcs_is_directory(uint32_t mode);
unsigned kcs_major(uint64_t device);
unsigned kcs_minor(uint64_t device);
uint64_t kcs_device(unsigned major, unsigned minor);

/* Block devices (ioctl) */
int kcs_block_size_bytes(int fd, uint64_t *bytes);      /* BLKGETSIZE64 */
int kcs_block_logical(int fd, uint32_t *bytes);         /* BLKSSZGET */
int kcs_block_read_only(int fd, int *read_only);        /* BLKROGET */
int kcs_block_sequence(int fd, uint64_t *sequence);     /* BLKGETDISKSEQ: of a partition its disk's */
/* Whether the device zeroes ranges by itself, and whether it is written in zones, by its queue in sysfs; 0 where that
   cannot be read. */
int kcs_block_writes_zeroes(uint64_t device);
int kcs_block_is_zoned(uint64_t device);
struct kcs_loop_facts {
  uint64_t device, inode;       /* of the backing file; for a backing block device see rdevice */
  uint64_t rdevice;
  uint64_t offset, size_limit;  /* bytes; a limit of 0 is none */
};
int kcs_loop_facts(int fd, struct kcs_loop_facts *out);  /* LOOP_GET_STATUS64 */

/* Transfers: bytes moved, or -errno. */
int64_t kcs_pread(int fd, void *buffer, uint64_t count, uint64_t offset);
int64_t kcs_pwrite(int fd, const void *buffer, uint64_t count, uint64_t offset);
int kcs_fdatasync(int fd);
int kcs_fsync(int fd);
int kcs_ftruncate(int fd, uint64_t size);
int kcs_fallocate_keep(int fd, uint64_t offset, uint64_t count);  /* allocates, FALLOC_FL_KEEP_SIZE */
int kcs_zero_range(int fd, uint64_t offset, uint64_t count);      /* FALLOC_FL_ZERO_RANGE */
int kcs_punch_hole(int fd, uint64_t offset, uint64_t count);      /* FALLOC_FL_PUNCH_HOLE; the size stays */
/* FICLONERANGE: count bytes of one file become the other's, by the same blocks. */
int kcs_clone_range(int fd, uint64_t offset, int from, uint64_t from_offset, uint64_t count);
/* Where the next data or hole begins, from an offset on: the offset, or -errno; ENXIO: there is no data any more. */
int64_t kcs_seek_data(int fd, uint64_t offset);
int64_t kcs_seek_hole(int fd, uint64_t offset);
int kcs_drop_cache(int fd, uint64_t offset, uint64_t count);      /* POSIX_FADV_DONTNEED */
/* Whether the page cache has something of a range: cachestat(2), and where that is not to be had (before Linux 6.5, or
   behind a filter that doesn't know it) whether its beginning can be read at once.
   Nothing is read ahead of what this description reads from then on. Not 0 where nobody can tell. */
int kcs_is_cached(int fd, uint64_t offset, uint64_t count);
int kcs_flock_exclusive(int fd);                                  /* LOCK_EX | LOCK_NB */
int kcs_unlinkat(int dirfd, const char *name);
int kcs_remove_directory_at(int dirfd, const char *path);
int kcs_touch_at(int dirfd, const char *path);                    /* mtime to now, atime as it is */
/* faccessat(2) by the effective ids: whether files can be made in a directory. */
int kcs_may_write_directory(int fd);

/* Memory for transfers: anonymous, aligned to 2 MiB, huge pages asked for. NULL when there is none. */
void *kcs_map_pages(uint64_t bytes);
void kcs_unmap_pages(void *base, uint64_t bytes);
/* What the machine, the control groups that we are in, and RLIMIT_AS have left: MemAvailable of /proc/meminfo at most. */
int kcs_memory_available(uint64_t *bytes);
/* Whether so much can still be mapped under RLIMIT_AS, and 16 MiB more for what the program allocates meanwhile: it couldn't go on
   without those. */
int kcs_has_address_space(uint64_t bytes);
/* Under a limit: malloc shall reserve 64 MiB once, not for each thread. */
void kcs_spare_address_space(void);

/* Waking a thread */
int kcs_eventfd(void);                    /* blocking */
int kcs_eventfd_signal(int fd);
int kcs_eventfd_wait(int fd);             /* takes all the signals there were */
int kcs_eventfd_wait_until(int fd, uint64_t deadline);  /* the same, or -ETIMEDOUT by the monotonic clock, nanoseconds */

/* Threads */
/* sem_clockwait(3) on the monotonic clock, nanoseconds; 0 or -errno. */
int kcs_semaphore_wait_until(void *semaphore, uint64_t deadline);
int kcs_gettid(void);
void kcs_name_thread(const char *name);   /* cut to 15 characters */
/* A thread with all signals but the program errors blocked; `body` owns `context`. */
int kcs_thread_start(uint64_t *handle, void (*body)(void *), void *context);
int kcs_thread_join(uint64_t handle);
int kcs_thread_detach(uint64_t handle);
int kcs_thread_signal(uint64_t handle, int signal);
/* unshare(CLONE_FILES), and then nothing is open in this thread. */
int kcs_unshare_descriptors(void);

/* Rights of the calling thread, which threads that it makes inherit */
int kcs_may_be_root(void);                   /* whether the real, effective or saved uid is 0 */
/* Root alone: the ids that files are looked at by become `id`, the groups and all capabilities go, and nothing brings them back.
   Real, effective and saved uid stay 0, or become it. */
int kcs_give_up_rights(uint32_t id);
int kcs_keep_capabilities(uint64_t wanted);  /* a bit each, as capabilities(7) numbers them; those that there are */
int kcs_forbid_new_privileges(void);         /* PR_SET_NO_NEW_PRIVS */

/* Processes and signals */
int kcs_block_signals(const int *signals, int count);    /* for this thread and those it starts */
int kcs_wait_signal(const int *signals, int count);      /* the signal, or -errno */
int kcs_ignore_signal(int signal);
int kcs_wake_up_signal(void);                            /* SIGUSR1 with an empty handler, no SA_RESTART */
int kcs_fork(void);
/* One datagram to a socket of sd_notify(3): a path, or "@" and an abstract name. */
int kcs_notify(const char *address, const char *text);

/* What /proc says of a thread. -ESRCH when it can't be seen, -ENODATA when a line is missing. */
struct kcs_process_status {
  uint32_t process;        /* of which it is a thread */
  uint32_t uid[4], gid[4]; /* real, effective, saved, file system's */
  uint32_t umask;
  uint32_t groups;         /* how many there are */
  uint64_t capabilities;   /* effective */
};
/* `groups` gets as many as there is room for. */
int kcs_process_status(int thread, struct kcs_process_status *out, uint32_t *groups, uint32_t capacity);
/* Whom the file system takes the calling thread for: effective ids, supplementary groups, effective capabilities. */
struct kcs_identity {
  uint32_t uid, gid;
  const uint32_t *groups;
  uint32_t group_count;
  uint64_t capabilities;
};
/* Makes this thread, and no other, somebody else, with what of their capabilities it is permitted; 0 or -errno, and then it may
   be half done, and has to be taken back too. */
int kcs_take_identity(const struct kcs_identity *other);
/* Ends the process when it can't be done: a thread with the wrong rights must not go on. */
void kcs_take_back_identity(const struct kcs_identity *own);
/* Whether the scheduler treats this thread as the first one of the process: policy, nice value, processors. While a thread has a
   user's effective uid, that user may change these, and they stay. */
int kcs_is_scheduled_as_process(void);
/* The number of a namespace ("mnt", "user"); 0 when it can't be seen. */
uint64_t kcs_process_namespace(int thread, const char *kind);

/* Mounts */
int kcs_detach_mount(const char *path);                  /* umount2(MNT_DETACH | UMOUNT_NOFOLLOW) */
/* open_tree(2) with OPEN_TREE_CLONE: a mount of its own of what is mounted there, which stands nowhere and keeps nobody from
   unmounting the other. */
int kcs_clone_mount(const char *path);

/* Clocks, nanoseconds */
uint64_t kcs_monotonic(void);
uint64_t kcs_realtime(void);

/* Reads a small text file, with a 0 behind it; the number of bytes, or -errno. */
ssize_t kcs_read_text(const char *path, char *text, size_t size);

/* The name of an errno, "EIO"; "E1234" for one that has none. Static storage. */
const char *kcs_errno_name(int error);
