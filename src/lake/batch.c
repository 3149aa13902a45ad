/*
 * The way of a message: its records are decoded into the columns of the dataset at once
 * (decode_record). A record with a field whose column is not pinned yet waits as text (deferred);
 * at the cut, or when many wait, the waiting ones are looked through, their columns are pinned, and
 * they are decoded too (resolve). So every value meets a column whose type is decided, and decided
 * by more than the first value that came along.
 *
 * Where memory is short (batch_options.lean) a batch has no schema at all until LEAN_RECORDS have
 * come or it is cut, and none again after a cut of so few: all wait as text, and the schema, which
 * is larger than those, is loaded when they are decoded.
 *
 * A block is all or nothing: batch_append only ever adds at the ends, and notes the ends before the
 * block, so that taking it out is cutting them off again. Waiting records are only resolved between
 * blocks.
 */
#include "lake/batch.h"

#include "base/alloc.h"
#include "lake/batch_watch.h"
#include "lake/cut.h"
#include "lake/dead_letter.h"
#include "lake/decode.h"
#include "lake/deferred.h"
#include "lake/origin.h"
#include "lake/pin.h"
#include "lake/records.h"
#include "lake/rows.h"

#include <assert.h>

/* Waiting records beyond either are resolved without a cut. */
#define RESOLVE_RECORDS 1000
#define RESOLVE_BYTES   (256 * KIB)
#define LEAN_RECORDS    64
#define PREFETCH_AHEAD  2 /* messages */

/* The ends before the open block. */
struct mark {
    bool open;
    size_t row_count;
    uint32_t partition_count;
    size_t deferred_count;
    size_t dead_count;
    size_t dedupe_mark;
    uint64_t rescued_values;
    struct batch_stats stats;
};

/* What the tally has been told of what is open. */
struct told {
    size_t row_count;
    size_t dead_count;
    uint64_t rescued_values;
    uint64_t messages;
    uint64_t repeated;
    uint64_t payload_bytes;
};

struct batch {
    struct batch_options options;
    struct bytes dataset_id;
    struct schema schema;
    struct decoder decoder;
    struct rows rows;
    struct deferred deferred;
    struct dead_letters dead;
    struct origins origins;
    struct dedupe *dedupe; /* from the first route that asks for it */
    struct batch_stats stats;
    struct mark mark;
    struct told told;
    uint64_t follows;    /* see batch_follow */
    size_t resolve_at;   /* waiting records, after a failure */
    size_t memory_bytes; /* of rows and leaves */
    struct batch_watch watch;
};

static bool is_lean(const struct batch *batch)
{
    return batch->options.lean && *batch->options.lean;
}

static enum err schema_make(struct batch *batch)
{
    return pin_open(&batch->schema, batch->dataset_id, &batch->memory_bytes, batch->options.catalog,
                    &batch->origins);
}

enum err batch_new(const struct batch_options *options, struct bytes dataset_id,
                   struct batch **ret_batch)
{
    struct batch *batch = mem_zalloc(1, sizeof(*batch));
    if (!batch)
        return ERR_NO_MEMORY;
    batch->options = *options;
    rows_init(&batch->rows, &batch->memory_bytes);
    deferred_init(&batch->deferred);
    dead_letters_init(&batch->dead);
    origins_init(&batch->origins);
    decoder_init(&batch->decoder, &batch->schema);
    batch->dataset_id = bytes_from(
        mem_dup(dataset_id.data ? dataset_id.data : (const uint8_t *)"", dataset_id.size),
        dataset_id.size);
    enum err err = batch->dataset_id.data ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK && !is_lean(batch))
        err = schema_make(batch);
    if (err != ERR_OK) {
        batch_free(batch);
        return err;
    }
    *ret_batch = batch;
    return ERR_OK;
}

void batch_free(struct batch *batch)
{
    if (!batch)
        return;
    batch_watch_end(&batch->watch, &batch->options);
    rows_clear(&batch->rows);
    deferred_fini(&batch->deferred);
    dead_letters_fini(&batch->dead);
    origins_fini(&batch->origins);
    dedupe_free(batch->dedupe);
    decoder_fini(&batch->decoder);
    schema_fini(&batch->schema);
    mem_free((void *)(uintptr_t)batch->dataset_id.data);
    mem_free(batch);
}

static void leaves_truncate(struct batch *batch, size_t rows)
{
    for (size_t i = 0; i < batch->schema.column_count; i++)
        if (column_is_leaf(batch->schema.columns[i]))
            leaf_truncate(&batch->schema.columns[i]->leaf, rows);
}

/* --- records ------------------------------------------------------------------------------- */

/* What the records of one message have in common. */
struct source {
    struct batch *batch;
    const struct route_view *route;
    int64_t arrival_us;
    struct position position;
    uint32_t origin;
    uint32_t route_index; /* in the block */
    uint32_t records;     /* so far */
    uint32_t repeated;    /* of them */
};

/* The record just decoded becomes a row. On failure its values are taken out again. */
static enum err row_add(const struct source *source)
{
    struct batch *batch = source->batch;
    const struct decoder *decoder = &batch->decoder;
    int64_t event_us = decoder->has_time ? decoder->time_us : source->arrival_us;
    struct row_time time = {event_us, source->arrival_us,
                            origin_partition_us(source->route, event_us, source->arrival_us)};
    enum err err = rows_add(&batch->rows, &time, source->origin, source->position,
                            buf_bytes(&decoder->rescued));
    if (err != ERR_OK) {
        leaves_truncate(batch, batch->rows.count);
        return err;
    }
    batch->stats.bad_timestamp += !decoder->has_time;
    return ERR_OK;
}

static void record_count(const struct source *source)
{
    struct batch_stats *stats = &source->batch->stats;
    stats->rows++;
    if (stats->first_us == 0 || source->arrival_us < stats->first_us)
        stats->first_us = source->arrival_us;
    if (source->arrival_us > stats->last_us)
        stats->last_us = source->arrival_us;
}

/* dedupe_key, before anything else is done with a record. */
static enum err is_repeated(struct source *source, struct bytes record, bool *ret_repeated)
{
    const struct route_view *route = source->route;
    struct dedupe_record seen = {.json = record,
                                 .field = route->dedupe_field,
                                 .window_us = route->dedupe_window_seconds * US_PER_S,
                                 .arrival_us = source->arrival_us,
                                 .place = {source->position.block, source->route_index,
                                           source->position.index, source->records++}};
    *ret_repeated = false;
    if (route->dedupe_field.size == 0)
        return ERR_OK;
    enum err err = dedupe_see(source->batch->dedupe, &seen, ret_repeated);
    source->repeated += *ret_repeated;
    return err;
}

/* A checked record. */
static enum err record_add(void *ctx, struct bytes record, uint32_t depth_max)
{
    struct source *source = ctx;
    struct batch *batch = source->batch;
    bool repeated;
    enum err seen = is_repeated(source, record, &repeated);
    if (seen != ERR_OK || repeated)
        return seen;
    struct decode_options options = {.time_field = source->route->timestamp_field,
                                     .depth_max = depth_max};
    struct deferred_record waiting = {.arrival_us = source->arrival_us,
                                      .position = source->position,
                                      .origin = source->origin,
                                      .before = (uint32_t)batch->rows.count};
    enum err err = ERR_AGAIN;
    const uint8_t *at = record.data;
    if (batch->schema.loaded)
        err = decode_record(&batch->decoder, &options, &at, record.data + record.size,
                            batch->rows.count);
    if (err == ERR_CONFLICT)
        err = decode_record_unique(&batch->decoder, &options, record, batch->rows.count);
    if (err == ERR_OK)
        err = row_add(source);
    else if (err == ERR_AGAIN)
        err = deferred_add(&batch->deferred, &waiting, record);
    else if (err != ERR_NO_MEMORY)
        err = ERR_BUG;
    if (err == ERR_OK)
        record_count(source);
    return err;
}

/* The usual payload, one object, checked and decoded in one pass. ERR_AGAIN: another way, please.
 */
static enum err object_add(const struct source *source, struct bytes payload)
{
    struct batch *batch = source->batch;
    struct decode_options options = {.time_field = source->route->timestamp_field,
                                     .depth_max = LIMIT_JSON_DEPTH};
    const uint8_t *at = payload.data;
    const uint8_t *end = payload.data + payload.size;
    enum err err = decode_record(&batch->decoder, &options, &at, end, batch->rows.count);
    if (err != ERR_OK)
        return err == ERR_NO_MEMORY ? err : ERR_AGAIN;
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
        at++;
    if (at != end) {
        leaves_truncate(batch, batch->rows.count);
        batch->decoder.rescued_values -= batch->decoder.rescued_count;
        return ERR_AGAIN;
    }
    err = row_add(source);
    if (err == ERR_OK)
        record_count(source);
    return err;
}

static enum err reject(const struct source *source, struct bytes payload, const char *reason,
                       const char *detail)
{
    struct batch *batch = source->batch;
    struct dead_letter letter = {.arrival_us = source->arrival_us,
                                 .position = source->position,
                                 .origin = source->origin,
                                 .reason = reason,
                                 .detail = detail};
    enum err err = dead_letters_add(&batch->dead, &letter, payload);
    batch->stats.rejected += err == ERR_OK;
    batch->stats.last_rejected = (struct batch_rejection){source->arrival_us, reason, detail};
    return err;
}

static enum err payload_add(struct source *source, struct bytes payload)
{
    bool json = source->route->format == CONTENT_AUTO || source->route->format == CONTENT_JSON;
    const struct records_input input = {source->route, payload, source->arrival_us};
    const char *reason = content_format_reason(source->route->format);
    const char *why = NULL;
    enum err err = ERR_AGAIN;
    if (json && payload.size > 0 && payload.data[0] == '{' && source->batch->schema.loaded &&
        source->route->dedupe_field.size == 0)
        err = object_add(source, payload);
    if (err == ERR_AGAIN)
        err = records_each(&input, record_add, source, &why);
    if (err == ERR_UNSUPPORTED)
        return reject(source, payload, reason ? reason : "unsupported_format", why);
    if (err == ERR_TOO_MANY)
        return reject(source, payload, "too_many_records",
                      "the message holds more than 1000000 records");
    return err;
}

static enum err message_add(struct batch *batch, uint32_t route, const struct message_view *message,
                            struct position position)
{
    struct source source = {.batch = batch,
                            .route = &batch->origins.routes[route].view,
                            .arrival_us = message->arrival_us,
                            .position = position,
                            .route_index = message->route_index};
    enum err err = origins_get(&batch->origins, route, message->extras, &source.origin);
    if (err != ERR_OK)
        return err;
    err = message->flags & MESSAGE_DEAD_LETTER ? reject(&source, message->payload, NULL, NULL)
                                               : payload_add(&source, message->payload);
    if (err != ERR_OK)
        return err;
    if (batch->stats.first.block == 0 ||
        (position.block == batch->stats.first.block && position.index < batch->stats.first.index))
        batch->stats.first = position;
    batch->stats.block_last = position.block;
    bool nothing_left = source.repeated > 0 && source.repeated == source.records;
    batch->stats.messages += !nothing_left;
    batch->stats.repeated += nothing_left;
    batch->stats.payload_bytes += message->payload.size;
    return ERR_OK;
}

/* --- blocks -------------------------------------------------------------------------------- */

static void mark_set(struct batch *batch)
{
    batch->mark = (struct mark){.open = true,
                                .row_count = batch->rows.count,
                                .partition_count = batch->rows.partition_count,
                                .deferred_count = batch->deferred.count,
                                .dead_count = batch->dead.count,
                                .dedupe_mark = dedupe_mark(batch->dedupe),
                                .rescued_values = batch->decoder.rescued_values,
                                .stats = batch->stats};
}

/* What a new route needs. */
static enum err route_add(struct batch *batch, struct origin_route *route)
{
    enum err err = ERR_OK;
    if (route->view.dedupe_field.size > 0 && !batch->dedupe) {
        err = dedupe_new(&batch->options.dedupe, batch->dataset_id, &batch->dedupe);
        if (err == ERR_OK)
            batch->mark.dedupe_mark = dedupe_mark(batch->dedupe);
    }
    return err == ERR_OK && batch->schema.root ? pin_route(&batch->schema, route) : err;
}

enum err batch_append(struct batch *batch, const struct block *block, uint32_t route_index)
{
    if (!batch->mark.open)
        mark_set(batch);
    uint32_t route;
    enum err err = origins_route(&batch->origins, block, route_index, &route);
    if (err == ERR_OK && !batch->origins.routes[route].ready)
        err = route_add(batch, &batch->origins.routes[route]);
    if (err == ERR_OK &&
        batch->deferred.count + block->routes[route_index].message_count > LEAN_RECORDS)
        err = schema_make(batch);
    uint32_t index = block->routes[route_index].message_count > 0
                         ? block->routes[route_index].message_first
                         : BLOCK_END;
    uint32_t ahead = index;
    for (int i = 0; i < PREFETCH_AHEAD && ahead != BLOCK_END; i++)
        ahead = block_message_prefetch(block, ahead);
    while (index != BLOCK_END && err == ERR_OK) {
        struct message_view message;
        uint32_t next = block->messages[index].next;
        if (ahead != BLOCK_END)
            ahead = block_message_prefetch(block, ahead);
        block_message_get(block, index, &message);
        err = message_add(batch, route, &message, (struct position){block->number, index});
        index = next;
    }
    return err;
}

void batch_undo_block(struct batch *batch)
{
    const struct mark *mark = &batch->mark;
    if (!mark->open)
        return;
    leaves_truncate(batch, mark->row_count);
    rows_truncate(&batch->rows, mark->row_count, mark->partition_count);
    deferred_truncate(&batch->deferred, mark->deferred_count);
    dead_letters_truncate(&batch->dead, mark->dead_count);
    dedupe_undo(batch->dedupe, mark->dedupe_mark);
    batch->decoder.rescued_values = mark->rescued_values;
    batch->stats = mark->stats;
    batch->mark.open = false;
}

/* --- waiting records ----------------------------------------------------------------------- */

static enum err deferred_decode(struct batch *batch)
{
    for (size_t i = 0; i < batch->deferred.count; i++) {
        const struct deferred_record *record = &batch->deferred.records[i];
        const struct origin *origin = &batch->origins.origins[record->origin];
        struct source source = {.batch = batch,
                                .route = &batch->origins.routes[origin->route].view,
                                .arrival_us = record->arrival_us,
                                .position = record->position,
                                .origin = record->origin};
        struct decode_options options = {.time_field = source.route->timestamp_field,
                                         .depth_max = LIMIT_JSON_DEPTH + 1,
                                         .final = true,
                                         .unique = true};
        struct bytes text = deferred_text(&batch->deferred, i);
        const uint8_t *at = text.data;
        enum err err = rows_note_moved(&batch->rows, record->before);
        if (err == ERR_OK)
            err = decode_record(&batch->decoder, &options, &at, text.data + text.size,
                                batch->rows.count);
        if (err == ERR_OK)
            err = row_add(&source);
        if (err != ERR_OK)
            return err == ERR_NO_MEMORY ? err : ERR_BUG;
    }
    return ERR_OK;
}

/* Pins new columns and decodes what waited for them. All or nothing, but for what is pinned. */
static enum err resolve(struct batch *batch, struct diag *diag)
{
    bool lean = !batch->schema.root;
    enum err err = schema_make(batch);
    if (err == ERR_OK)
        err = pin_columns(&batch->schema, batch->options.catalog, &batch->origins, &batch->deferred,
                          diag);
    if (err != ERR_OK && lean)
        pin_open_undo(&batch->schema, &batch->origins);
    if (err != ERR_OK)
        return err;
    struct mark before = batch->mark;
    mark_set(batch);
    err = deferred_decode(batch);
    if (err != ERR_OK)
        batch_undo_block(batch);
    else
        deferred_clear(&batch->deferred);
    batch->mark = before;
    return err;
}

/* A pin waits for its turn a little only: what comes meanwhile is looked at twice. */
static void resolve_if_many(struct batch *batch)
{
    uint32_t *pins_left = batch->options.pins_left;
    size_t waiting = batch->deferred.count, bytes = batch->deferred.text.size;
    bool too_many = waiting >= RESOLVE_RECORDS * 5 / 4 || bytes >= RESOLVE_BYTES * 5 / 4;
    if ((waiting < RESOLVE_RECORDS && bytes < RESOLVE_BYTES) || waiting < batch->resolve_at ||
        (pins_left && *pins_left == 0 && !too_many))
        return;
    if (pins_left && *pins_left > 0)
        (*pins_left)--;
    /* Away, or no memory: not again for every block. */
    batch->resolve_at = resolve(batch, NULL) == ERR_OK ? 0 : waiting * 2;
}

/* --- for the metrics ----------------------------------------------------------------------- */

/* Between blocks only, when nothing that is told can be undone any more. */
static void tell(struct batch *batch)
{
    struct batch_tally *tally = batch->options.tally;
    struct told *told = &batch->told;
    const struct rows *rows = &batch->rows;
    if (!tally)
        return;
    if (rows->count > told->row_count)
        batch_tally_delays(tally, rows->event_us + told->row_count,
                           rows->arrival_us + told->row_count, rows->count - told->row_count);
    dead_letters_tell(&batch->dead, told->dead_count, &batch->origins, tally);
    tally->rescued += batch->decoder.rescued_values - told->rescued_values;
    tally->messages += batch->stats.messages - told->messages;
    tally->repeated += batch->stats.repeated - told->repeated;
    tally->payload_bytes += batch->stats.payload_bytes - told->payload_bytes;
    *told = (struct told){.row_count = rows->count,
                          .dead_count = batch->dead.count,
                          .rescued_values = batch->decoder.rescued_values,
                          .messages = batch->stats.messages,
                          .repeated = batch->stats.repeated,
                          .payload_bytes = batch->stats.payload_bytes};
}

void batch_end_block(struct batch *batch, const struct block *block)
{
    (void)block;
    batch->mark.open = false;
    dedupe_settle(batch->dedupe);
    resolve_if_many(batch);
    tell(batch);
    batch_watch_block(&batch->watch, &batch->options, batch->dataset_id, &batch->origins,
                      &batch->stats, batch->dead.payloads.size);
}

/* --- out ----------------------------------------------------------------------------------- */

void batch_stats_get(const struct batch *batch, struct batch_stats *ret_stats)
{
    *ret_stats = batch->stats;
    ret_stats->rescued = batch->decoder.rescued_values;
    ret_stats->memory_bytes =
        sizeof(*batch) + batch->memory_bytes + batch->deferred.text.capacity +
        batch->deferred.capacity * sizeof(struct deferred_record) + batch->dead.payloads.capacity +
        batch->dead.capacity * sizeof(struct dead_letter) + map_memory_bytes(&batch->rows.by_hour) +
        batch->decoder.rescued.capacity + batch->decoder.scratch.capacity +
        dedupe_memory_bytes(batch->dedupe) + origins_memory_bytes(&batch->origins) +
        schema_memory_bytes(&batch->schema) + null_names_memory_bytes(&batch->decoder.nulls) +
        batch->watch.state_bytes;
}

const struct batch_stats *batch_stats_peek(const struct batch *batch)
{
    return &batch->stats;
}

static void batch_clear(struct batch *batch)
{
    for (size_t i = 0; i < batch->schema.column_count; i++)
        if (column_is_leaf(batch->schema.columns[i]))
            leaf_clear(&batch->schema.columns[i]->leaf);
    rows_clear(&batch->rows);
    dead_letters_fini(&batch->dead);
    dead_letters_init(&batch->dead);
    origins_clear(&batch->origins);
    batch->decoder.rescued_values = 0;
    batch->stats = (struct batch_stats){0};
    batch->told = (struct told){0};
    batch->resolve_at = 0;
}

void batch_follow(struct batch *batch, uint64_t block_last)
{
    batch->follows = block_last;
}

bool batch_waits_for_columns(const struct batch *batch)
{
    return batch->deferred.count > 0 ||
           (batch->rows.count > 0 && !schema_system_pinned(&batch->schema));
}

enum err batch_foresee(struct batch *batch, struct arena *arena, struct catalog_pin *ret_pin)
{
    bool lean = !batch->schema.root;
    enum err err = schema_make(batch);
    if (err == ERR_OK)
        err = pin_foresee(&batch->schema, batch->options.catalog, &batch->origins, &batch->deferred,
                          arena, ret_pin);
    if (lean)
        pin_open_undo(&batch->schema, &batch->origins);
    return err;
}

enum err batch_cut(struct batch *batch, struct cut *ret_cut, struct diag *diag)
{
    assert(!batch->mark.open);
    *ret_cut = (struct cut){0};
    enum err err = ERR_OK;
    if (batch_waits_for_columns(batch))
        err = resolve(batch, diag);
    if (err == ERR_OK)
        err = schema_make(batch);
    if (err == ERR_OK) {
        struct cut_input input = {.options = &batch->options,
                                  .dataset_id = batch->dataset_id,
                                  .schema = &batch->schema,
                                  .rows = &batch->rows,
                                  .origins = &batch->origins,
                                  .dead = &batch->dead,
                                  .nulls = &batch->decoder.nulls,
                                  .follows = batch->follows,
                                  .observed = &batch->watch.state,
                                  .memory_bytes = batch->memory_bytes};
        batch_stats_get(batch, &input.stats);
        err = cut_encode(&input, ret_cut); /* finishes the leaves: the observer sees every row */
        if (err == ERR_OK)
            err = dedupe_save(batch->dedupe, diag); /* before it is landed, see dedupe.h */
        if (err == ERR_OK)
            err = cut_observe(&input, &batch->watch.state, &batch->watch.state_bytes);
    }
    if (err != ERR_OK) {
        cut_fini(ret_cut);
        return err;
    }
    tell(batch); /* what waited until now */
    batch_watch_clear(&batch->watch);
    if (is_lean(batch) && batch->rows.count <= LEAN_RECORDS) {
        pin_close(&batch->schema, &batch->origins);
        batch_watch_end(&batch->watch, &batch->options);
    }
    batch_clear(batch);
    return err;
}

enum err batch_columns(const struct batch *batch,
                       enum err (*on_column)(void *ctx, const struct catalog_column *column),
                       void *ctx)
{
    return schema_each(&batch->schema, on_column, ctx);
}
