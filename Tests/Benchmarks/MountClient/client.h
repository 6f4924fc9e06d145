#pragma once
#include <stdint.h>
#include <time.h>

/* Says what failed and errno's text, and ends the program. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* Nanoseconds. */
uint64_t now(clockid_t clock);

/* Opens a file of the mount; there is no return without one. */
int open_in(const char *mount, const char *name, int flags);

/* How long after a job's notification one who waits for it has its bytes: `wait` and `events` are read, and `poll` is
   poll(2) on `wait` and then a read. Prints a number of microseconds for each of so many jobs with this record. */
void wake(const char *mount, const char *way, const char *record, uint64_t count);
