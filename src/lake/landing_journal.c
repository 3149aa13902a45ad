#include "lake/landing_journal.h"

static enum err real_land(void *journal, const struct landed *landed, journal_on_durable on_durable,
                          void *ctx)
{
    return journal_land(journal, landed, on_durable, ctx);
}

static enum err real_uploaded(void *journal, uint64_t cut_id, journal_on_durable on_durable,
                              void *ctx)
{
    return journal_uploaded(journal, cut_id, on_durable, ctx);
}

static uint64_t real_next_cut_id(void *journal)
{
    return journal_next_cut_id(journal);
}

static enum err real_pending(void *journal,
                             enum err (*on_landed)(void *ctx, const struct landed *landed),
                             void *ctx)
{
    return journal_pending_uploads(journal, on_landed, ctx);
}

static enum err real_redo(void *journal, uint64_t cut_id)
{
    return journal_redo(journal, cut_id);
}

static const struct landing_journal_ops real_ops = {
    .land = real_land,
    .uploaded = real_uploaded,
    .next_cut_id = real_next_cut_id,
    .pending = real_pending,
    .redo = real_redo,
};

struct landing_journal landing_journal_of(struct journal *journal)
{
    return (struct landing_journal){&real_ops, journal};
}
