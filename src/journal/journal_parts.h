#pragma once
/* What journal.c and journal_metadata.c share: the journal's insides, and the way of control
 * records. Locks: see journal.c. */
#include "journal/core.h"
#include "journal/item_list.h"
#include "journal/journal.h"
#include "journal/record.h"
#include "os/thread.h"

struct open_group {
    struct open_group *next;
    uint64_t id;
    struct item_list items;
};

struct journal {
    struct core core;
    struct thread thread;
    bool running;
    bool replayed;
    _Atomic uint64_t waiting; /* ready or being written */
    _Atomic uint64_t cut_id_next;

    struct mutex queue_mutex;
    struct condition queue_changed;
    struct item_list ready;
    struct open_group *groups;
    size_t group_count;
    bool stopping; /* nothing more is taken */
    bool refused;  /* nor after a record that could not be taken: what follows must not pass it */

    struct mutex journal_mutex; /* the ledger, and: */
    struct journal_stats stats;
    uint64_t oldest_segment_end;

    /* the journal thread's */
    struct core_item *batch;
    int64_t appended_ns, space_ns;
    bool failing;
    char failure[384];
};

/* Control records, durable together; their bodies are copied. Any thread. */
enum err journal_control(struct journal *journal, const struct record_view *records, size_t count,
                         journal_on_durable on_durable, void *ctx) ERR_MUST_USE;

/* The body of the STATE record that keeps a dataset's metadata changes; empty: they are gone. */
enum err journal_metadata_encode(struct buf *body, struct bytes dataset_id,
                                 struct bytes changes) ERR_MUST_USE;
