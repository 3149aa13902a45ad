/*
 * Exactly once. A change exists from its cut on, as a segment of its dataset's list. With LANDED
 * the journal gets all of the dataset's segments that are not known to be in the database, so the
 * latest LANDED always says what a crash would take from us (journal_metadata.c). Only when LANDED
 * is durable may the segment be committed, and the commit moves the dataset's progress to the
 * segment's end in the same transaction. After a crash each segment that the journal kept is
 * either above the progress, and committed then, or below it, and dropped.
 *
 * That needs the progress to stand between two segments of what the journal kept, always: so
 * segments are merged only where the database cannot have one without the other. One that may have
 * been committed (its commit failed, or an earlier run had it) is unsure, and stays apart until the
 * progress has been read.
 *
 * Text in the journal: for each segment, through u64 | change text32 (change.h).
 */
#include "base/alloc.h"
#include "journal/record.h"
#include "metadata/change_text.h"
#include "metadata/metadata_parts.h"

#include <stdio.h>
#include <string.h>

#define METADATA_START_NS       (5 * NS_PER_S)
#define METRIC_NAMES_MAX        100 /* of data quality, that have series */
#define FOOTER_CHANGE_BYTES_MAX (CUT_METADATA_BYTES_MAX / 4)

/* --- segments ------------------------------------------------------------------------------ */

void segment_free(struct segment *segment)
{
    if (segment)
        mem_free(segment->encoded);
    mem_free(segment);
}

static enum err segment_new(uint64_t through, struct bytes encoded, struct segment **ret_segment)
{
    struct segment *segment = mem_zalloc(1, sizeof(*segment));
    if (!segment)
        return ERR_NO_MEMORY;
    segment->through = through;
    segment->encoded = mem_dup(encoded.data, encoded.size);
    segment->encoded_size = encoded.size;
    if (!segment->encoded) {
        mem_free(segment);
        return ERR_NO_MEMORY;
    }
    *ret_segment = segment;
    return ERR_OK;
}

static enum err segment_sum_add(const struct segment *segment, struct change *sum)
{
    struct change one;
    change_init(&one);
    enum err err = change_decode(&one, bytes_from(segment->encoded, segment->encoded_size));
    if (err == ERR_OK)
        err = change_merge(sum, &one);
    change_fini(&one);
    return err;
}

/* The same where there is nothing to add to, as there mostly is not. */
static enum err segment_sum_first(const struct segment *segment, struct change *sum)
{
    enum err err = change_decode(sum, bytes_from(segment->encoded, segment->encoded_size));
    if (err != ERR_OK) {
        change_fini(sum);
        change_init(sum);
    }
    return err;
}

enum err segments_sum(const struct segment *first, const struct segment *last, uint64_t above,
                      struct change *sum)
{
    enum err err = ERR_OK;
    bool is_first = true;
    for (const struct segment *at = first; err == ERR_OK; at = at->next) {
        if (at->through > above) {
            err = is_first ? segment_sum_first(at, sum) : segment_sum_add(at, sum);
            is_first = is_first && err != ERR_OK;
        }
        if (err == ERR_CORRUPT)
            err = ERR_OK;
        if (at == last)
            break;
    }
    return err;
}

enum err segments_merge(struct segment *first, const struct segment *end)
{
    struct change sum;
    struct buf encoded;
    struct segment *last = first;
    enum err err = ERR_OK;
    change_init(&sum);
    buf_init(&encoded, LIMIT_METADATA_CHANGES_BYTES);
    for (struct segment *at = first; at != end && err == ERR_OK; at = at->next) {
        struct change one;
        change_init(&one);
        err = change_decode(&one, bytes_from(at->encoded, at->encoded_size));
        if (err == ERR_OK)
            err = change_merge(&sum, &one);
        change_fini(&one);
        last = at;
    }
    if (err == ERR_OK)
        change_encode(&sum, &encoded);
    uint8_t *copy =
        err == ERR_OK && encoded.err == ERR_OK ? mem_dup(encoded.data, encoded.size) : NULL;
    if (copy) {
        mem_free(first->encoded);
        first->encoded = copy;
        first->encoded_size = encoded.size;
        first->through = last->through;
        while (first->next != end) {
            struct segment *gone = first->next;
            first->unsure |= gone->unsure;
            first->next = gone->next;
            segment_free(gone);
        }
    }
    buf_fini(&encoded);
    change_fini(&sum);
    return copy ? ERR_OK : err != ERR_OK ? err : ERR_NO_MEMORY;
}

static enum err pending_get(struct metadata *metadata, struct bytes id, struct pending **ret)
{
    *ret = map_get(&metadata->pending, id);
    if (*ret)
        return ERR_OK;
    *ret = mem_zalloc(1, sizeof(**ret));
    enum err err = *ret ? map_put(&metadata->pending, id, *ret) : ERR_NO_MEMORY;
    if (err != ERR_OK)
        mem_free(*ret);
    return err;
}

/* At its place; a range made again lies below what is there. */
static void segment_insert(struct pending *pending, struct segment *segment)
{
    struct segment **at = &pending->first;
    while (*at && (*at)->through < segment->through)
        at = &(*at)->next;
    segment->next = *at;
    *at = segment;
}

static enum err segment_add(struct metadata *metadata, struct bytes id, struct segment *segment)
{
    struct pending *pending;
    mutex_lock(&metadata->lock);
    enum err err = pending_get(metadata, id, &pending);
    if (err == ERR_OK)
        segment_insert(pending, segment);
    mutex_unlock(&metadata->lock);
    return err;
}

static struct segment *segment_find(struct metadata *metadata, struct bytes id, uint64_t through)
{
    const struct pending *pending = map_get(&metadata->pending, id);
    struct segment *at = pending ? pending->first : NULL;
    while (at && at->through != through)
        at = at->next;
    return at && at->state <= SEGMENT_ASKED ? at : NULL;
}

/* --- from the cuts ------------------------------------------------------------------------- */

/* It was not told after all. */
static void observed_untell(struct observed *observed)
{
    told_free(observed->told);
    observed->told = NULL;
    buf_fini(&observed->change);
}

/* For the footer: a change that is too long for it, by far too many samples, goes without them, and
 * without the sensors that stand in the column. */
static enum err footer_text(struct change *change, struct bytes encoded, struct bytes column,
                            struct buf *text)
{
    struct buf brief;
    buf_init(&brief, FOOTER_CHANGE_BYTES_MAX);
    bool is_long = encoded.size > FOOTER_CHANGE_BYTES_MAX;
    for (size_t i = 0; i < change->field_count && is_long; i++)
        change->fields[i].sample_count = 0;
    if (column.size > 0)
        change_sensors_drop(change);
    if (is_long || column.size > 0) {
        change_encode(change, &brief);
        encoded = buf_bytes(&brief);
    }
    enum err err = brief.err == ERR_OK ? change_text_append(text, encoded, column) : brief.err;
    buf_fini(&brief);
    return err == ERR_TOO_LARGE ? ERR_OK : err;
}

static enum err change_describe(struct observed *observed, const struct cut_input *cut,
                                struct buf *text)
{
    struct change change;
    struct bytes column = {0};
    change_init(&change);
    buf_init(&observed->change, LIMIT_METADATA_CHANGES_BYTES / 4);
    enum err err = extract_change(cut, &observed->told, &change);
    change.first_block = cut->stats.first.block;
    if (err == ERR_OK && (change.records > 0 || change.payload_bytes > 0)) {
        change_encode(&change, &observed->change);
        err = observed->change.err == ERR_TOO_LARGE ? ERR_NO_MEMORY : observed->change.err;
        if (err == ERR_OK)
            err = extract_sensors_column(cut, observed->told, &change, &column);
        if (err == ERR_OK)
            err = footer_text(&change, buf_bytes(&observed->change), column, text);
    }
    change_fini(&change);
    return err;
}

static enum err observer_describe(void *ctx, const struct cut_input *cut, void **state,
                                  struct buf *text)
{
    enum err err = observed_get(ctx, state);
    if (err != ERR_OK)
        return err;
    struct observed *observed = *state;
    if (observed->is_described)
        observed_untell(observed);
    observed->is_described = true;
    err = change_describe(observed, cut, text);
    if (err != ERR_OK)
        observed_untell(observed);
    return err;
}

static enum err change_register(struct metadata *metadata, struct bytes id, uint64_t through,
                                struct bytes change)
{
    struct segment *segment = NULL;
    enum err err = segment_new(through, change, &segment);
    if (err == ERR_OK)
        err = segment_add(metadata, id, segment);
    if (err != ERR_OK)
        segment_free(segment);
    return err;
}

static enum err observer_cut(void *ctx, const struct cut_input *cut, void **state)
{
    struct observed *observed = *state;
    enum err err = ERR_OK;
    if (observed->change.size > 0)
        err = change_register(ctx, cut->dataset_id, cut->stats.block_last,
                              buf_bytes(&observed->change));
    if (err != ERR_OK)
        observed_untell(observed);
    buf_fini(&observed->change);
    observed->is_described = false;
    return err;
}

const struct batch_observer_ops metadata_observer = {.describe = observer_describe,
                                                     .cut = observer_cut,
                                                     .forget = observer_forget,
                                                     .memory_bytes = observer_memory_bytes,
                                                     .watch = observer_watch};

/* --- through the journal ------------------------------------------------------------------- */

static enum err landing_changes(void *ctx, struct bytes id, uint64_t through, struct buf *out)
{
    struct metadata *metadata = ctx;
    mutex_lock(&metadata->lock);
    struct segment *last = segment_find(metadata, id, through);
    const struct pending *pending = last ? map_get(&metadata->pending, id) : NULL;
    for (const struct segment *at = pending ? pending->first : NULL; at && at->through <= through;
         at = at->next) {
        buf_u64(out, at->through);
        record_append_text32(out, bytes_from(at->encoded, at->encoded_size));
    }
    if (last)
        last->state = SEGMENT_ASKED;
    mutex_unlock(&metadata->lock);
    if (out->err == ERR_TOO_LARGE) { /* a crash now would cost these counts; the cut must land */
        buf_clear(out);
        return ERR_OK;
    }
    return out->err;
}

static void landing_landed(void *ctx, struct bytes id, uint64_t through)
{
    struct metadata *metadata = ctx;
    mutex_lock(&metadata->lock);
    struct segment *segment = segment_find(metadata, id, through);
    if (segment)
        segment->state = SEGMENT_LANDED;
    mutex_unlock(&metadata->lock);
}

static void pending_drop_empty(struct metadata *metadata, struct bytes id)
{
    const struct pending *pending = map_get(&metadata->pending, id);
    if (pending && !pending->first)
        mem_free(map_remove(&metadata->pending, id));
}

static void landing_again(void *ctx, struct bytes id, uint64_t through)
{
    struct metadata *metadata = ctx;
    mutex_lock(&metadata->lock);
    struct segment *gone = segment_find(metadata, id, through);
    struct pending *pending = gone ? map_get(&metadata->pending, id) : NULL;
    struct segment **at = pending ? &pending->first : NULL;
    while (at && *at != gone)
        at = &(*at)->next;
    if (at)
        *at = gone->next;
    segment_free(gone);
    pending_drop_empty(metadata, id);
    mutex_unlock(&metadata->lock);
}

const struct landing_metadata_ops metadata_landing = {
    .changes = landing_changes, .landed = landing_landed, .again = landing_again};

/* --- recovery ------------------------------------------------------------------------------ */

/* What the journal kept of a dataset. A text that makes no sense (a newer version's) is left: what
 * it says is lost, and all else goes on. */
static enum err on_kept(void *ctx, struct bytes id, struct bytes changes)
{
    struct metadata *metadata = ctx;
    struct record_reader reader = record_reader_of(changes);
    enum err err = ERR_OK;
    while (reader.left > 0 && !reader.bad && err == ERR_OK) {
        struct segment *segment = NULL;
        uint64_t through = record_u64(&reader);
        struct bytes encoded = record_text32(&reader);
        if (reader.bad)
            break;
        err = segment_new(through, encoded, &segment);
        if (err != ERR_OK)
            break;
        segment->state = SEGMENT_LANDED;
        segment->unsure = true;
        err = segment_add(metadata, id, segment);
        if (err != ERR_OK)
            segment_free(segment);
    }
    return err;
}

/* --- life ---------------------------------------------------------------------------------- */

static enum err url_make(struct metadata *metadata)
{
    struct buf url;
    buf_init(&url, 64 * KIB);
    buf_printf(&url, "sqlite:///%s", metadata->options.path);
    const char *text = buf_cstr(&url);
    metadata->url = text ? mem_strdup(text) : NULL;
    buf_fini(&url);
    return metadata->url ? ERR_OK : ERR_NO_MEMORY;
}

enum err metadata_new(const struct metadata_options *options, struct metadata **ret_metadata)
{
    struct metadata *metadata = mem_zalloc(1, sizeof(*metadata));
    if (!metadata)
        return ERR_NO_MEMORY;
    metadata->options = *options;
    mutex_init(&metadata->lock);
    mutex_init(&metadata->open_lock);
    for (size_t i = 0; i < READERS; i++)
        mutex_init(&metadata->readers[i].lock);
    condition_init(&metadata->wake);
    condition_init(&metadata->recounting.wake);
    map_init(&metadata->recounting.todo);
    map_init(&metadata->pending);
    snprintf(metadata->trouble, sizeof(metadata->trouble), "not opened yet");
    metadata->made_ns = clock_monotonic_ns(options->clock);
    enum err err = url_make(metadata);
    if (err == ERR_OK)
        err = metrics_cap_new(options->series_max, &metadata->ids);
    if (err == ERR_OK)
        err = metrics_cap_new(METRIC_NAMES_MAX, &metadata->names);
    metadata->mark = metadata->mark_told = journal_metadata_mark(options->journal);
    if (err == ERR_OK)
        err = journal_metadata_each(options->journal, on_kept, metadata);
    if (err != ERR_OK) {
        metadata_free(metadata);
        return err;
    }
    *ret_metadata = metadata;
    return ERR_OK;
}

enum err metadata_start(struct metadata *metadata, struct store *store)
{
    metadata->recounting.store = store;
    enum err err = thread_start(&metadata->thread, "metadata", metadata_run, metadata);
    if (err == ERR_OK && store)
        err = thread_start(&metadata->recounting.thread, "recount", recount_run, metadata);
    return err;
}

void metadata_stop(struct metadata *metadata, int64_t deadline_ns)
{
    mutex_lock(&metadata->lock);
    metadata->stopping = true;
    metadata->deadline_ns = deadline_ns;
    condition_signal(&metadata->wake);
    condition_signal(&metadata->recounting.wake);
    mutex_unlock(&metadata->lock);
    thread_join(&metadata->recounting.thread);
    thread_join(&metadata->thread);
}

void metadata_free(struct metadata *metadata)
{
    if (!metadata)
        return;
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&metadata->pending, &cursor));) {
        struct pending *pending = entry->value;
        while (pending->first) {
            struct segment *next = pending->first->next;
            segment_free(pending->first);
            pending->first = next;
        }
        mem_free(pending);
    }
    map_fini(&metadata->pending);
    database_close(metadata->writer);
    metrics_cap_free(metadata->ids);
    metrics_cap_free(metadata->names);
    condition_fini(&metadata->wake);
    condition_fini(&metadata->recounting.wake);
    recount_todo_clear(&metadata->recounting.todo);
    for (size_t i = 0; i < READERS; i++) {
        database_close(metadata->readers[i].database);
        mutex_fini(&metadata->readers[i].lock);
    }
    mem_free(metadata->open_batches); /* the batches have gone */
    mutex_fini(&metadata->open_lock);
    mutex_fini(&metadata->lock);
    mem_free(metadata->url);
    mem_free(metadata);
}

void metadata_wake(struct metadata *metadata)
{
    mutex_lock(&metadata->lock);
    condition_signal(&metadata->wake);
    mutex_unlock(&metadata->lock);
}

void metadata_state_get(struct metadata *metadata, struct metadata_state *ret_state)
{
    *ret_state = (struct metadata_state){0};
    mutex_lock(&metadata->lock);
    ret_state->starting =
        !metadata->tried &&
        clock_monotonic_ns(metadata->options.clock) - metadata->made_ns < METADATA_START_NS;
    ret_state->set_asides = metadata->set_asides;
    snprintf(ret_state->past, sizeof(ret_state->past), "%s", metadata->set_aside);
    ret_state->waiting = metadata->pending.live_count;
    if (metadata->trouble[0] && ret_state->waiting == 0)
        snprintf(ret_state->text, sizeof(ret_state->text), "%s", metadata->trouble);
    else if (metadata->trouble[0])
        snprintf(ret_state->text, sizeof(ret_state->text), "%.360s; the changes of %llu dataset%s",
                 metadata->trouble, (unsigned long long)ret_state->waiting,
                 ret_state->waiting == 1 ? " wait" : "s wait");
    size_t size = strlen(ret_state->text);
    recount_tell(metadata, size > 0 ? "; " : "", ret_state->text + size,
                 sizeof(ret_state->text) - size);
    ret_state->good = !ret_state->text[0];
    mutex_unlock(&metadata->lock);
}
