#include "support/step_journal.h"

static enum err request(struct step_journal *journal, size_t entry, bool is_landed,
                        journal_on_durable on_durable, void *ctx)
{
    if (journal->request_count == STEP_JOURNAL_MAX)
        return ERR_TOO_MANY;
    journal->requests[journal->request_count++] =
        (struct step_request){entry, is_landed, on_durable, ctx};
    return ERR_OK;
}

static enum err refusal(struct step_journal *journal)
{
    enum err err = journal->refuse_next;
    journal->refuse_next = ERR_OK;
    return err;
}

static enum err step_land(void *ctx, const struct landed *landed, journal_on_durable on_durable,
                          void *durable_ctx)
{
    struct step_journal *journal = ctx;
    mutex_lock(&journal->lock);
    enum err err = refusal(journal);
    struct landed_cut *copy = NULL;
    if (err == ERR_OK && journal->entry_count == STEP_JOURNAL_MAX)
        err = ERR_TOO_MANY;
    if (err == ERR_OK) {
        copy = landed_cut_new(landed);
        err = copy ? ERR_OK : ERR_NO_MEMORY;
    }
    if (err == ERR_OK) {
        journal->entries[journal->entry_count] = (struct step_entry){.landed = copy};
        err = request(journal, journal->entry_count++, true, on_durable, durable_ctx);
    }
    mutex_unlock(&journal->lock);
    return err;
}

static enum err step_uploaded(void *ctx, uint64_t cut_id, journal_on_durable on_durable,
                              void *durable_ctx)
{
    struct step_journal *journal = ctx;
    mutex_lock(&journal->lock);
    enum err err = refusal(journal);
    for (size_t i = 0; err == ERR_OK && i < journal->entry_count; i++) {
        if (journal->entries[i].durable && journal->entries[i].landed->landed.cut_id == cut_id) {
            err = request(journal, i, false, on_durable, durable_ctx);
            mutex_unlock(&journal->lock);
            return err;
        }
    }
    mutex_unlock(&journal->lock);
    return err != ERR_OK ? err : ERR_BUG;
}

static uint64_t step_next_cut_id(void *ctx)
{
    struct step_journal *journal = ctx;
    mutex_lock(&journal->lock);
    uint64_t cut_id = ++journal->last_cut_id;
    mutex_unlock(&journal->lock);
    return cut_id;
}

static bool is_pending(const struct step_entry *entry)
{
    return entry->durable && !entry->uploaded && !entry->dropped;
}

static enum err step_pending(void *ctx,
                             enum err (*on_landed)(void *ctx, const struct landed *landed),
                             void *landed_ctx)
{
    struct step_journal *journal = ctx;
    for (size_t i = 0; i < journal->entry_count; i++) {
        if (!is_pending(&journal->entries[i]))
            continue;
        enum err err = on_landed(landed_ctx, &journal->entries[i].landed->landed);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err step_redo(void *ctx, uint64_t cut_id)
{
    struct step_journal *journal = ctx;
    if (journal->range_gone)
        return ERR_NOT_FOUND;
    for (size_t i = 0; i < journal->entry_count; i++) {
        if (journal->entries[i].landed->landed.cut_id == cut_id) {
            journal->entries[i].redo = true;
            return ERR_OK;
        }
    }
    return ERR_BUG;
}

static const struct landing_journal_ops step_ops = {
    .land = step_land,
    .uploaded = step_uploaded,
    .next_cut_id = step_next_cut_id,
    .pending = step_pending,
    .redo = step_redo,
};

void step_journal_init(struct step_journal *journal)
{
    memset(journal, 0, sizeof(*journal));
    mutex_init(&journal->lock);
    journal->journal = (struct landing_journal){&step_ops, journal};
}

void step_journal_fini(struct step_journal *journal)
{
    for (size_t i = 0; i < journal->entry_count; i++)
        landed_cut_free(journal->entries[i].landed);
    mutex_fini(&journal->lock);
}

static void landed_is_durable(struct step_journal *journal, struct step_entry *fresh)
{
    const struct landed *landed = &fresh->landed->landed;
    fresh->durable = true;
    for (struct step_entry *old = journal->entries; old < fresh; old++) {
        const struct landed *before = &old->landed->landed;
        if (old->redo && before->after == landed->after && before->through == landed->through &&
            bytes_equal(before->dataset_id, landed->dataset_id))
            old->dropped = true;
    }
}

static bool take_request(struct step_journal *journal, struct step_request *ret_request)
{
    if (journal->request_count == 0)
        return false;
    *ret_request = journal->requests[0];
    journal->request_count--;
    memmove(&journal->requests[0], &journal->requests[1],
            journal->request_count * sizeof(journal->requests[0]));
    return true;
}

bool step_journal_step(struct step_journal *journal)
{
    struct step_request request;
    mutex_lock(&journal->lock);
    bool taken = take_request(journal, &request);
    if (taken && request.is_landed)
        landed_is_durable(journal, &journal->entries[request.entry]);
    else if (taken)
        journal->entries[request.entry].uploaded = true;
    mutex_unlock(&journal->lock);
    if (taken)
        request.on_durable(request.ctx, NULL, ERR_OK);
    return taken;
}

void step_journal_stop(struct step_journal *journal)
{
    struct step_request request;
    for (;;) {
        mutex_lock(&journal->lock);
        bool taken = take_request(journal, &request);
        mutex_unlock(&journal->lock);
        if (!taken)
            return;
        request.on_durable(request.ctx, NULL, ERR_STOPPED);
    }
}

size_t step_journal_pending(struct step_journal *journal)
{
    size_t count = 0;
    mutex_lock(&journal->lock);
    for (size_t i = 0; i < journal->entry_count; i++)
        count += is_pending(&journal->entries[i]);
    mutex_unlock(&journal->lock);
    return count;
}
