#pragma once
/*
 * What the metadata's files share. Locks: `lock` guards what is named under it and is held for some
 * lines; a reader's lock keeps its handle from being closed under a query; `open_lock` guards the
 * list of the batches that are open. Lock order: readers in their order, lock. The journal's locks
 * are taken inside `lock`, never the other way round: the journal holds none while it calls back.
 */
#include "base/map.h"
#include "database/database.h"
#include "metadata/change.h"
#include "metadata/extract.h"
#include "metadata/metadata.h"
#include "metadata/metadata_recount.h"
#include "metadata/metadata_table.h"
#include "os/thread.h"

#define METADATA_PATH_BYTES 4200

enum segment_state {
    SEGMENT_CUT,        /* the files are not in the spool yet */
    SEGMENT_ASKED,      /* for LANDED */
    SEGMENT_LANDED,     /* durable in the journal, to be committed */
    SEGMENT_COMMITTING, /* the thread has it */
};

/* A change on its way: the dataset's records in the blocks up to through, above the segment before.
 * What is unsure may be in the database already: only its progress tells. */
struct segment {
    struct segment *next;
    uint64_t through;
    enum segment_state state;
    bool unsure;
    uint8_t *encoded;
    size_t encoded_size;
};

struct pending {
    struct segment *first; /* by through */
};

/* What is open of a batch; through: its last block. */
struct open_counts {
    uint64_t through;
    uint64_t records;
    uint64_t payload_bytes;
    int64_t first_us; /* 0: none */
    int64_t last_us;
};

/* A batch as it is observed: its state (lake/batch.h). */
struct observed {
    struct told *told;
    uint64_t generation;
    struct buf change; /* encoded, of a cut that is described and not yet made */
    bool is_described;
    struct metadata *metadata;
    const struct batch_open *open; /* NULL: not among the open ones yet */
    size_t place;                  /* among them */
    uint8_t *id;
    size_t id_size;
    uint8_t *topic;
    size_t topic_size;
};

/* Handles of their own, so that what is quick never waits for what is long, nor for a write. */
enum reader_use {
    READER_ONE,  /* of one dataset */
    READER_LIST, /* of all */
    READER_WRITE,
    READERS
};

struct reader {
    struct mutex lock;
    struct database *database;
    bool as_is; /* opened to read without the writer, for one use */
};

struct metadata {
    struct metadata_options options;
    struct recounting recounting;
    char *url;
    struct thread thread;

    struct mutex lock;
    struct condition wake;
    struct map pending; /* dataset id -> struct pending; none is without a segment */
    bool stopping;
    int64_t deadline_ns; /* of the stop */
    bool tried;          /* to open it, at least once */
    bool open;           /* the writer has the database, with its tables */
    bool to_read;        /* else: it cannot be opened to write, but perhaps to read */
    char trouble[400];   /* empty: the last commit went well */
    char set_aside[480]; /* what became of a damaged database */
    uint64_t set_asides; /* how many there were */
    uint64_t waiting;
    int64_t made_ns;

    /* Goes up when a new database takes a lost one's place: what was told must be told again. */
    _Atomic uint64_t generation;

    _Atomic bool doubted; /* a reader met what looks like damage */

    /* the thread's */
    struct database *writer;
    int64_t looked_ns;  /* at the whole file, for a reader's doubt */
    uint64_t mark;      /* the highest of any commit that was tried */
    uint64_t mark_told; /* to the journal: what it has dropped is in a database that bears it */
    int64_t retry_ns;
    int64_t committed_ns;
    int64_t measured_ns;
    int64_t freshened_ns;
    int64_t expired_ns;

    struct reader readers[READERS];

    struct mutex open_lock;
    struct observed **open_batches; /* in no order */
    size_t open_count;
    size_t open_capacity;

    struct metrics_cap *ids; /* that have series of their own */
    struct metrics_cap *names;
};

void segment_free(struct segment *segment);
/* Makes one of a run of segments. */
enum err segments_merge(struct segment *first, const struct segment *end) ERR_MUST_USE;
/* Those above a block, as one. Only the thread changes segments that are COMMITTING. A text that
 * makes no sense is passed over: it will make none later. */
enum err segments_sum(const struct segment *first, const struct segment *last, uint64_t above,
                      struct change *sum) ERR_MUST_USE;
/* A reader met damage that the writer may never meet: the thread looks at the whole file. */
void metadata_doubt(struct metadata *metadata);
/* Lets the thread look at once. */
void metadata_wake(struct metadata *metadata);
/* For queries, with the reader's lock held until reader_put. */
enum err reader_get(struct metadata *metadata, enum reader_use use, struct database **ret_database,
                    struct diag *diag) ERR_MUST_USE;
void reader_put(struct metadata *metadata, enum reader_use use);

/* metadata_open.c */
enum err observed_get(struct metadata *metadata, void **state) ERR_MUST_USE;
void observer_forget(void *state);
size_t observer_memory_bytes(const void *state);
enum err observer_watch(void *ctx, struct bytes id, struct bytes topic,
                        const struct batch_open *open, void **state) ERR_MUST_USE;
/* Calls on_open, which may not block, for each batch that holds something. To be read before the
 * segments, and these before the database. */
enum err open_each(struct metadata *metadata,
                   enum err (*on_open)(void *ctx, struct bytes id, struct bytes topic,
                                       const struct open_counts *counts),
                   void *ctx) ERR_MUST_USE;

/* metadata_commit.c: the thread. */
void metadata_run(void *ctx);

/* metadata_salvage.c: copies what can be read of the damaged database at path, once: into notes
 * its name in the same transaction. The error is of into, which is then as before. */
struct metadata_salvaged {
    bool before; /* it was in it already, from an earlier run */
    int64_t datasets;
    int64_t partial; /* of which something could not be read (metadata_repair.h) */
};
enum err metadata_salvage(const char *path, const char *journal, struct database *into,
                          struct metadata_salvaged *ret_salvaged, struct diag *diag) ERR_MUST_USE;

/* metadata_quality.c */
enum err quality_measure(struct metadata *metadata, struct database *database,
                         struct diag *diag) ERR_MUST_USE;
/* Sets the gauges of freshness as it is now: between two measurements it goes on. */
enum err quality_freshen(struct metadata *metadata, struct database *database,
                         struct diag *diag) ERR_MUST_USE;
/* Deletes some of our measurements that are older than they are to be kept; what others posted
 * stays until somebody cleans up. *ret_more: there may be more. */
enum err quality_expire(struct metadata *metadata, struct database *database, bool *ret_more,
                        struct diag *diag) ERR_MUST_USE;
/* Sets the gauges as they were measured last. */
enum err quality_load(struct metadata *metadata, struct database *database,
                      struct diag *diag) ERR_MUST_USE;
