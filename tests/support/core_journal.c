#include "support/core_journal.h"

#include "base/alloc.h"
#include "support/promise.h"

#include <stdlib.h>

static struct core_request *request_add(struct core_journal *journal)
{
    PROMISE(journal->queue_count < CORE_JOURNAL_QUEUE_MAX, "the simulation's queue is full");
    struct core_request *request = &journal->queue[journal->queue_count++];
    *request = (struct core_request){0};
    return request;
}

static void request_fini(struct core_request *request)
{
    block_unref(request->block);
    landed_cut_free(request->landed);
}

static enum err control_add(struct core_journal *journal, enum record_kind kind, struct bytes body,
                            struct core_request **ret_request)
{
    struct block *block = NULL;
    enum err err = block_new(BLOCK_HEADER_BYTES + 64 + body.size, &block);
    if (err == ERR_OK)
        err = block_add_record(block, kind, body);
    if (err != ERR_OK) {
        block_unref(block);
        return err;
    }
    *ret_request = request_add(journal);
    (*ret_request)->block = block;
    (*ret_request)->kind = BLOCK_CONTROL;
    return ERR_OK;
}

static void perhaps_at_once(struct core_journal *journal)
{
    if (journal->is_at_once && journal->is_at_once(journal->ctx) &&
        core_journal_step(journal, CORE_JOURNAL_QUEUE_MAX) != ERR_OK)
        promise_note("    the journal fails");
}

static enum err core_land(void *ctx, const struct landed *landed, journal_on_durable on_durable,
                          void *durable_ctx)
{
    struct core_journal *journal = ctx;
    struct core_request *request = NULL;
    struct buf body;
    /* what journal_land refuses, too */
    PROMISE(landed->after < landed->through &&
                landed->through <= journal->core.ledger.applied_through,
            "LANDED for blocks %llu to %llu, of which %llu are durable",
            (unsigned long long)landed->after + 1, (unsigned long long)landed->through,
            (unsigned long long)journal->core.ledger.applied_through);
    buf_init(&body, MIB);
    enum err err = record_landed_encode(&body, landed);
    if (err == ERR_OK)
        err = control_add(journal, RECORD_LANDED, buf_bytes(&body), &request);
    buf_fini(&body);
    if (err != ERR_OK)
        return err;
    request->landed = landed_cut_new(landed);
    request->on_durable = on_durable;
    request->ctx = durable_ctx;
    if (!request->landed)
        abort();
    perhaps_at_once(journal);
    return ERR_OK;
}

static enum err core_uploaded(void *ctx, uint64_t cut_id, journal_on_durable on_durable,
                              void *durable_ctx)
{
    struct core_journal *journal = ctx;
    struct core_request *request = NULL;
    struct buf body;
    buf_init(&body, 64);
    enum err err = record_uploaded_encode(&body, cut_id);
    if (err == ERR_OK)
        err = control_add(journal, RECORD_UPLOADED, buf_bytes(&body), &request);
    buf_fini(&body);
    if (err != ERR_OK)
        return err;
    request->uploaded_cut = cut_id;
    request->on_durable = on_durable;
    request->ctx = durable_ctx;
    perhaps_at_once(journal);
    return ERR_OK;
}

static uint64_t core_next_cut_id(void *ctx)
{
    struct core_journal *journal = ctx;
    return journal->cut_id_next++;
}

static enum err core_pending(void *ctx,
                             enum err (*on_landed)(void *ctx, const struct landed *landed),
                             void *landed_ctx)
{
    const struct core_journal *journal = ctx;
    const struct ledger *ledger = &journal->core.ledger;
    enum err err = ERR_OK;
    for (size_t i = 0; i < ledger->pending_count && err == ERR_OK; i++)
        err = on_landed(landed_ctx, &ledger->pending[i]->landed);
    return err;
}

static enum err core_redo_of(void *ctx, uint64_t cut_id)
{
    struct core_journal *journal = ctx;
    return core_redo(&journal->core, cut_id);
}

static const struct landing_journal_ops core_ops = {
    .land = core_land,
    .uploaded = core_uploaded,
    .next_cut_id = core_next_cut_id,
    .pending = core_pending,
    .redo = core_redo_of,
};

void core_journal_init(struct core_journal *journal)
{
    *journal = (struct core_journal){.journal = {&core_ops, NULL}};
    journal->journal.journal = journal;
}

static void flight_forget(struct core_journal *journal)
{
    for (size_t i = 0; i < journal->flight_count; i++)
        request_fini(&journal->flight[i]);
    journal->flight_count = 0;
}

void core_journal_fini(struct core_journal *journal)
{
    core_journal_crash(journal);
    flight_forget(journal);
}

/* ---- recovery ---- */

static void flight_take(struct core_journal *journal)
{
    uint64_t last = journal->core.ledger.applied_through;
    PROMISE(last >= journal->acknowledged, "acknowledged up to block %llu, recovered up to %llu",
            (unsigned long long)journal->acknowledged, (unsigned long long)last);
    PROMISE(last - journal->acknowledged <= journal->flight_count,
            "recovered up to block %llu, which was never sent", (unsigned long long)last);
    promise_note("    recovered up to block %llu, %llu of them unacknowledged",
                 (unsigned long long)last, (unsigned long long)(last - journal->acknowledged));
    for (size_t i = 0; journal->acknowledged < last; i++)
        journal->on_applied(journal->ctx, &journal->flight[i], ++journal->acknowledged);
    flight_forget(journal);
}

enum err core_journal_open(struct core_journal *journal, const struct journal_options *options,
                           struct diag *diag)
{
    enum err err = core_open(&journal->core, options, diag);
    if (err != ERR_OK)
        return err;
    journal->is_open = true;
    PROMISE(journal->core.damage_count == 0, "the journal finds damage: %s",
            journal->core.damages[0]);
    flight_take(journal);
    journal->cut_id_next = journal->core.ledger.cut_id_last + 1;
    return ERR_OK;
}

/* ---- writing ---- */

void core_journal_submit(struct core_journal *journal, struct block *take_block,
                         journal_on_durable on_durable, void *ctx)
{
    struct core_request *request = request_add(journal);
    request->block = take_block;
    request->kind = BLOCK_DATA;
    request->on_durable = on_durable;
    request->ctx = ctx;
}

static struct core_request queue_pop(struct core_journal *journal)
{
    struct core_request first = journal->queue[0];
    journal->queue_count--;
    memmove(&journal->queue[0], &journal->queue[1],
            journal->queue_count * sizeof(journal->queue[0]));
    return first;
}

/* As journal.c does on a full disk. While the segment goes on, nothing of the queue is in it. */
static void control_first(struct core_journal *journal)
{
    struct core_request sorted[CORE_JOURNAL_QUEUE_MAX];
    size_t count = 0;
    for (size_t i = 0; i < journal->queue_count; i++)
        if (journal->queue[i].kind == BLOCK_CONTROL)
            sorted[count++] = journal->queue[i];
    for (size_t i = 0; i < journal->queue_count; i++)
        if (journal->queue[i].kind != BLOCK_CONTROL)
            sorted[count++] = journal->queue[i];
    memcpy(journal->queue, sorted, count * sizeof(*sorted));
    journal->batch_count = 0;
}

enum err core_journal_step(struct core_journal *journal, size_t count)
{
    struct core_item items[CORE_JOURNAL_QUEUE_MAX];
    struct diag diag = {0};
    size_t done = 0;
    if (journal->batch_count == 0)
        journal->batch_count = count < journal->queue_count ? count : journal->queue_count;
    if (journal->batch_count == 0)
        return ERR_OK;
    for (size_t i = 0; i < journal->batch_count; i++)
        items[i] = (struct core_item){journal->queue[i].block, journal->queue[i].kind, 0, 0};
    enum err err = core_append(&journal->core, items, journal->batch_count, &done, &diag);
    PROMISE(err == ERR_OK || err_class(err) == ERR_CLASS_RETRY, "the journal refuses a block: %s",
            diag.text);
    journal->batch_count -= done;
    promise_note("    journal: %zu blocks durable, now %llu; %s", done,
                 (unsigned long long)journal->core.ledger.applied_through, err_text(err));
    while (done-- > 0) {
        struct core_request request = queue_pop(journal);
        journal->on_applied(journal->ctx, &request, ++journal->acknowledged);
        if (request.on_durable)
            request.on_durable(request.ctx, request.kind == BLOCK_DATA ? request.block : NULL,
                               ERR_OK);
        request_fini(&request);
    }
    PROMISE(journal->core.ledger.applied_through == journal->acknowledged,
            "the core has applied blocks up to %llu, %llu are done",
            (unsigned long long)journal->core.ledger.applied_through,
            (unsigned long long)journal->acknowledged);
    if (err == ERR_NO_SPACE && journal->core.file)
        control_first(journal);
    return err;
}

enum err core_journal_call_durable(struct core_journal *journal)
{
    if (!journal->core.uncalled || !journal->core.file || journal->batch_count > 0)
        return ERR_OK;
    journal->calling = true;
    enum err err = core_call_durable(&journal->core, NULL);
    if (err == ERR_OK) {
        journal->calling = false;
        journal->acknowledged = journal->core.ledger.applied_through;
    }
    return err;
}

void core_journal_crash(struct core_journal *journal)
{
    if (!journal->is_open)
        return;
    flight_forget(journal);
    if (journal->calling)
        journal->flight[journal->flight_count++] = (struct core_request){.kind = BLOCK_EMPTY};
    journal->calling = false;
    for (size_t i = 0; i < journal->queue_count; i++) {
        struct core_request *request = &journal->queue[i];
        if (request->on_durable)
            request->on_durable(request->ctx, request->kind == BLOCK_DATA ? request->block : NULL,
                                ERR_STOPPED);
        PROMISE(journal->flight_count < CORE_JOURNAL_QUEUE_MAX, "the simulation's queue is full");
        journal->flight[journal->flight_count++] = *request;
    }
    journal->queue_count = 0;
    journal->batch_count = 0;
    journal->is_open = false;
    core_fini(&journal->core);
}
