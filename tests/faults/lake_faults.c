/*
 * Crash schedules for the whole promise: `lake_faults [count [first_seed]] [--verbose]`.
 *
 * Each seed draws a service on a simulated disk: the journal's core with small segments, the real
 * worker, batches, spool, landing and upload, each stepped by hand, and for a store the real folder
 * store (on the same disk, or on another file system of it) or a fake S3 with bad days. Messages of
 * three datasets come in; at any operation of the disk there is a power cut, a kill, a failing
 * write or sync, a full disk; spool files are damaged or removed while the service is down, and
 * while it runs. Recovery may itself be cut off. lake_model.h says what must hold.
 *
 * Threads are replaced by the order in which a schedule steps the parts; what is modelled and not
 * the service's own is journal.c's queue (core_journal.h) and the lander's (a list, here).
 *
 * --verbose tells the story; it ends with the sentence that says which promise was broken.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "lake/landing.h"
#include "lake/store_open.h"
#include "pipeline/worker.h"
#include "support/core_journal.h"
#include "support/fake_catalog.h"
#include "support/fake_s3.h"
#include "support/lake_model.h"
#include "support/promise.h"
#include "support/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>

#define SEGMENT_BYTES (64 * KIB)
#define JOURNAL       "/journal"
#define LAKE          "/lake"
#define JOBS_MAX      256
#define DRAIN_ROUNDS  60
#define DAY_START_US  1772582400000000 /* 2026-03-04T00:00:00Z */

/* A data block on its way: its messages by number. */
struct parcel {
    struct shipment *shipment;
    struct block *block;
    uint32_t first, count;
};

struct totals {
    uint64_t schedules, crashes, files, messages, redone, lost;
};

struct run {
    struct sim_disk *disk;
    struct lake_model model;
    struct fake_catalog catalog;
    struct core_journal journal;
    struct parcel parcels[LAKE_MESSAGES_MAX];
    size_t parcel_count;
    struct fake_s3 s3;
    bool uses_s3;
    uint64_t journal_max_bytes;
    uint64_t flush_max_bytes;
    uint32_t column; /* fields come by and by */
    uint32_t crashes;

    /* one life of the service */
    bool is_up;
    struct store store; /* first asks the model, then one of: */
    struct store *folder;
    struct spool *spool;
    struct upload *upload;
    struct landing *landing;
    struct account_book *book;
    struct flush_pace pace;
    struct worker *worker;
    _Atomic uint64_t in_flight;
    struct land_job *jobs[JOBS_MAX];
    size_t job_count;
};

static uint64_t draw(struct run *run, uint64_t below)
{
    return sim_random(run->disk, below);
}

static void need(enum err err)
{
    PROMISE(err == ERR_OK, "the simulation itself failed: %s", err_text(err));
}

static bool is_down(const struct run *run)
{
    return sim_disk_crashed(run->disk);
}

/* ---- the store, watched ---- */

static struct run *run_of(struct store *store)
{
    return (struct run *)((char *)store - offsetof(struct run, store));
}

static struct store *inner(struct run *run)
{
    return run->uses_s3 ? &run->s3.store : run->folder;
}

static enum err watched_put(struct store *store, const struct store_object *object,
                            struct diag *diag)
{
    struct run *run = run_of(store);
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
    struct run *run = run_of(store);
    enum err err = inner(run)->ops->check(inner(run), object, ret_presence, diag);
    if (err == ERR_OK && *ret_presence == STORE_SAME)
        lake_put_done(&run->model, object->key, object->sha256);
    return err;
}

static const struct store_ops watched_ops = {.put = watched_put, .check = watched_check};

/* ---- messages in ---- */

static void route_add(struct block *block, uint32_t dataset, uint32_t *ret_index)
{
    char id[8];
    struct buf encoded;
    snprintf(id, sizeof(id), "d%u", dataset % 10);
    const struct route_view view = {.source_id = BYTES_LITERAL("source"),
                                    .dataset_id = bytes_from_text(id),
                                    .source_type = BYTES_LITERAL("mqtt"),
                                    .topic = BYTES_LITERAL("t"),
                                    .partition_window_hours = 24};
    buf_init(&encoded, 64 * 1024);
    need(route_encode(&view, &encoded));
    need(block_add_route(block, buf_bytes(&encoded), hash_bytes(view.dataset_id), ret_index));
    buf_fini(&encoded);
}

static enum err extras_add(struct buf *extras, bool is_dead_letter)
{
    if (!is_dead_letter)
        return ERR_OK;
    struct message_field reason = {
        .index = FIELD_INDEX_REASON, .type = FIELD_STRING, .text = BYTES_LITERAL("oversize")};
    struct message_field detail = {
        .index = FIELD_INDEX_DETAIL, .type = FIELD_STRING, .text = BYTES_LITERAL("as drawn")};
    enum err err = message_field_append(extras, &reason);
    return err == ERR_OK ? message_field_append(extras, &detail) : err;
}

static void message_add(struct run *run, struct block *block, uint32_t route, uint32_t dataset)
{
    char payload[128] = "[]";
    struct buf extras;
    uint32_t arrival_hour = 5 + (uint32_t)draw(run, 2), event_hour = (uint32_t)draw(run, 3);
    struct lake_message message = {.dataset = (uint8_t)dataset,
                                   .is_dead_letter = draw(run, 10) == 0,
                                   .is_silent = draw(run, 20) == 0};
    message.is_silent = message.is_silent && !message.is_dead_letter;
    message.hour = (uint8_t)(message.is_dead_letter ? arrival_hour : event_hour);
    uint32_t number = lake_message_new(&run->model, message);
    if (!message.is_silent)
        snprintf(payload, sizeof(payload),
                 "{\"seq\":%u,\"timestamp\":\"2026-03-04T%02u:30:00Z\",\"c%u\":1}", number,
                 event_hour, run->column);
    buf_init(&extras, 4096);
    need(extras_add(&extras, message.is_dead_letter));
    struct message_view view = {.payload = bytes_from_text(payload),
                                .extras = buf_bytes(&extras),
                                .arrival_us =
                                    DAY_START_US + (int64_t)arrival_hour * 3600 * US_PER_S + number,
                                .route_index = route,
                                .flags = message.is_dead_letter ? MESSAGE_DEAD_LETTER : 0};
    need(block_add_message(block, &view));
    buf_fini(&extras);
}

static void padding_add(struct run *run, struct block *block)
{
    static const uint8_t padding[20000];
    if (draw(run, 3) == 0)
        need(block_add_record(block, (enum record_kind)200,
                              bytes_from(padding, draw(run, sizeof(padding)))));
}

static void on_block_durable(void *ctx, struct block *block, enum err err);

static struct parcel *parcel_of(struct run *run, const struct block *block)
{
    for (size_t i = run->parcel_count; i-- > 0;)
        if (run->parcels[i].block == block)
            return &run->parcels[i];
    return NULL;
}

/* A block of a few messages, submitted. */
static void message_block(struct run *run)
{
    struct block *block = NULL;
    uint32_t first = run->model.message_last + 1;
    if (run->model.message_last + 16 > LAKE_MESSAGES_MAX ||
        run->journal.queue_count + 16 > CORE_JOURNAL_QUEUE_MAX)
        return;
    need(block_new(4096, &block));
    for (uint32_t routes = 1 + (uint32_t)draw(run, 3); routes > 0; routes--) {
        uint32_t route, dataset = (uint32_t)draw(run, LAKE_DATASETS);
        route_add(block, dataset, &route);
        for (uint32_t m = (uint32_t)draw(run, 4); m > 0; m--)
            message_add(run, block, route, dataset);
    }
    padding_add(run, block);
    run->column += draw(run, 6) == 0;
    struct parcel *parcel = &run->parcels[run->parcel_count++];
    *parcel = (struct parcel){
        .block = block_ref(block), .first = first, .count = run->model.message_last + 1 - first};
    promise_note("  messages %u to %u", first, run->model.message_last);
    core_journal_submit(&run->journal, block, on_block_durable, run);
}

/* ---- durable ---- */

static void on_applied(void *ctx, const struct core_request *request, uint64_t number)
{
    struct run *run = ctx;
    if (request->landed) {
        lake_landed_durable(&run->model, &request->landed->landed);
    } else if (request->uploaded_cut) {
        lake_uploaded_durable(&run->model, request->uploaded_cut);
    } else if (request->kind == BLOCK_DATA) {
        const struct parcel *parcel = parcel_of(run, request->block);
        lake_block_durable(&run->model, parcel->first, parcel->count, number);
    }
}

static void deliver(struct run *run, struct block *block, bool is_recovered)
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

/* ---- from the worker to the spool ---- */

static bool worker_wanted(void *ctx, struct bytes dataset_id, uint64_t block,
                          uint64_t *ret_redo_cut)
{
    struct run *run = ctx;
    return ledger_wanted(&run->journal.core.ledger, dataset_id, block, ret_redo_cut);
}

static uint64_t worker_landed_through(void *ctx, struct bytes dataset_id)
{
    struct run *run = ctx;
    const struct ledger_dataset *dataset = ledger_dataset(&run->journal.core.ledger, dataset_id);
    return dataset ? dataset->landed_through : 0;
}

static enum err worker_land(void *ctx, struct land_job *take_job)
{
    struct run *run = ctx;
    PROMISE(run->job_count < JOBS_MAX, "the simulation has too many jobs");
    lake_cut_made(&run->model, &take_job->cut);
    run->jobs[run->job_count++] = take_job;
    promise_note("    cut of %.*s, blocks %llu to %llu, %zu files, redo %llu",
                 (int)take_job->dataset_id_size, (const char *)take_job->dataset_id,
                 (unsigned long long)take_job->after + 1, (unsigned long long)take_job->through,
                 take_job->cut.file_count, (unsigned long long)take_job->redo_cut);
    return ERR_OK;
}

/* The lander's work: the first job, again if it fails. */
static void land_step(struct run *run)
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

static void worker_work(struct run *run)
{
    if (draw(run, 2)) {
        char id[8];
        snprintf(id, sizeof(id), "d%u", (unsigned)draw(run, LAKE_DATASETS));
        worker_force(run->worker, hash_bytes(bytes_from_text(id)));
    }
    worker_step(run->worker);
}

static void upload_work(struct run *run, uint64_t turns)
{
    int64_t wait_ns = 0;
    while (turns-- > 0 && !is_down(run) && upload_step(run->upload, &wait_ns))
        continue;
    if (wait_ns > 0 && wait_ns != INT64_MAX && draw(run, 2))
        sim_disk_advance(run->disk, wait_ns);
}

/* ---- a life ---- */

static uint64_t draw_of(void *ctx, uint64_t below)
{
    return draw(ctx, below);
}

static void on_report(void *ctx, const char *sentence)
{
    struct run *run = ctx;
    lake_reported(&run->model, sentence);
}

/* What the journal's thread does after a batch. False: restart. */
static bool housekeep(struct run *run)
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

static enum err journal_up(struct run *run, struct diag *diag)
{
    const struct journal_options options = {.fs = sim_disk_fs(run->disk),
                                            .clock = sim_disk_clock(run->disk),
                                            .folder = JOURNAL,
                                            .size_max_bytes = run->journal_max_bytes,
                                            .segment_bytes = SEGMENT_BYTES,
                                            .spool_bytes = spool_bytes_of,
                                            .ctx = &run->spool};
    enum err err = spool_new(sim_disk_fs(run->disk), JOURNAL, &run->spool);
    if (err == ERR_OK)
        err = core_journal_open(&run->journal, &options, diag);
    return err == ERR_OK ? spool_open(run->spool, diag) : err;
}

static enum err lake_up(struct run *run, struct diag *diag)
{
    struct landing_recovery recovery;
    run->store = (struct store){.ops = &watched_ops};
    enum err err =
        run->uses_s3 ? ERR_OK : store_folder_new(sim_disk_fs(run->disk), LAKE, &run->folder, diag);
    if (err == ERR_OK)
        err = upload_new(&(struct upload_options){.clock = sim_disk_clock(run->disk),
                                                  .spool = run->spool,
                                                  .store = &run->store,
                                                  .journal = run->journal.journal,
                                                  .seed = draw(run, 1000)},
                         &run->upload);
    if (err == ERR_OK)
        err = landing_new(&(struct landing_options){.spool = run->spool,
                                                    .store = &run->store,
                                                    .journal = run->journal.journal,
                                                    .upload = run->upload,
                                                    .on_report = on_report,
                                                    .ctx = run},
                          &run->landing);
    if (err == ERR_OK && draw(run, 4) == 0 && inner(run)->ops->probe(inner(run), NULL) != ERR_OK)
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

static enum err worker_up(struct run *run)
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
                                     .memory_max_bytes = 64 * MIB,
                                     .wanted = worker_wanted,
                                     .landed_through = worker_landed_through,
                                     .land = worker_land,
                                     .ctx = run};
    flush_pace_init(&run->pace, 10, 50);
    enum err err = account_book_new(&run->book);
    options.book = run->book;
    return err == ERR_OK ? worker_new(&options, &run->worker) : err;
}

/* New blocks do not come yet, all the rest goes on beside the replay. */
static void step_beside(struct run *run)
{
    switch (draw(run, 6)) {
    case 0:
        worker_work(run);
        break;
    case 1:
        land_step(run);
        break;
    case 2:
        upload_work(run, 1);
        break;
    case 3:
        if (core_journal_step(&run->journal, 1 + draw(run, 4)) != ERR_OK)
            promise_note("    the journal fails");
        break;
    default:
        break;
    }
}

static enum err on_replayed(void *ctx, struct block *block)
{
    struct run *run = ctx;
    promise_note("    replays block %llu", (unsigned long long)block->number);
    deliver(run, block, true);
    step_beside(run);
    return ERR_OK;
}

/* As journal_start, pipeline_recover. */
static enum err replay(struct run *run, struct diag *diag)
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

static void down(struct run *run)
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

/* ---- looking ---- */

struct looking {
    struct run *run;
    const char *folder;
};

static enum err look_at(void *ctx, const char *name);

static void look_in(struct run *run, const char *folder)
{
    struct looking looking = {run, folder};
    need(fs_list(sim_disk_fs(run->disk), folder, look_at, &looking, NULL));
}

static void read_whole(struct run *run, const char *path, struct buf *content)
{
    const struct fs *fs = sim_disk_fs(run->disk);
    struct fs_file *file = NULL;
    struct fs_stat stat;
    size_t size = 0;
    buf_init(content, 4 * MIB);
    need(fs_stat(fs, path, &stat, NULL));
    need(buf_reserve(content, stat.size_bytes + 1));
    need(fs_open(fs, path, FS_READ, &file, NULL));
    need(fs_read(fs, file, 0, content->data, stat.size_bytes, &size, NULL));
    content->size = size;
    fs_close(fs, file);
}

static enum err look_at(void *ctx, const char *name)
{
    const struct looking *looking = ctx;
    struct run *run = looking->run;
    struct fs_stat stat;
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", looking->folder, name);
    need(fs_stat(sim_disk_fs(run->disk), path, &stat, NULL));
    size_t length = strlen(name);
    if (stat.is_folder) {
        look_in(run, path);
    } else if (length > 8 && strcmp(name + length - 8, ".parquet") == 0) {
        struct buf content;
        read_whole(run, path, &content);
        lake_look_object(&run->model, path + strlen(LAKE "/"), buf_bytes(&content));
        buf_fini(&content);
    }
    return ERR_OK;
}

static void look(struct run *run, bool is_final)
{
    lake_look_begin(&run->model);
    for (size_t i = 0; run->uses_s3 && i < run->s3.count; i++)
        lake_look_object(&run->model, run->s3.objects[i].key,
                         bytes_from(run->s3.objects[i].data, run->s3.objects[i].size));
    if (!run->uses_s3)
        look_in(run, LAKE);
    lake_look_end(&run->model, is_final);
}

/* While the service is down: what is landed and not uploaded must be in the spool, or at its key in
 * the folder store, which moves it; and now and then something is damaged. */
static void look_in_spool(struct run *run, bool may_damage)
{
    const struct fs *fs = sim_disk_fs(run->disk);
    struct spool *spool = NULL;
    const struct lake_cut *cut;
    need(spool_new(fs, JOURNAL, &spool));
    for (size_t cursor = 0; (cut = lake_pending_next(&run->model, &cursor));)
        for (uint32_t f = 0; f < cut->file_count; f++) {
            struct lake_file *file = &run->model.files[cut->files[f]];
            char path[SPOOL_PATH_SIZE];
            struct fs_stat stat;
            struct diag diag = {0};
            struct landed_file landed = {.key = bytes_from_text(file->key)};
            memcpy(landed.sha256, file->sha256, sizeof(landed.sha256));
            need(spool_path(spool, landed.key, path));
            bool is_there = fs_stat(fs, path, &stat, NULL) == ERR_OK;
            landed.size_bytes = is_there ? stat.size_bytes : 0;
            bool is_good = is_there && spool_verify(spool, &landed, NULL, &diag) == ERR_OK;
            if (is_good)
                file->is_damaged = false; /* made again */
            bool at_key = file->is_visible && (!run->uses_s3 || file->was_damaged);
            PROMISE(is_good || at_key || file->is_damaged || file->is_lost,
                    "%s is landed and not uploaded, and neither in the spool nor at its key",
                    file->key);
            if (!is_there || !may_damage || draw(run, 12) != 0)
                continue;
            file->is_damaged = file->was_damaged = true;
            if (draw(run, 2))
                sim_disk_flip(run->disk, path, draw(run, stat.size_bytes));
            else if (fs_unlink(fs, path, NULL) != ERR_OK)
                return spool_free(spool); /* the disk has its own idea */
            promise_note("  damage: spool file of %s", file->key);
        }
    spool_free(spool);
}

/* ---- crashes and starts ---- */

static void crash(struct run *run, bool may_damage)
{
    bool is_kill = draw(run, 3) == 0;
    const struct core *core = &run->journal.core;
    if (run->journal.is_open && core->segment_count > 0)
        run->model.retained_from = core->paused || core->past_half
                                       ? UINT64_MAX /* what is landed may go at any moment */
                                       : core->segments[0].first_number;
    down(run);
    if (is_kill)
        sim_disk_kill(run->disk);
    else
        sim_disk_power_cut(run->disk);
    run->crashes++;
    promise_note("%s", is_kill ? "KILL" : "POWER CUT");
    look(run, false);
    look_in_spool(run, may_damage && draw(run, 3) == 0);
}

static bool try_start(struct run *run)
{
    struct diag diag = {0};
    enum err err = journal_up(run, &diag);
    if (err == ERR_OK)
        err = lake_up(run, &diag);
    if (err == ERR_OK)
        err = worker_up(run);
    if (err == ERR_OK)
        err = replay(run, &diag);
    run->is_up = err == ERR_OK && !is_down(run);
    promise_note("%s", run->is_up ? "UP" : diag.text);
    return run->is_up;
}

static void start(struct run *run, bool may_fail)
{
    for (int attempt = 0; !run->is_up; attempt++) {
        may_fail = may_fail && attempt < 5;
        sim_disk_fault(run->disk, SIM_FAULT_NONE, 0);
        if (may_fail && draw(run, 3) == 0)
            sim_disk_fault(run->disk, draw(run, 4) ? SIM_FAULT_CRASH : SIM_FAULT_IO,
                           1 + draw(run, 40));
        if (try_start(run))
            break;
        PROMISE(may_fail, "it does not start");
        crash(run, may_fail);
    }
    if (may_fail)
        sim_disk_fault(run->disk, SIM_FAULT_NONE, 0);
}

/* ---- the schedule ---- */

static void arm_fault(struct run *run)
{
    static const enum sim_fault faults[] = {SIM_FAULT_CRASH, SIM_FAULT_CRASH, SIM_FAULT_CRASH,
                                            SIM_FAULT_IO,    SIM_FAULT_IO,    SIM_FAULT_SHORT,
                                            SIM_FAULT_SPACE};
    if (draw(run, 8) == 0)
        sim_disk_fault(run->disk, faults[draw(run, 7)], 1 + draw(run, 20));
    else if (draw(run, 12) == 0)
        sim_disk_fault(run->disk, SIM_FAULT_NONE, 0); /* room again */
}

/* One of several things at once is away for a while. */
static void weather(struct run *run)
{
    run->s3.is_away = draw(run, 3) == 0;
    struct worker_stats stats;
    worker_stats_get(run->worker, &stats);
    /* a block that is taken in waits for the catalog, in earnest */
    run->catalog.away = stats.queue_blocks == 0 && draw(run, 2) == 0;
    worker_step(run->worker);
    run->catalog.away = false;
    sim_disk_advance(run->disk, (int64_t)draw(run, 30) * NS_PER_S);
}

static void step(struct run *run)
{
    uint64_t dice = draw(run, 100);
    arm_fault(run);
    if (dice < 30) {
        if (!run->journal.core.paused)
            message_block(run);
    } else if (dice < 50) {
        if (core_journal_step(&run->journal, 1 + draw(run, 8)) != ERR_OK)
            promise_note("    the journal fails");
    } else if (dice < 60) {
        worker_work(run);
    } else if (dice < 72) {
        land_step(run);
    } else if (dice < 86) {
        upload_work(run, 1 + draw(run, 4));
    } else if (dice < 92) {
        if (!housekeep(run))
            crash(run, true);
    } else if (dice < 95) {
        weather(run);
    } else if (dice < 97) {
        if (!is_down(run)) {
            look(run, false);
            look_in_spool(run, draw(run, 4) == 0);
        }
    } else if (dice < 98) {
        crash(run, true);
    }
    if (run->is_up && is_down(run))
        crash(run, true);
}

/* All goes well from here: what is left must come through. */
static void drain(struct run *run)
{
    sim_disk_fault(run->disk, SIM_FAULT_NONE, 0);
    run->s3.is_away = false;
    run->s3.trouble_percent = 0;
    for (int round = 0; round < DRAIN_ROUNDS; round++) {
        for (unsigned d = 0; d < LAKE_DATASETS; d++) {
            char id[8];
            snprintf(id, sizeof(id), "d%u", d);
            worker_force(run->worker, hash_bytes(bytes_from_text(id)));
        }
        sim_disk_advance(run->disk, 31 * NS_PER_S);
        worker_step(run->worker);
        while (run->job_count > 0)
            land_step(run);
        while (run->journal.queue_count > 0)
            need(core_journal_step(&run->journal, CORE_JOURNAL_QUEUE_MAX));
        upload_work(run, 1000);
        while (run->journal.queue_count > 0)
            need(core_journal_step(&run->journal, CORE_JOURNAL_QUEUE_MAX));
        upload_work(run, 1000);
        if (lake_outstanding(&run->model) == 0)
            return;
    }
}

static enum err on_spool_name(void *ctx, const char *name)
{
    (void)ctx;
    PROMISE(strcmp(name, "damaged") == 0, "%s is left in the spool", name);
    return ERR_OK;
}

static void finish(struct run *run)
{
    promise_note("DRAIN");
    drain(run);
    crash(run, false);
    start(run, false);
    drain(run);
    struct upload_stats stats;
    upload_stats_get(run->upload, &stats);
    PROMISE(lake_outstanding(&run->model) == 0, "%zu things are left undone: %s",
            lake_outstanding(&run->model), stats.last_error);
    look(run, true);
    need(fs_list(sim_disk_fs(run->disk), JOURNAL "/spool", on_spool_name, NULL, NULL));
    PROMISE(run->journal.core.ledger.pending_count == 0, "the ledger has pending cuts");
    down(run);
}

static void run_init(struct run *run, uint64_t seed)
{
    run->disk = sim_disk_new(seed, 64 * SEGMENT_BYTES);
    lake_model_init(&run->model);
    fake_catalog_init(&run->catalog);
    core_journal_init(&run->journal);
    run->journal.on_applied = on_applied;
    run->journal.ctx = run;
    uint64_t kind = draw(run, 5);
    run->uses_s3 = kind < 2;
    if (kind == 4)
        sim_disk_mount(run->disk, LAKE);
    fake_s3_init(&run->s3, sim_disk_fs(run->disk));
    run->s3.honours_condition = kind == 0;
    run->s3.draw = draw_of;
    run->s3.ctx = run;
    run->s3.trouble_percent = draw(run, 2) ? 0 : 25;
    run->journal_max_bytes = (5 + draw(run, 3) * 6) * SEGMENT_BYTES;
    run->flush_max_bytes = draw(run, 3) ? 64 * MIB : 200;
    need(fs_make_folders(sim_disk_fs(run->disk), LAKE, NULL));
}

static void run_fini(struct run *run)
{
    core_journal_fini(&run->journal);
    for (size_t i = 0; i < run->parcel_count; i++)
        block_unref(run->parcels[i].block);
    fake_s3_fini(&run->s3);
    fake_catalog_fini(&run->catalog);
    lake_model_fini(&run->model);
    sim_disk_free(run->disk);
}

static void run_seed(uint64_t seed, bool is_verbose, struct totals *totals)
{
    struct run *run = mem_zalloc(1, sizeof(*run));
    if (!run)
        abort();
    promise_begin(seed, is_verbose);
    run_init(run, seed);
    start(run, true);
    for (uint64_t steps = 20 + draw(run, 120); steps > 0; steps--) {
        step(run);
        if (!run->is_up)
            start(run, true);
    }
    finish(run);
    totals->schedules++;
    totals->crashes += run->crashes;
    totals->files += run->model.visible_count;
    totals->messages += run->model.message_last;
    totals->redone += run->model.redone_count;
    totals->lost += run->model.lost_count;
    run_fini(run);
    mem_free(run);
}

int main(int argc, char **argv)
{
    bool is_verbose = argc > 1 && strcmp(argv[argc - 1], "--verbose") == 0;
    int numbers = argc - 1 - is_verbose;
    uint64_t count = numbers > 0 ? strtoull(argv[1], NULL, 10) : 300;
    uint64_t first = numbers > 1 ? strtoull(argv[2], NULL, 10) : 1;
    struct totals totals = {0};
    for (uint64_t seed = first; seed < first + count; seed++)
        run_seed(seed, is_verbose, &totals);
    printf("%llu schedules, %llu crashes, %llu messages in %llu files, %llu cuts made again, %llu "
           "files lost and reported: every promise held\n",
           (unsigned long long)totals.schedules, (unsigned long long)totals.crashes,
           (unsigned long long)totals.messages, (unsigned long long)totals.files,
           (unsigned long long)totals.redone, (unsigned long long)totals.lost);
    return 0;
}
