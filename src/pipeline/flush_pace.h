#pragma once
/*
 * How often files are closed. A dataset's batch is due at FLUSH_INTERVAL_SECONDS of age; when more
 * than FLUSH_FILES_PER_SECOND_MAX would close, or uploads lag by a minute, the age stretches, up to
 * an hour (the records are already durable). Shared by the workers; any thread, no lock.
 *
 * With so many open batches that this pace would not do for a cut of each in an hour (and a cut
 * across a full hour makes two files), cuts go as fast as does, and evenly: not all at once when
 * the first ones are an hour old.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct flush_pace {
    int64_t interval_ns;
    int64_t ns_per_file;
    _Atomic int64_t next_ns;       /* when the next file may close; ahead of now: files too fast */
    _Atomic int64_t cut_ns;        /* of the last cut, at the pace that the hour asks for */
    _Atomic uint64_t open;         /* batches, of all workers */
    _Atomic int64_t upload_lag_ns; /* age of the oldest cut that waits for the store */
};

void flush_pace_init(struct flush_pace *pace, uint32_t interval_seconds,
                     uint32_t files_per_second_max);
void flush_pace_set_upload_lag(struct flush_pace *pace, int64_t lag_ns);
void flush_pace_set_open(struct flush_pace *pace, uint64_t batches);

/* Whether a batch opened at opened_ns may be cut by its age now; if so, the file is counted. If
 * not, *ret_wait_ns says when to ask again. */
bool flush_pace_take(struct flush_pace *pace, int64_t opened_ns, int64_t now_ns,
                     int64_t *ret_wait_ns);
/* The same whatever the batch's age: memory is short, and a small one must go for it. */
bool flush_pace_take_early(struct flush_pace *pace, int64_t now_ns, int64_t *ret_wait_ns);
/* The file that was taken did not close after all. */
void flush_pace_give_back(struct flush_pace *pace);
/* Counts files that closed beside the one that was taken. */
void flush_pace_charge(struct flush_pace *pace, uint64_t files, int64_t now_ns);
