#include "support/lake_run.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "lake/store_open.h"
#include "support/promise.h"

static void need(enum err err)
{
    PROMISE(err == ERR_OK, "the simulation itself failed: %s", err_text(err));
}

/* ---- the store, watched ---- */

static struct lake_run *run_of(struct store *store)
{
    return (struct lake_run *)((char *)store - offsetof(struct lake_run, store));
}

static struct store *inner(struct lake_run *run)
{
    return run->uses_s3 ? &run->s3.store : run->folder;
}

static enum err watched_put(struct store *store, const struct store_object *object,
                            struct diag *diag)
{
    struct lake_run *run = run_of(store);
    lake_put_begins(&run->model, object->key, object->sha256);
    enum err err = inner(run)->ops->put(inner(run), object, diag);
    promise_note("    put %s: %s", object->key, err_text(err));
    if (err == ERR_OK)
        lake_put_done(&run->model, object->key, object->sha256);
    return err;
}

static enum err watched_check(struct store *store, const struct store_object *object,
                              enum store_presence *ret_presence, struct diag *diag)
{
    struct lake_run *run = run_of(store);
    enum err err = inner(run)->ops->check(inner(run), object, ret_presence, diag);
    if (err == ERR_OK && *ret_presence == STORE_SAME)
        lake_put_done(&run->model, object->key, object->sha256);
    return err;
}

static const struct store_ops watched_ops = {.put = watched_put, .check = watched_check};

/* ---- durable ---- */

static struct parcel *parcel_of(struct lake_run *run, const struct block *block)
{
    for (size_t i = run->parcel_count; i-- > 0;)
        if (run->parcels[i].block == block)
            return &run->parcels[i];
    return NULL;
}

void lake_run_applied(void *ctx, const struct core_request *request, uint64_t number)
{
    struct lake_run *run = ctx;
    if (request->landed) {
        lake_landed_durable(&run->model, &request->landed->landed);
    } else if (request->uploaded_cut) {
        lake_uploaded_durable(&run->model, request->uploaded_cut);
    } else if (request->kind == BLOCK_DATA) {
        const struct parcel *parcel = parcel_of(run, request->block);
        lake_block_durable(&run->model, parcel->first, parcel->count, number);
    }
}

static void deliver(struct lake_run *run, struct block *block, bool is_recovered)
{
    struct shipment *shipment = NULL;
    need(shipment_new(block_ref(block), &run->in_flight, &shipment));
    shipment->recovered = is_recovered;
    worker_deliver(run->worker, shipment);
    shipment_unref(shipment);
}

static void on_block_durable(void *ctx, struct block *block, enum err err)
{
    if (err == ERR_OK)
        deliver(ctx, block, false);
}

void lake_run_submit(struct lake_run *run, struct block *take_block, uint32_t first)
{
    struct parcel *parcel = &run->parcels[run->parcel_count++];
    *parcel = (struct parcel){.block = block_ref(take_block),
                              .first = first,
                              .count = run->model.message_last + 1 - first};
    core_journal_submit(&run->journal, take_block, on_block_durable, run);
}

/* ---- from the worker to the spool ---- */

static bool worker_wanted(void *ctx, struct bytes dataset_id, uint64_t block,
                          uint64_t *ret_redo_cut)
{
    struct lake_run *run = ctx;
    return ledger_wanted(&run->journal.core.ledger, dataset_id, block, ret_redo_cut);
}

static uint64_t worker_landed_through(void *ctx, struct bytes dataset_id)
{
    struct lake_run *run = ctx;
    const struct ledger_dataset *dataset = ledger_dataset(&run->journal.core.ledger, dataset_id);
    return dataset ? dataset->landed_through : 0;
}

static uint64_t worker_filed_through(void *ctx, struct bytes dataset_id)
{
    struct lake_run *run = ctx;
    const struct ledger_dataset *dataset = ledger_dataset(&run->journal.core.ledger, dataset_id);
    return dataset ? dataset->filed_through : 0;
}

static enum err worker_land(void *ctx, struct land_job *take_job)
{
    struct lake_run *run = ctx;
    PROMISE(run->job_count < LAKE_RUN_JOBS_MAX, "the simulation has too many jobs");
    lake_cut_made(&run->model, &take_job->cut);
    run->jobs[run->job_count++] = take_job;
    promise_note("    cut of %.*s, blocks %llu to %llu, %zu files, redo %llu",
                 (int)take_job->dataset_id_size, (const char *)take_job->dataset_id,
                 (unsigned long long)take_job->after + 1, (unsigned long long)take_job->through,
                 take_job->cut.file_count, (unsigned long long)take_job->redo_cut);
    return ERR_OK;
}

/* The lander's work: the first job, again if it fails. */
void lake_run_land(struct lake_run *run)
{
    if (run->job_count == 0)
        return;
    struct land_job *job = run->jobs[0];
    struct diag diag = {0};
    const struct landing_range range = {
        .dataset_id = bytes_from(job->dataset_id, job->dataset_id_size),
        .source_id = BYTES_LITERAL("source"),
        .after = job->after,
        .through = job->through,
        .redo_cut = job->redo_cut,
    };
    enum err err = landing_land(run->landing, &job->cut, &range, NULL, NULL, &diag);
    promise_note("    land: %s", err == ERR_OK ? "asked" : diag.text);
    if (err != ERR_OK)
        return;
    land_job_free(job);
    memmove(&run->jobs[0], &run->jobs[1], --run->job_count * sizeof(struct land_job *));
}

/* What the ledger remembers of its oldest block is what a walk over all datasets finds. */
static void check_oldest(struct lake_run *run)
{
    struct ledger *ledger = &run->journal.core.ledger;
    struct ledger anew = *ledger;
    anew.oldest_cached = 0;
    uint64_t remembered = ledger_oldest_needed(ledger), found = ledger_oldest_needed(&anew);
    PROMISE(remembered == found, "the oldest block needed is %llu, not %llu",
            (unsigned long long)found, (unsigned long long)remembered);
}

void lake_run_work(struct lake_run *run)
{
    check_oldest(run);
    if (lake_run_draw(run, 2)) {
        char id[8];
        snprintf(id, sizeof(id), "d%u", (unsigned)lake_run_draw(run, LAKE_DATASETS));
        worker_force(run->worker, hash_bytes(bytes_from_text(id)));
    }
    worker_step(run->worker);
}

void lake_run_upload(struct lake_run *run, uint64_t turns)
{
    int64_t wait_ns = 0;
    while (turns-- > 0 && !sim_disk_crashed(run->disk) && upload_step(run->upload, &wait_ns))
        continue;
    if (wait_ns > 0 && wait_ns != INT64_MAX && lake_run_draw(run, 2))
        sim_disk_advance(run->disk, wait_ns);
}

/* ---- a life ---- */

static void on_report(void *ctx, const char *sentence)
{
    struct lake_run *run = ctx;
    lake_reported(&run->model, sentence);
}

/* What the journal's thread does after a batch. False: restart. */
bool lake_run_housekeep(struct lake_run *run)
{
    struct core *core = &run->journal.core;
    core_space(core);
    if (run->journal.batch_count > 0)
        return true;
    if (core_free_space(core, NULL) != ERR_OK && !core->file)
        promise_note("    no new segment");
    core_space(core);
    return core_journal_call_durable(&run->journal) == ERR_OK;
}

static enum err journal_up(struct lake_run *run, struct diag *diag)
{
    const struct journal_options options = {.fs = sim_disk_fs(run->disk),
                                            .clock = sim_disk_clock(run->disk),
                                            .folder = LAKE_RUN_JOURNAL,
                                            .size_max_bytes = run->journal_max_bytes,
                                            .segment_bytes = LAKE_RUN_SEGMENT_BYTES,
                                            .spool_bytes = spool_bytes_of,
                                            .ctx = &run->spool};
    enum err err = spool_new(sim_disk_fs(run->disk), LAKE_RUN_JOURNAL, &run->spool);
    if (err == ERR_OK)
        err = core_journal_open(&run->journal, &options, diag);
    return err == ERR_OK ? spool_open(run->spool, diag) : err;
}

static enum err lake_up(struct lake_run *run, struct diag *diag)
{
    struct landing_recovery recovery;
    run->store = (struct store){.ops = &watched_ops};
    enum err err =
        run->uses_s3 ? ERR_OK
                     : store_folder_new(sim_disk_fs(run->disk), LAKE_RUN_LAKE, &run->folder, diag);
    if (err == ERR_OK)
        err = upload_new(&(struct upload_options){.clock = sim_disk_clock(run->disk),
                                                  .spool = run->spool,
                                                  .store = &run->store,
                                                  .journal = run->journal.journal,
                                                  .seed = lake_run_draw(run, 1000)},
                         &run->upload);
    if (err == ERR_OK)
        err = landing_new(&(struct landing_options){.spool = run->spool,
                                                    .store = &run->store,
                                                    .journal = run->journal.journal,
                                                    .upload = run->upload,
                                                    .on_report = on_report,
                                                    .ctx = run},
                          &run->landing);
    if (err == ERR_OK && lake_run_draw(run, 4) == 0 &&
        inner(run)->ops->probe(inner(run), NULL) != ERR_OK)
        promise_note("    the probe fails");
    if (err == ERR_OK)
        err = landing_recover(run->landing, &recovery, diag);
    if (err == ERR_OK)
        promise_note(
            "    spool: %llu to upload, %llu to make again, %llu lost, %llu stray",
            (unsigned long long)recovery.pending_cuts, (unsigned long long)recovery.redo_cuts,
            (unsigned long long)recovery.lost_files, (unsigned long long)recovery.stray_files);
    return err;
}

static enum err worker_up(struct lake_run *run)
{
    struct worker_options options = {.count = 1,
                                     .clock = sim_disk_clock(run->disk),
                                     .batch = {.catalog = &run->catalog.catalog,
                                               .parquet = {.codec = PARQUET_NONE,
                                                           .page_bytes = 1 << 20,
                                                           .page_rows = 20000,
                                                           .created_by = "simulation"},
                                               .journal_uuid = run->journal.core.uuid,
                                               .row_group_rows = 1000000,
                                               .row_group_bytes = 128 << 20},
                                     .pace = &run->pace,
                                     .flush_max_bytes = run->flush_max_bytes,
                                     /* too little: batches go without columns, and early */
                                     .memory_max_bytes =
                                         lake_run_draw(run, 2) == 0 ? 64 * MIB : 24 * KIB,
                                     .wanted = worker_wanted,
                                     .landed_through = worker_landed_through,
                                     .filed_through = worker_filed_through,
                                     .land = worker_land,
                                     .ctx = run};
    flush_pace_init(&run->pace, 10, 50);
    enum err err = account_book_new(&run->book);
    options.book = run->book;
    return err == ERR_OK ? worker_new(&options, &run->worker) : err;
}

/* New blocks do not come yet, all the rest goes on beside the replay. */
static void step_beside(struct lake_run *run)
{
    switch (lake_run_draw(run, 6)) {
    case 0:
        lake_run_work(run);
        break;
    case 1:
        lake_run_land(run);
        break;
    case 2:
        lake_run_upload(run, 1);
        break;
    case 3:
        if (core_journal_step(&run->journal, 1 + lake_run_draw(run, 4)) != ERR_OK)
            promise_note("    the journal fails");
        break;
    default:
        break;
    }
}

static enum err on_replayed(void *ctx, struct block *block)
{
    struct lake_run *run = ctx;
    promise_note("    replays block %llu", (unsigned long long)block->number);
    deliver(run, block, true);
    step_beside(run);
    return ERR_OK;
}

/* As journal_start, pipeline_recover. */
static enum err replay(struct lake_run *run, struct diag *diag)
{
    struct core *core = &run->journal.core;
    enum err err = ERR_OK;
    if (ledger_oldest_needed(&core->ledger) < core->next_number) {
        err = core_replay_plan(core);
        if (err == ERR_OK)
            err = core_replay(core, on_replayed, run, diag);
    }
    PROMISE(core->damage_count == 0, "the replay finds damage: %s",
            core->damage_count ? core->damages[0] : "");
    if (err == ERR_OK)
        worker_end_of_recovery(run->worker);
    return err;
}

void lake_run_down(struct lake_run *run)
{
    core_journal_crash(&run->journal);
    while (run->job_count > 0)
        land_job_free(run->jobs[--run->job_count]);
    worker_free(run->worker);
    account_book_free(run->book);
    landing_free(run->landing);
    upload_free(run->upload);
    if (run->folder)
        run->folder->ops->close(run->folder);
    spool_free(run->spool);
    PROMISE(run->in_flight == 0, "the worker leaks blocks");
    run->worker = NULL;
    run->book = NULL;
    run->landing = NULL;
    run->upload = NULL;
    run->folder = NULL;
    run->spool = NULL;
    run->is_up = false;
}

bool lake_run_up(struct lake_run *run)
{
    struct diag diag = {0};
    enum err err = journal_up(run, &diag);
    if (err == ERR_OK)
        err = lake_up(run, &diag);
    if (err == ERR_OK)
        err = worker_up(run);
    if (err == ERR_OK)
        err = replay(run, &diag);
    run->is_up = err == ERR_OK && !sim_disk_crashed(run->disk);
    promise_note("%s", run->is_up ? "UP" : diag.text);
    return run->is_up;
}
