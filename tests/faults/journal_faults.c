/*
 * Crash schedules for the journal's core: `journal_faults [count [first_seed]]`.
 *
 * Each seed draws a workload (messages, groups, states, identities, LANDED, UPLOADED, empty blocks,
 * segment rolls, redo) over a simulated disk with small segments, and faults in it: a power cut or
 * a kill at any operation, failing writes and syncs, a full disk. After each crash the core
 * recovers and is compared with a model, a list of what was acknowledged and what was on its way:
 *
 *   - the log ends at or behind the last acknowledged block, at most at the last one on its way,
 * and never inside a group;
 *   - the replay gives each message of it that is not landed exactly once, in order, under its
 *     number, and no other: nothing landed comes back, nothing void rises;
 *   - pending cuts, landed positions, states, identities are the model's; no damage is reported.
 *
 * To extend it: add a kind of entry to enum entry_kind, draw it in draw_item, apply it to the model
 * in model_apply, and check it in check_recovered.
 */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "journal/core.h"
#include "support/sim_disk.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DATASETS      4
#define SOURCES       2
#define IDENTIFIERS   24
#define KEYS          3
#define LOG_MAX       4000
#define CUTS_MAX      2000
#define BATCH_MAX     8
#define SEGMENT_BYTES (64 * KIB)
#define FOLDER        "/journal"

struct entry {
    enum block_kind kind;
    uint16_t flags;
    uint32_t seq; /* names the block; message m of it has payload "seq.m" */
    uint32_t dataset, source, messages, padding;
    bool identities, session, free_some, qos_2;
    uint64_t freed_through;
    uint16_t identifier;
    int key; /* -1: no state */
    uint32_t value;
    uint64_t landed_cut, landed_after, landed_through, uploaded_cut;
};

struct identity {
    uint64_t hash, block;
    bool qos_2;
};

struct model {
    uint64_t landed[DATASETS];
    struct identity identities[SOURCES][IDENTIFIERS];
    uint32_t states[SOURCES][KEYS]; /* 0: gone */
    struct {
        uint64_t cut, after, through;
        uint32_t dataset;
    } pending[CUTS_MAX];
    size_t pending_count;
    uint64_t cut_last;
};

struct run {
    uint64_t seed;
    struct sim_disk *disk;
    struct core core;
    bool open;
    struct entry log[LOG_MAX + 1]; /* by number; [1, acked] */
    uint64_t acked;
    struct entry flight[BATCH_MAX + 1]; /* submitted, not acknowledged */
    size_t flight_count;
    struct model model; /* after [1, acked] */
    uint32_t seq_last;
    uint64_t cut_last;
    uint64_t redo_cut; /* asked for after the last recovery */
    uint32_t crashes, rolls;
};

static uint64_t draw(struct run *run, uint64_t below)
{
    return sim_random(run->disk, below);
}

__attribute__((noreturn, format(printf, 2, 3))) static void broken(const struct run *run,
                                                                   const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "seed %llu, after %u crashes: ", (unsigned long long)run->seed, run->crashes);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

#define CHECK(run, condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            broken(run, __VA_ARGS__);                                                              \
    } while (0)

static void need(const struct run *run, enum err err)
{
    CHECK(run, err == ERR_OK, "the test itself failed: %s", err_text(err));
}

/* JOURNAL_FAULTS_TRACE=1 tells the story of a seed. */
static void trace(const struct run *run, const char *what, uint64_t value)
{
    static int wanted = -1;
    if (wanted < 0)
        wanted = getenv("JOURNAL_FAULTS_TRACE") != NULL;
    if (!wanted)
        return;
    printf("%6llu %s %llu; acked %llu, applied %llu:",
           (unsigned long long)sim_disk_operations(run->disk), what, (unsigned long long)value,
           (unsigned long long)run->acked, (unsigned long long)run->core.ledger.applied_through);
    for (size_t i = run->core.segment_count > 4 ? run->core.segment_count - 4 : 0;
         i < run->core.segment_count; i++)
        printf(" [%u: gen %llu from %llu carried %llu]", run->core.segments[i].slot,
               (unsigned long long)(run->core.segments[i].epoch >> 32),
               (unsigned long long)run->core.segments[i].first_number,
               (unsigned long long)run->core.segments[i].carried_through);
    printf("\n");
}

/* ---- the model ---- */

static uint64_t hash_of(const struct entry *entry, uint32_t message)
{
    return (uint64_t)entry->seq * 1000 + message;
}

static uint16_t identifier_of(const struct entry *entry, uint32_t message)
{
    return (uint16_t)((entry->identifier + message) % IDENTIFIERS * 300);
}

static void model_data(struct model *model, const struct entry *entry, uint64_t number)
{
    struct identity *identities = model->identities[entry->source];
    if (entry->session)
        memset(identities, 0, sizeof(model->identities[0]));
    for (int i = 0; entry->free_some && i < IDENTIFIERS; i++)
        if (!identities[i].qos_2 && identities[i].block <= entry->freed_through)
            identities[i] = (struct identity){0};
    if (entry->key >= 0)
        model->states[entry->source][entry->key] = entry->value;
    for (uint32_t m = 0; entry->identities && m < entry->messages; m++)
        identities[identifier_of(entry, m) / 300] =
            (struct identity){hash_of(entry, m), number, entry->qos_2};
}

static void pending_remove(struct model *model, size_t index)
{
    memmove(&model->pending[index], &model->pending[index + 1],
            (--model->pending_count - index) * sizeof(model->pending[0]));
}

static void model_control(struct model *model, const struct entry *entry)
{
    for (size_t i = model->pending_count; i-- > 0;)
        if ((entry->uploaded_cut && model->pending[i].cut == entry->uploaded_cut) ||
            (entry->landed_cut && model->pending[i].dataset == entry->dataset &&
             model->pending[i].after == entry->landed_after &&
             model->pending[i].through == entry->landed_through))
            pending_remove(model, i);
    if (!entry->landed_cut)
        return;
    size_t at = model->pending_count++;
    model->pending[at].cut = entry->landed_cut;
    model->pending[at].after = entry->landed_after;
    model->pending[at].through = entry->landed_through;
    model->pending[at].dataset = entry->dataset;
    if (entry->landed_through > model->landed[entry->dataset])
        model->landed[entry->dataset] = entry->landed_through;
    if (entry->landed_cut > model->cut_last)
        model->cut_last = entry->landed_cut;
}

static void model_apply(struct run *run, const struct entry *entry)
{
    uint64_t number = ++run->acked;
    run->log[number] = *entry;
    if (entry->kind == BLOCK_DATA)
        model_data(&run->model, entry, number);
    else if (entry->kind == BLOCK_CONTROL)
        model_control(&run->model, entry);
}

static void flight_acked(struct run *run, size_t count)
{
    for (size_t i = 0; i < count; i++)
        model_apply(run, &run->flight[i]);
    run->flight_count -= count;
    memmove(run->flight, run->flight + count, run->flight_count * sizeof(run->flight[0]));
}

/* ---- entries to blocks ---- */

static const char *name_of(char *text, const char *prefix, uint32_t index)
{
    snprintf(text, 32, "%s%u", prefix, index);
    return text;
}

static void block_data(struct run *run, struct block *block, const struct entry *entry)
{
    char source[32], dataset[32], key[32], payload[64];
    struct buf body;
    uint32_t route_index;
    struct route_view route = {
        .source_id = bytes_from_text(name_of(source, "s", entry->source)),
        .dataset_id = bytes_from_text(name_of(dataset, "d", entry->dataset)),
    };
    buf_init(&body, 1 << 20);
    if (entry->session) {
        need(run, record_session_encode(&body, route.source_id));
        need(run, block_add_record(block, RECORD_SESSION, buf_bytes(&body)));
        buf_clear(&body);
    }
    if (entry->free_some) {
        need(run, record_identities_free_encode(&body, route.source_id, entry->freed_through));
        need(run, block_add_record(block, RECORD_IDENTITY_FREE, buf_bytes(&body)));
        buf_clear(&body);
    }
    if (entry->key >= 0) {
        snprintf(payload, sizeof(payload), "%u", entry->value);
        need(run, record_state_encode(&body, route.source_id,
                                      bytes_from_text(name_of(key, "k", (uint32_t)entry->key)),
                                      bytes_from(payload, entry->value ? strlen(payload) : 0)));
        need(run, block_add_record(block, RECORD_STATE, buf_bytes(&body)));
        buf_clear(&body);
    }
    need(run, route_encode(&route, &body));
    need(run, block_add_route(block, buf_bytes(&body), hash_bytes(route.dataset_id), &route_index));
    for (uint32_t m = 0; m < entry->messages; m++) {
        snprintf(payload, sizeof(payload), "%u.%u", entry->seq, m);
        struct message_view message = {.payload = bytes_from_text(payload),
                                       .flags =
                                           (uint8_t)((entry->identities ? MESSAGE_IDENTITY : 0) |
                                                     (entry->qos_2 ? MESSAGE_QOS_2 : 0)),
                                       .packet_identifier = identifier_of(entry, m),
                                       .identity_hash = hash_of(entry, m)};
        need(run, block_add_message(block, &message));
    }
    uint8_t *padding = mem_zalloc(1, entry->padding + 1);
    need(run, padding ? ERR_OK : ERR_NO_MEMORY);
    need(run, block_add_record(block, (enum record_kind)200, bytes_from(padding, entry->padding)));
    mem_free(padding);
    buf_fini(&body);
}

static void block_control(struct run *run, struct block *block, const struct entry *entry)
{
    struct buf body;
    char dataset[32];
    buf_init(&body, 1 << 20);
    if (entry->landed_cut) {
        struct landed_file file = {.key = BYTES_LITERAL("bronze/key"), .rows = entry->seq};
        struct landed landed = {.dataset_id =
                                    bytes_from_text(name_of(dataset, "d", entry->dataset)),
                                .source_id = BYTES_LITERAL("s0"),
                                .after = entry->landed_after,
                                .through = entry->landed_through,
                                .first = {entry->landed_after + 1, 0},
                                .cut_id = entry->landed_cut,
                                .files = &file,
                                .file_count = 1};
        need(run, record_landed_encode(&body, &landed));
        need(run, block_add_record(block, RECORD_LANDED, buf_bytes(&body)));
    } else {
        need(run, record_uploaded_encode(&body, entry->uploaded_cut));
        need(run, block_add_record(block, RECORD_UPLOADED, buf_bytes(&body)));
    }
    buf_fini(&body);
}

static struct block *block_of(struct run *run, const struct entry *entry)
{
    struct block *block = NULL;
    need(run, block_new(4096, &block));
    if (entry->kind == BLOCK_DATA)
        block_data(run, block, entry);
    else if (entry->kind == BLOCK_CONTROL)
        block_control(run, block, entry);
    return block;
}

/* ---- drawing ---- */

static struct entry draw_data(struct run *run)
{
    return (struct entry){
        .kind = BLOCK_DATA,
        .seq = ++run->seq_last,
        .dataset = (uint32_t)draw(run, DATASETS),
        .source = (uint32_t)draw(run, SOURCES),
        .messages = (uint32_t)draw(run, 6),
        .padding = draw(run, 4) ? 0 : (uint32_t)draw(run, draw(run, 10) ? 9000 : 150000),
        .identities = draw(run, 2),
        .qos_2 = draw(run, 4) == 0,
        .session = draw(run, 20) == 0,
        .free_some = draw(run, 6) == 0,
        .freed_through = draw(run, run->acked + 1),
        .identifier = (uint16_t)draw(run, IDENTIFIERS),
        .key = draw(run, 3) ? -1 : (int)draw(run, KEYS),
        .value = draw(run, 4) ? run->seq_last : 0,
    };
}

static bool draw_landed(struct run *run, struct entry *entry)
{
    uint32_t dataset = (uint32_t)draw(run, DATASETS);
    uint64_t after = run->model.landed[dataset];
    for (size_t i = 0; i < run->model.pending_count && run->redo_cut; i++)
        if (run->model.pending[i].cut == run->redo_cut) {
            *entry = (struct entry){.kind = BLOCK_CONTROL,
                                    .dataset = run->model.pending[i].dataset,
                                    .landed_cut = ++run->cut_last,
                                    .landed_after = run->model.pending[i].after,
                                    .landed_through = run->model.pending[i].through};
            run->redo_cut = 0;
            return true;
        }
    if (run->acked <= after || run->model.pending_count + BATCH_MAX >= CUTS_MAX)
        return false;
    *entry = (struct entry){
        .kind = BLOCK_CONTROL,
        .dataset = dataset,
        .landed_cut = ++run->cut_last,
        .landed_after = after,
        .landed_through = draw(run, 2) ? run->acked : after + 1 + draw(run, run->acked - after)};
    return true;
}

static bool draw_uploaded(struct run *run, struct entry *entry)
{
    if (run->model.pending_count == 0)
        return false;
    *entry =
        (struct entry){.kind = BLOCK_CONTROL,
                       .uploaded_cut = run->model.pending[draw(run, run->model.pending_count)].cut};
    return true;
}

/* One batch; controls only alone, for they are drawn from what is acknowledged. */
static void draw_flight(struct run *run)
{
    struct entry control;
    run->flight_count = 0;
    uint64_t dice = draw(run, 10);
    if ((dice < 3 && draw_landed(run, &control)) || (dice == 3 && draw_uploaded(run, &control))) {
        run->flight[run->flight_count++] = control;
        return;
    }
    size_t count = 1 + (size_t)draw(run, BATCH_MAX);
    while (run->flight_count < count)
        run->flight[run->flight_count++] = draw_data(run);
    for (size_t i = 0; i + 1 < count; i++) /* some of them groups; the last never has MORE */
        run->flight[i].flags = draw(run, 4) == 0 ? BLOCK_MORE : 0;
}

/* ---- recovery against the model ---- */

struct seen {
    struct run *run;
    uint64_t number_last;
};

static bool model_wants(const struct run *run, uint32_t dataset, uint64_t number, uint64_t *redo)
{
    *redo = 0;
    for (size_t i = 0; i < run->model.pending_count; i++)
        if (run->redo_cut == run->model.pending[i].cut &&
            run->model.pending[i].dataset == dataset && number > run->model.pending[i].after &&
            number <= run->model.pending[i].through)
            *redo = run->redo_cut;
    return *redo || number > run->model.landed[dataset];
}

static void expect_none_between(struct run *run, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n < to; n++) {
        const struct entry *entry = &run->log[n];
        uint64_t redo;
        if (entry->kind == BLOCK_DATA && entry->messages > 0 &&
            model_wants(run, entry->dataset, n, &redo))
            broken(run, "block %llu of dataset %u (seq %u) is lost", (unsigned long long)n,
                   entry->dataset, entry->seq);
    }
}

static enum err on_replayed(void *ctx, struct block *block)
{
    struct seen *seen = ctx;
    struct run *run = seen->run;
    uint64_t n = block->number, redo, redo_wanted;
    char dataset[32], payload[64];
    CHECK(run, n > seen->number_last && n <= run->acked, "block %llu came again or from nowhere",
          (unsigned long long)n);
    expect_none_between(run, seen->number_last + 1, n);
    seen->number_last = n;
    const struct entry *entry = &run->log[n];
    bool wanted = model_wants(run, entry->dataset, n, &redo_wanted);
    CHECK(run, entry->kind == BLOCK_DATA && wanted, "block %llu is landed and came back",
          (unsigned long long)n);
    CHECK(run,
          ledger_wanted(&run->core.ledger, bytes_from_text(name_of(dataset, "d", entry->dataset)),
                        n, &redo) &&
              redo == redo_wanted,
          "block %llu: wanted differs", (unsigned long long)n);
    CHECK(run, block->message_count == entry->messages, "block %llu is another block",
          (unsigned long long)n);
    for (uint32_t m = 0; m < entry->messages; m++) {
        struct message_view message;
        block_message_get(block, m, &message);
        snprintf(payload, sizeof(payload), "%u.%u", entry->seq, m);
        CHECK(run, bytes_equal_text(message.payload, payload), "block %llu holds '%.*s', not '%s'",
              (unsigned long long)n, (int)message.payload.size, (const char *)message.payload.data,
              payload);
    }
    return ERR_OK;
}

struct identities_seen {
    struct run *run;
    uint32_t source, count;
};

static void on_identity(void *ctx, uint16_t packet_identifier, uint64_t hash, uint64_t block,
                        bool qos_2)
{
    struct identities_seen *seen = ctx;
    const struct identity *want =
        &seen->run->model.identities[seen->source][packet_identifier / 300 % IDENTIFIERS];
    CHECK(seen->run, want->hash == hash && want->block == block && want->qos_2 == qos_2,
          "identity %u of source %u differs", packet_identifier, seen->source);
    seen->count++;
}

static void check_sources(struct run *run)
{
    char source[32], key[32], value[32];
    for (uint32_t s = 0; s < SOURCES; s++) {
        struct bytes id = bytes_from_text(name_of(source, "s", s));
        struct identities_seen seen = {run, s, 0};
        uint32_t count = 0;
        for (int i = 0; i < IDENTIFIERS; i++)
            count += run->model.identities[s][i].block != 0;
        ledger_identities(&run->core.ledger, id, on_identity, &seen);
        CHECK(run, seen.count == count, "source %u has %u identities, not %u", s, seen.count,
              count);
        for (uint32_t k = 0; k < KEYS; k++) {
            const struct buf *found =
                ledger_state(&run->core.ledger, id, bytes_from_text(name_of(key, "k", k)));
            snprintf(value, sizeof(value), "%u", run->model.states[s][k]);
            if (run->model.states[s][k] == 0)
                CHECK(run, !found, "state %u of source %u came back", k, s);
            else
                CHECK(run, found && bytes_equal_text(buf_bytes(found), value),
                      "state %u of source %u is not %s", k, s, value);
        }
    }
}

static void check_ledger(struct run *run)
{
    const struct ledger *ledger = &run->core.ledger;
    CHECK(run, ledger->pending_count == run->model.pending_count, "%zu cuts pending, not %zu",
          ledger->pending_count, run->model.pending_count);
    for (size_t i = 0; i < ledger->pending_count; i++)
        CHECK(run,
              ledger->pending[i]->landed.cut_id == run->model.pending[i].cut &&
                  ledger->pending[i]->landed.through == run->model.pending[i].through,
              "pending cut %zu differs", i);
    CHECK(run, ledger->cut_id_last >= run->model.cut_last, "cut ids would come again");
    check_sources(run);
}

static void check_recovered(struct run *run)
{
    struct seen seen = {.run = run};
    struct diag diag = {0};
    check_ledger(run);
    run->redo_cut = 0;
    if (run->model.pending_count > 0 && draw(run, 3) == 0) {
        uint64_t cut = run->model.pending[draw(run, run->model.pending_count)].cut;
        enum err err = core_redo(&run->core, cut);
        CHECK(run, err == ERR_OK || err == ERR_NOT_FOUND, "redo says %s", err_text(err));
        run->redo_cut = err == ERR_OK ? cut : 0;
    }
    enum err err = core_replay(&run->core, on_replayed, &seen, &diag);
    CHECK(run, err == ERR_OK, "replay: %s", diag.text);
    expect_none_between(run, seen.number_last + 1, run->acked + 1);
    CHECK(run, run->core.damage_count == 0, "damage: %s", run->core.damages[0]);
}

static void recovered_take(struct run *run)
{
    uint64_t last = run->core.ledger.applied_through;
    CHECK(run, last >= run->acked, "acknowledged up to %llu, recovered up to %llu",
          (unsigned long long)run->acked, (unsigned long long)last);
    CHECK(run, last - run->acked <= run->flight_count, "recovered up to %llu, which was never sent",
          (unsigned long long)last);
    size_t count = (size_t)(last - run->acked);
    CHECK(run, count == 0 || !(run->flight[count - 1].flags & BLOCK_MORE), "half a group at %llu",
          (unsigned long long)last);
    flight_acked(run, count);
    run->flight_count = 0;
}

static const struct journal_options *options_of(struct run *run)
{
    static struct journal_options options;
    options = (struct journal_options){.fs = sim_disk_fs(run->disk),
                                       .clock = sim_disk_clock(run->disk),
                                       .folder = FOLDER,
                                       .size_max_bytes = (run->seed % 4 ? 64 : 16) * SEGMENT_BYTES,
                                       .segment_bytes = SEGMENT_BYTES};
    return &options;
}

static void crash(struct run *run)
{
    trace(run, "before crash, in flight", run->flight_count);
    core_fini(&run->core);
    bool kill = draw(run, 3) == 0;
    if (kill)
        sim_disk_kill(run->disk);
    else
        sim_disk_power_cut(run->disk);
    run->open = false;
    run->crashes++;
    trace(run, "crash, kill", kill);
}

/* Opens it; recovery itself may be cut off, and tried again. */
static void recover(struct run *run)
{
    for (int attempt = 0; !run->open; attempt++) {
        struct diag diag = {0};
        if (attempt < 5 && draw(run, 4) == 0)
            sim_disk_fault(run->disk, draw(run, 4) ? SIM_FAULT_CRASH : SIM_FAULT_IO,
                           1 + draw(run, 12));
        enum err err = core_open(&run->core, options_of(run), &diag);
        run->open = err == ERR_OK && !sim_disk_crashed(run->disk);
        if (err == ERR_OK && !run->open)
            core_fini(&run->core);
        sim_disk_fault(run->disk, SIM_FAULT_NONE, 0);
        if (run->open)
            break;
        CHECK(run, attempt < 5, "cannot open: %s", diag.text);
        bool kill = draw(run, 3) == 0;
        if (kill)
            sim_disk_kill(run->disk);
        else
            sim_disk_power_cut(run->disk);
        trace(run, "recovery cut off, kill", kill);
    }
    trace(run, "recovered", 0);
    recovered_take(run);
    check_recovered(run);
}

/* ---- the run ---- */

static void arm_fault(struct run *run)
{
    static const enum sim_fault faults[] = {SIM_FAULT_CRASH, SIM_FAULT_CRASH, SIM_FAULT_CRASH,
                                            SIM_FAULT_IO,    SIM_FAULT_IO,    SIM_FAULT_SHORT,
                                            SIM_FAULT_SPACE};
    if (draw(run, 6) == 0)
        sim_disk_fault(run->disk, faults[draw(run, 7)], 1 + draw(run, 20));
}

/* Appends the flight until it is done, the machine crashes, or patience ends. */
static void append(struct run *run)
{
    struct core_item items[BATCH_MAX + 1];
    struct block *blocks[BATCH_MAX + 1];
    size_t total = run->flight_count, done_total = 0;
    for (size_t i = 0; i < total; i++) {
        const struct entry *entry = &run->flight[i];
        blocks[i] = block_of(run, entry);
        items[i] = (struct core_item){blocks[i], entry->kind, entry->flags, 7};
    }
    for (int attempt = 0; done_total < total && !sim_disk_crashed(run->disk); attempt++) {
        struct diag diag = {0};
        size_t done;
        enum err err =
            core_append(&run->core, items + done_total, total - done_total, &done, &diag);
        flight_acked(run, done);
        done_total += done;
        trace(run, "append says", err);
        CHECK(run, run->core.ledger.applied_through == run->acked, "the core's count differs");
        CHECK(run, err != ERR_OK || done_total == total, "not all done, and no error");
        if (err != ERR_OK && attempt >= 3)
            sim_disk_fault(run->disk, SIM_FAULT_NONE, 0); /* the disk gets well */
        if (err != ERR_OK && draw(run, 10) == 0)
            break; /* crash while failing */
    }
    for (size_t i = 0; i < total; i++)
        block_unref(blocks[i]);
    if (sim_disk_crashed(run->disk) || done_total < total)
        crash(run);
}

static void call_durable(struct run *run)
{
    run->flight_count = 0;
    if (run->core.uncalled && run->core.file)
        run->flight[run->flight_count++] = (struct entry){.kind = BLOCK_EMPTY, .key = -1};
    enum err err = core_call_durable(&run->core, NULL);
    if (err == ERR_OK)
        flight_acked(run, run->flight_count);
    else
        crash(run); /* whether the empty block is there is known only to a recovery */
}

static void step(struct run *run)
{
    uint64_t dice = draw(run, 20);
    arm_fault(run);
    if (dice < 14) {
        draw_flight(run);
        append(run);
    } else if (dice < 16) {
        call_durable(run);
    } else if (dice < 18) {
        core_space(&run->core);
        sim_disk_advance(run->disk, NS_PER_S);
        enum err err = core_free_space(&run->core, NULL);
        if (err != ERR_OK && (sim_disk_crashed(run->disk) || draw(run, 2)))
            crash(run);
    } else if (dice == 18) {
        if (run->core.file && core_roll(&run->core, 0, 0, NULL) != ERR_OK &&
            (sim_disk_crashed(run->disk) || draw(run, 2)))
            crash(run);
    } else {
        crash(run);
    }
    if (run->open && sim_disk_crashed(run->disk))
        crash(run);
}

static uint32_t run_seed(uint64_t seed)
{
    struct run *run = mem_zalloc(1, sizeof(*run));
    if (!run)
        abort();
    run->seed = seed;
    run->disk = sim_disk_new(seed, 256 * SEGMENT_BYTES);
    uint64_t steps = 10 + draw(run, 90); /* few get to the limit, where all waits */
    recover(run);
    for (uint64_t i = 0; i < steps && run->acked + BATCH_MAX < LOG_MAX; i++) {
        step(run);
        if (!run->open)
            recover(run);
    }
    crash(run);
    recover(run);
    uint32_t crashes = run->crashes;
    core_fini(&run->core);
    sim_disk_free(run->disk);
    mem_free(run);
    return crashes;
}

int main(int argc, char **argv)
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 300;
    uint64_t first = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint64_t crashes = 0;
    for (uint64_t seed = first; seed < first + count; seed++)
        crashes += run_seed(seed);
    printf("%llu schedules, %llu crashes: every promise held\n", (unsigned long long)count,
           (unsigned long long)crashes);
    return count > 0 && first > 0 ? 0 : 2; /* no number was given */
}
