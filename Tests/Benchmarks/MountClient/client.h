#pragma once
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Says what failed and errno's text, and ends the program. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* Nanoseconds. */
uint64_t now(clockid_t clock);

/* Opens a file of the mount; there is no return without one. */
int open_in(const char *mount, const char *name, int flags);

/* Reads once; the buffer ends with a zero byte. */
void read_text(int file, char *text, size_t size, const char *what);

/* Gives a record to submit, a line of so many bytes, and takes the job's name. */
void submit_job(int submit, const char *line, size_t length, char *name, size_t size);

/* A whole file and its size, and a zero byte behind it; to be freed. */
char *read_whole(const char *path, size_t *size);

/* The end of so many lines from here on. */
const char *after_lines(const char *text, const char *end, uint64_t lines);

/* Prints how many operations there were, and the time since then that they took. */
void report(uint64_t operations, uint64_t begin);

/* The lines of a file to submit by so many writers, each of which waits for the result of its record before it writes the next. */
void each(const char *mount, const char *path, uint64_t writers);

/* How long after a job's notification one who waits for it has its bytes: `wait` and `events` are read, and `poll` is
   poll(2) on `wait` and then a read. Prints a number of microseconds for each of so many jobs with this record. */
void wake(const char *mount, const char *way, const char *record, uint64_t count);
