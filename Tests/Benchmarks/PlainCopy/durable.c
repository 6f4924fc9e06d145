#define _GNU_SOURCE
#include "plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void check(sqlite3 *database, int result, const char *what) {
  if (result == SQLITE_OK || result == SQLITE_DONE) return;
  errno = EIO;
  fail("%s: %s", what, sqlite3_errmsg(database));
}

static sqlite3_stmt *compile(sqlite3 *database, const char *text) {
  sqlite3_stmt *statement;
  check(database, sqlite3_prepare_v3(database, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL), text);
  return statement;
}

struct journal open_journal(const char *path) {
  struct journal journal;
  check(NULL, sqlite3_open(path, &journal.database), path);
  const char *setup = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE jobs (id INTEGER PRIMARY KEY, spec TEXT, state TEXT)";
  check(journal.database, sqlite3_exec(journal.database, setup, NULL, NULL, NULL), setup);
  journal.accept = compile(journal.database, "INSERT INTO jobs VALUES (?, ?, 'unfinished')");
  journal.finish = compile(journal.database, "UPDATE jobs SET state = 'done' WHERE id = ?");
  return journal;
}

/* Each statement is a transaction of its own. */
static void run(struct journal *journal, sqlite3_stmt *statement, uint64_t copy, const char *spec) {
  check(journal->database, sqlite3_bind_int64(statement, 1, (sqlite3_int64)copy), "bind");
  if (spec) check(journal->database, sqlite3_bind_text(statement, 2, spec, -1, SQLITE_STATIC), "bind");
  check(journal->database, sqlite3_step(statement), "commit");
  check(journal->database, sqlite3_reset(statement), "reset");
}

void copy_durably(const int files[2], uint64_t size, uint64_t copies, struct journal *journal) {
  char *buffer = aligned_memory(size);
  char spec[128];
  for (uint64_t copy = 0; copy < copies; copy++) {
    off_t place = (off_t)(copy * size);
    snprintf(spec, sizeof spec, "from=source@%ldB+%luB to=destination@%ldB", (long)place, (unsigned long)size, (long)place);
    run(journal, journal->accept, copy, spec);
    if (pread(files[0], buffer, size, place) != (ssize_t)size) fail("read %lu", (unsigned long)copy);
    if (pwrite(files[1], buffer, size, place) != (ssize_t)size) fail("write %lu", (unsigned long)copy);
    if (fdatasync(files[1])) fail("flush %lu", (unsigned long)copy);
    run(journal, journal->finish, copy, NULL);
  }
  free(buffer);
}
