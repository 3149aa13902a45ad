#pragma once
/*
 * A source's option dedupe_key: of the records of a dataset that bring the same value in a field
 * within a window, by arrival, the first is kept. Owned by the dataset's batch, one thread.
 *
 * Deciding is by the journal alone: a record is a repetition when one that stands *before it in the
 * journal* and was kept has its value. So a range that is decoded again after a crash is decided as
 * it was the first time, whatever stands in the table by then.
 *
 * Durable: dedupe_save puts the table down before the cut that it belongs to is landed, so a
 * restart knows what was kept below the dataset's landed position. A file that is lost or damaged
 * is an empty one: repetitions may then come through, but no record is ever dropped for it. The
 * same holds beyond DEDUPE_ENTRIES_MAX values in a window: the oldest are forgotten.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "lake/dedupe_table.h"
#include "os/fs.h"

#include <stdbool.h>

#define DEDUPE_FOLDER "dedupe" /* in the journal's folder */

struct dedupe_options {
    const struct fs *fs;
    const char *folder;       /* NULL: nothing is kept over a restart */
    const char *journal_uuid; /* places are this journal's */
};

struct dedupe;

/* Reads what was saved. ERR_NO_MEMORY. */
enum err dedupe_new(const struct dedupe_options *options, struct bytes dataset_id,
                    struct dedupe **ret_dedupe) ERR_MUST_USE;
void dedupe_free(struct dedupe *dedupe); /* NULL is fine */

struct dedupe_record {
    struct bytes json;  /* a checked object's text */
    struct bytes field; /* by whose value */
    int64_t window_us;
    int64_t arrival_us;
    struct dedupe_place place;
};
/* Whether the record is a repetition; if not, it is remembered. A record whose field lacks or is no
 * text, number or boolean is none. ERR_NO_MEMORY. */
enum err dedupe_see(struct dedupe *dedupe, const struct dedupe_record *record,
                    bool *ret_repeated) ERR_MUST_USE;

/* What came since the mark is taken back. Marks hold until dedupe_settle or dedupe_save. */
size_t dedupe_mark(const struct dedupe *dedupe);
void dedupe_undo(struct dedupe *dedupe, size_t mark);
/* Between blocks: keeps the table within its bound. */
void dedupe_settle(struct dedupe *dedupe);

/* Durable when it returns ERR_OK. May block on the disk. */
enum err dedupe_save(struct dedupe *dedupe, struct diag *diag) ERR_MUST_USE;
size_t dedupe_memory_bytes(const struct dedupe *dedupe);

/* At start: makes the folder, and removes what nobody wrote for long. */
enum err dedupe_folder_open(const struct fs *fs, const char *folder, int64_t now_us,
                            struct diag *diag) ERR_MUST_USE;
