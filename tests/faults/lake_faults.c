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
#include "support/lake_run.h"
#include "support/promise.h"

#include <stdio.h>
#include <stdlib.h>

#define DRAIN_ROUNDS 60
#define DAY_START_US 1772582400000000 /* 2026-03-04T00:00:00Z */

struct totals {
    uint64_t schedules, crashes, files, messages, redone, lost;
};

static void need(enum err err)
{
    PROMISE(err == ERR_OK, "the simulation itself failed: %s", err_text(err));
}

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

static void message_add(struct lake_run *run, struct block *block, uint32_t route, uint32_t dataset)
{
    char payload[128] = "[]";
    struct buf extras;
    uint32_t arrival_hour = 5 + (uint32_t)lake_run_draw(run, 2),
             event_hour = (uint32_t)lake_run_draw(run, 3);
    struct lake_message message = {.dataset = (uint8_t)dataset,
                                   .is_dead_letter = lake_run_draw(run, 10) == 0,
                                   .is_silent = lake_run_draw(run, 20) == 0};
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

static void padding_add(struct lake_run *run, struct block *block)
{
    static const uint8_t padding[20000];
    if (lake_run_draw(run, 3) == 0)
        need(block_add_record(block, (enum record_kind)200,
                              bytes_from(padding, lake_run_draw(run, sizeof(padding)))));
}

/* A block of a few messages, submitted. */
static void message_block(struct lake_run *run)
{
    struct block *block = NULL;
    uint32_t first = run->model.message_last + 1;
    if (run->model.message_last + 16 > LAKE_MESSAGES_MAX ||
        run->journal.queue_count + 16 > CORE_JOURNAL_QUEUE_MAX)
        return;
    need(block_new(4096, &block));
    for (uint32_t routes = 1 + (uint32_t)lake_run_draw(run, 3); routes > 0; routes--) {
        uint32_t route, dataset = (uint32_t)lake_run_draw(run, LAKE_DATASETS);
        route_add(block, dataset, &route);
        for (uint32_t m = (uint32_t)lake_run_draw(run, 4); m > 0; m--)
            message_add(run, block, route, dataset);
    }
    padding_add(run, block);
    run->column += lake_run_draw(run, 6) == 0;
    promise_note("  messages %u to %u", first, run->model.message_last);
    lake_run_submit(run, block, first);
}

/* ---- looking ---- */

struct looking {
    struct lake_run *run;
    const char *folder;
};

static enum err look_at(void *ctx, const char *name);

static void look_in(struct lake_run *run, const char *folder)
{
    struct looking looking = {run, folder};
    need(fs_list(sim_disk_fs(run->disk), folder, look_at, &looking, NULL));
}

static void read_whole(struct lake_run *run, const char *path, struct buf *content)
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
    struct lake_run *run = looking->run;
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
        lake_look_object(&run->model, path + strlen(LAKE_RUN_LAKE "/"), buf_bytes(&content));
        buf_fini(&content);
    }
    return ERR_OK;
}

static void look(struct lake_run *run, bool is_final)
{
    lake_look_begin(&run->model);
    for (size_t i = 0; run->uses_s3 && i < run->s3.count; i++)
        lake_look_object(&run->model, run->s3.objects[i].key,
                         bytes_from(run->s3.objects[i].data, run->s3.objects[i].size));
    if (!run->uses_s3)
        look_in(run, LAKE_RUN_LAKE);
    lake_look_end(&run->model, is_final);
}

/* While the service is down: what is landed and not uploaded must be in the spool, or at its key in
 * the folder store, which moves it; and now and then something is damaged. */
static void look_in_spool(struct lake_run *run, bool may_damage, bool is_kill)
{
    const struct fs *fs = sim_disk_fs(run->disk);
    struct spool *spool = NULL;
    const struct lake_cut *cut;
    need(spool_new(fs, LAKE_RUN_JOURNAL, &spool));
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
            if (is_good && !is_kill)      /* else the next power cut may take it back */
                file->is_damaged = false; /* made again */
            bool at_key = file->is_visible && (!run->uses_s3 || file->was_damaged);
            PROMISE(is_good || at_key || file->is_damaged || file->is_lost,
                    "%s is landed and not uploaded, and neither in the spool nor at its key",
                    file->key);
            if (!is_there || !may_damage || lake_run_draw(run, 12) != 0)
                continue;
            lake_damaged(&run->model, file->key);
            if (lake_run_draw(run, 2))
                sim_disk_flip(run->disk, path, lake_run_draw(run, stat.size_bytes));
            else if (fs_unlink(fs, path, NULL) != ERR_OK)
                return spool_free(spool); /* the disk has its own idea */
            promise_note("  damage: spool file of %s", file->key);
        }
    spool_free(spool);
}

/* ---- crashes and starts ---- */

static void crash(struct lake_run *run, bool may_damage)
{
    bool is_kill = lake_run_draw(run, 3) == 0;
    const struct core *core = &run->journal.core;
    if (run->journal.is_open && core->segment_count > 0)
        run->model.retained_from = core->paused || core->past_half
                                       ? UINT64_MAX /* what is landed may go at any moment */
                                       : core->segments[0].first_number;
    lake_run_down(run);
    if (is_kill)
        sim_disk_kill(run->disk);
    else
        sim_disk_power_cut(run->disk);
    run->crashes++;
    promise_note("%s", is_kill ? "KILL" : "POWER CUT");
    look(run, false);
    look_in_spool(run, may_damage && lake_run_draw(run, 3) == 0, is_kill);
}

static void start(struct lake_run *run, bool may_fail)
{
    for (int attempt = 0; !run->is_up; attempt++) {
        may_fail = may_fail && attempt < 5;
        sim_disk_fault(run->disk, SIM_FAULT_NONE, 0);
        if (may_fail && lake_run_draw(run, 3) == 0)
            sim_disk_fault(run->disk, lake_run_draw(run, 4) ? SIM_FAULT_CRASH : SIM_FAULT_IO,
                           1 + lake_run_draw(run, 40));
        if (lake_run_up(run))
            break;
        PROMISE(may_fail, "it does not start");
        crash(run, may_fail);
    }
    if (may_fail)
        sim_disk_fault(run->disk, SIM_FAULT_NONE, 0);
}

/* ---- the schedule ---- */

static void arm_fault(struct lake_run *run)
{
    static const enum sim_fault faults[] = {SIM_FAULT_CRASH, SIM_FAULT_CRASH, SIM_FAULT_CRASH,
                                            SIM_FAULT_IO,    SIM_FAULT_IO,    SIM_FAULT_SHORT,
                                            SIM_FAULT_SPACE};
    if (lake_run_draw(run, 8) == 0)
        sim_disk_fault(run->disk, faults[lake_run_draw(run, 7)], 1 + lake_run_draw(run, 20));
    else if (lake_run_draw(run, 12) == 0)
        sim_disk_fault(run->disk, SIM_FAULT_NONE, 0); /* room again */
}

/* One of several things at once is away for a while. */
static void weather(struct lake_run *run)
{
    run->s3.is_away = lake_run_draw(run, 3) == 0;
    struct worker_stats stats;
    worker_stats_get(run->worker, &stats);
    /* a block that is taken in waits for the catalog, in earnest */
    run->catalog.away = stats.queue_blocks == 0 && lake_run_draw(run, 2) == 0;
    worker_step(run->worker);
    run->catalog.away = false;
    sim_disk_advance(run->disk, (int64_t)lake_run_draw(run, 30) * NS_PER_S);
}

static void step(struct lake_run *run)
{
    uint64_t dice = lake_run_draw(run, 100);
    arm_fault(run);
    if (dice < 30) {
        if (!run->journal.core.paused)
            message_block(run);
    } else if (dice < 50) {
        if (core_journal_step(&run->journal, 1 + lake_run_draw(run, 8)) != ERR_OK)
            promise_note("    the journal fails");
    } else if (dice < 60) {
        lake_run_work(run);
    } else if (dice < 72) {
        lake_run_land(run);
    } else if (dice < 86) {
        lake_run_upload(run, 1 + lake_run_draw(run, 4));
    } else if (dice < 92) {
        if (!lake_run_housekeep(run))
            crash(run, true);
    } else if (dice < 95) {
        weather(run);
    } else if (dice < 97) {
        if (!sim_disk_crashed(run->disk)) {
            look(run, false);
            look_in_spool(run, lake_run_draw(run, 4) == 0, true);
        }
    } else if (dice < 98) {
        crash(run, true);
    }
    if (run->is_up && sim_disk_crashed(run->disk))
        crash(run, true);
}

/* At the limit blocks wait until what LANDED and UPLOADED make free is there. */
static void queue_write(struct lake_run *run)
{
    for (int tries = 0; run->journal.queue_count > 0 && tries < 3; tries++) {
        enum err err = core_journal_step(&run->journal, CORE_JOURNAL_QUEUE_MAX);
        PROMISE(err == ERR_OK || err == ERR_NO_SPACE, "the simulation itself failed: %s",
                err_text(err));
        if (err != ERR_OK)
            PROMISE(lake_run_housekeep(run), "the journal cannot free space");
    }
}

/* All goes well from here: what is left must come through. */
static void drain(struct lake_run *run)
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
            lake_run_land(run);
        queue_write(run);
        lake_run_upload(run, 1000);
        queue_write(run);
        lake_run_upload(run, 1000);
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

static void finish(struct lake_run *run)
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
    need(fs_list(sim_disk_fs(run->disk), LAKE_RUN_JOURNAL "/spool", on_spool_name, NULL, NULL));
    PROMISE(run->journal.core.ledger.pending_count == 0, "the ledger has pending cuts");
    lake_run_down(run);
}

static uint64_t draw_of(void *ctx, uint64_t below)
{
    return lake_run_draw(ctx, below);
}

static bool is_at_once(void *ctx)
{
    return lake_run_draw(ctx, 4) == 0;
}

static void run_init(struct lake_run *run, uint64_t seed)
{
    run->disk = sim_disk_new(seed, 64 * LAKE_RUN_SEGMENT_BYTES);
    lake_model_init(&run->model);
    fake_catalog_init(&run->catalog);
    core_journal_init(&run->journal);
    run->journal.on_applied = lake_run_applied;
    run->journal.ctx = run;
    run->journal.is_at_once = is_at_once;
    uint64_t kind = lake_run_draw(run, 5);
    run->uses_s3 = kind < 2;
    if (kind == 4)
        sim_disk_mount(run->disk, LAKE_RUN_LAKE);
    fake_s3_init(&run->s3, sim_disk_fs(run->disk));
    run->s3.honours_condition = kind == 0;
    run->s3.draw = draw_of;
    run->s3.ctx = run;
    run->s3.trouble_percent = lake_run_draw(run, 2) ? 0 : 25;
    run->journal_max_bytes = (5 + lake_run_draw(run, 3) * 6) * LAKE_RUN_SEGMENT_BYTES;
    run->flush_max_bytes = lake_run_draw(run, 3) ? 64 * MIB : 200;
    need(fs_make_folders(sim_disk_fs(run->disk), LAKE_RUN_LAKE, NULL));
}

static void run_fini(struct lake_run *run)
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
    struct lake_run *run = mem_zalloc(1, sizeof(*run));
    if (!run)
        abort();
    promise_begin(seed, is_verbose);
    run_init(run, seed);
    start(run, true);
    for (uint64_t steps = 20 + lake_run_draw(run, 120); steps > 0; steps--) {
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
    if (count == 0 || first == 0) {
        fprintf(stderr, "usage: %s [SCHEDULES [FIRST-SEED]] [--verbose]\n", argv[0]);
        return 2;
    }
    for (uint64_t seed = first; seed < first + count; seed++)
        run_seed(seed, is_verbose, &totals);
    printf("%llu schedules, %llu crashes, %llu messages in %llu files, %llu cuts made again, %llu "
           "files lost and reported: every promise held\n",
           (unsigned long long)totals.schedules, (unsigned long long)totals.crashes,
           (unsigned long long)totals.messages, (unsigned long long)totals.files,
           (unsigned long long)totals.redone, (unsigned long long)totals.lost);
    return 0;
}
