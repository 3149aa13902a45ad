#pragma once
/*
 * What landing and upload ask of a journal, behind a table, so that a test can step the moment at
 * which a record becomes durable. Calls and callbacks are those of journal/journal.h: land and
 * uploaded may be called from any thread, their callbacks come on the journal's.
 */
#include "journal/journal.h"

struct landing_journal_ops {
    enum err (*land)(void *journal, const struct landed *landed, journal_on_durable on_durable,
                     void *ctx);
    enum err (*uploaded)(void *journal, uint64_t cut_id, journal_on_durable on_durable, void *ctx);
    uint64_t (*next_cut_id)(void *journal);
    enum err (*pending)(void *journal,
                        enum err (*on_landed)(void *ctx, const struct landed *landed), void *ctx);
    enum err (*redo)(void *journal, uint64_t cut_id);
};

struct landing_journal {
    const struct landing_journal_ops *ops;
    void *journal;
};

/* The real one. */
struct landing_journal landing_journal_of(struct journal *journal);
