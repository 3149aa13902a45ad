#pragma once
/*
 * The names under which a damaged database is kept beside its place, so that a kill at any point
 * leaves what the next start goes on from:
 *
 *     metadata.db -> metadata.db.salvage-TIME -> metadata.db.damaged-TIME
 *                  moved                       read (metadata_salvage.c)
 *
 * each with what SQLite keeps beside it (-wal, -shm). No name is given twice: where one of that
 * second is there, "-2" and so on stands behind the time. Names are durable when a call returns.
 *
 * The thread that writes; others may ask metadata_aside_waits. Errors are those of os/fs.h.
 */
#include "base/buf.h"
#include "base/err.h"

#define METADATA_ASIDE_BYTES (8 * 1024) /* of a path here */

/* Moves the file at path, which nobody has open, to one that waits to be read. */
enum err metadata_aside_move(const char *path, struct diag *diag) ERR_MUST_USE;
/* The oldest that waits; empty: none does. Ends a move that a kill cut short: to be called before a
 * database is made at path. */
enum err metadata_aside_next(const char *path, struct buf *ret_waiting,
                             struct diag *diag) ERR_MUST_USE;
/* All that could be read of it is in the new database, durable. */
enum err metadata_aside_read(const char *path, const char *waiting, struct buf *ret_kept,
                             struct diag *diag) ERR_MUST_USE;
/* Whether one waits, so that what is at path is not all that there is. */
bool metadata_aside_waits(const char *path);
