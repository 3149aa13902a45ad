#pragma once
/*
 * The journal's core behind the table that landing and upload see, with journal.c's queue but no
 * thread: what was asked for becomes durable when the simulation steps, a batch that failed comes
 * again as it was, and a crash ends everything with ERR_STOPPED. What was on its way at a crash is
 * remembered, so that recovery can say which of it came to be.
 *
 * One thread. Aborts without memory.
 */
#include "journal/core.h"
#include "lake/landed_cut.h"
#include "lake/landing_journal.h"

#define CORE_JOURNAL_QUEUE_MAX 512

struct core_request {
    struct block *block;
    enum block_kind kind;
    struct landed_cut *landed; /* a copy; NULL: none */
    uint64_t uploaded_cut;     /* 0: none */
    journal_on_durable on_durable;
    void *ctx;
};

struct core_journal {
    struct landing_journal journal; /* hand this on */
    struct core core;
    bool is_open;
    struct core_request queue[CORE_JOURNAL_QUEUE_MAX];
    size_t queue_count;
    size_t batch_count; /* of them, being written: a batch that failed */
    struct core_request flight[CORE_JOURNAL_QUEUE_MAX]; /* on its way at the last crash */
    size_t flight_count;
    uint64_t acknowledged; /* the last block that somebody was told is durable */
    uint64_t cut_id_next;
    /* Whether what is asked for becomes durable, and is told so, before the call returns: the
     * journal's thread may be that fast. NULL: never. */
    bool (*is_at_once)(void *ctx);
    bool calling; /* an EMPTY block that may have come to be */
    /* A block is durable, before its on_durable; also those that recovery found. */
    void (*on_applied)(void *ctx, const struct core_request *request, uint64_t number);
    void *ctx;
};

void core_journal_init(struct core_journal *journal);
void core_journal_fini(struct core_journal *journal);

/* Recovers, checks the log's end against what was acknowledged and on its way, and tells
 * on_applied of the latter. */
enum err core_journal_open(struct core_journal *journal, const struct journal_options *options,
                           struct diag *diag) ERR_MUST_USE;
/* Takes the block's reference. */
void core_journal_submit(struct core_journal *journal, struct block *take_block,
                         journal_on_durable on_durable, void *ctx);
/* Writes up to count of what waits with one sync, and tells those it is durable for. */
enum err core_journal_step(struct core_journal *journal, size_t count) ERR_MUST_USE;
/* What the journal's thread does when it is quiet. After an error only a restart is allowed. */
enum err core_journal_call_durable(struct core_journal *journal) ERR_MUST_USE;
/* The process is gone: callbacks with ERR_STOPPED, nothing is written. */
void core_journal_crash(struct core_journal *journal);
