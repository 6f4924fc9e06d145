#define _GNU_SOURCE
#include "plain.h"

#include <errno.h>
#include <stdlib.h>

/* A request's data: its copy, its buffer and whether it is the write. */
static uint64_t packed(uint64_t copy, unsigned buffer, int is_write) { return copy << 16 | (uint64_t)buffer << 1 | (unsigned)is_write; }

static struct io_uring_sqe *next_request(struct copies *ring) {
  struct io_uring_sqe *request = io_uring_get_sqe(&ring->ring);
  if (!request) {
    errno = EBUSY;
    fail("a place in the ring");
  }
  return request;
}

static void submit_part(struct copies *ring, uint64_t copy, unsigned buffer, int is_write) {
  struct io_uring_sqe *request = next_request(ring);
  void *memory = ring->buffers[buffer].iov_base;
  if (is_write) {
    io_uring_prep_write_fixed(request, 1, memory, (unsigned)ring->size, copy * ring->size, (int)buffer);
  } else {
    io_uring_prep_read_fixed(request, 0, memory, (unsigned)ring->size, copy * ring->size, (int)buffer);
  }
  io_uring_sqe_set_flags(request, IOSQE_FIXED_FILE);
  io_uring_sqe_set_data64(request, packed(copy, buffer, is_write));
}

static void require(int result, const char *what) {
  if (result >= 0) return;
  errno = -result;
  fail("%s", what);
}

struct copies make_ring(const int files[2], uint64_t size, unsigned depth) {
  struct copies ring = {.size = size, .depth = depth};
  require(io_uring_queue_init(depth, &ring.ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN), "io_uring");
  require(io_uring_register_files(&ring.ring, files, 2), "registered files");
  char *memory = aligned_memory(size * depth);
  ring.buffers = calloc(depth, sizeof *ring.buffers);
  if (!ring.buffers) fail("memory");
  for (unsigned i = 0; i < depth; i++) ring.buffers[i] = (struct iovec){.iov_base = memory + i * size, .iov_len = size};
  require(io_uring_register_buffers(&ring.ring, ring.buffers, depth), "registered buffers");
  return ring;
}

void copy_by_ring(struct copies *ring, uint64_t copies) {
  uint64_t begun = 0, done = 0;
  for (; begun < copies && begun < ring->depth; begun++) submit_part(ring, begun, (unsigned)begun, 0);
  while (done < copies) {
    require(io_uring_submit_and_wait(&ring->ring, 1), "io_uring_submit_and_wait");
    struct io_uring_cqe *completion;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&ring->ring, head, completion) {
      seen++;
      uint64_t data = io_uring_cqe_get_data64(completion), copy = data >> 16;
      unsigned buffer = data >> 1 & 0x7fff;
      require(completion->res, data & 1 ? "write" : "read");
      if ((uint64_t)completion->res != ring->size) {
        errno = EIO;
        fail("a short transfer of copy %lu", (unsigned long)copy);
      }
      if (!(data & 1)) {
        submit_part(ring, copy, buffer, 1);
        continue;
      }
      done++;
      if (begun < copies) submit_part(ring, begun++, buffer, 0);
    }
    io_uring_cq_advance(&ring->ring, seen);
  }
}
