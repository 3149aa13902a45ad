#pragma once
/* What the metadata's files share. Locks: `lock` guards what is named under it and is held for some
 * lines; `reader_lock` keeps the reader's handle from being closed under a query. Lock order:
 * reader_lock, lock. The journal's locks are taken inside `lock`, never the other way round: the
 * journal holds none while it calls back. */
#include "base/map.h"
#include "database/database.h"
#include "metadata/change.h"
#include "metadata/extract.h"
#include "metadata/metadata.h"
#include "metadata/metadata_table.h"
#include "os/thread.h"

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

struct metadata {
    struct metadata_options options;
    char *url;
    struct thread thread;

    struct mutex lock;
    struct condition wake;
    struct map pending; /* dataset id -> struct pending; none is without a segment */
    bool stopping;
    bool open;           /* the writer has the database, with its tables */
    char trouble[400];   /* empty: the last commit went well */
    char set_aside[400]; /* what became of a damaged database */
    uint64_t waiting;

    /* Goes up when a new database takes a lost one's place: what was told must be told again. */
    _Atomic uint64_t generation;

    /* the thread's */
    struct database *writer;
    int64_t retry_ns;
    int64_t measured_ns;

    struct mutex reader_lock;
    struct database *reader;

    struct metrics_cap *ids; /* that have series of their own */
    struct metrics_cap *names;
};

void segment_free(struct segment *segment);
/* Makes one of a run of segments. */
enum err segments_merge(struct segment *first, const struct segment *end) ERR_MUST_USE;
/* Lets the thread look at once. */
void metadata_wake(struct metadata *metadata);
/* For queries, with the reader's lock held until reader_put. */
enum err reader_get(struct metadata *metadata, struct database **ret_database,
                    struct diag *diag) ERR_MUST_USE;
void reader_put(struct metadata *metadata);

/* metadata_commit.c: the thread. */
void metadata_run(void *ctx);

/* metadata_quality.c */
enum err quality_measure(struct metadata *metadata, struct database *database,
                         struct diag *diag) ERR_MUST_USE;
/* Sets the gauges as they were measured last. */
enum err quality_load(struct metadata *metadata, struct database *database,
                      struct diag *diag) ERR_MUST_USE;
