#pragma once
#include <features.h>
/* The kernel's header before liburing's copy, as CUring's shim.h has it. */
#include <linux/io_uring.h>
#include <liburing.h>
#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

/* Says what failed and errno's text, and ends the program. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* Zeroed, and aligned for direct I/O; there is no return without it. */
char *aligned_memory(size_t size);

/* A database with a row per copy: one commit when it is accepted, one when it is done. */
struct journal {
  sqlite3 *database;
  sqlite3_stmt *accept, *finish;
};

struct journal open_journal(const char *path);

/* One copy after the other: accepted, read, written, flushed, done; both commits are on the disk before it goes on. */
void copy_durably(const int files[2], uint64_t size, uint64_t copies, struct journal *journal);

/* A ring with the two files and a buffer for each copy in flight registered. */
struct copies {
  struct io_uring ring;
  struct iovec *buffers;
  unsigned depth;
  uint64_t size;
};

struct copies make_ring(const int files[2], uint64_t size, unsigned depth);

/* So many copies, `depth` of them in flight, none flushed. */
void copy_by_ring(struct copies *ring, uint64_t copies);
