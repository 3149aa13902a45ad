/*
 * Entries stand in a map by dataset id and in a queue. One that is looked at is out of the queue;
 * afterwards it is gone from the map (the catalog knows the dataset now), or marked as new (the
 * next load takes it out), or back at the queue's end with a time to come again.
 */
#include "lake/inherit.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/map.h"
#include "lake/lake_columns.h"
#include "os/thread.h"

#include <stdio.h>

#define THREADS_MAX      16
#define IDLE_NS          (10 * NS_PER_S)
#define TURN_NS          (200 * NS_PER_MS) /* to look again at those that are not due */
#define PENDING_RETRY_NS NS_PER_S
#define PATIENCE_NS      (2 * NS_PER_S) /* at the end */
#define RETRY_FIRST_NS   (NS_PER_S / 2)
#define RETRY_MAX_NS     (15 * NS_PER_S)
#define RETRY_SLOW_NS    RETRY_MAX_NS /* what a person must put right, and wants to see mended */

struct entry {
    struct entry *next;
    uint8_t *id;
    size_t id_size;
    int64_t asked_ns;
    int64_t due_ns;
    bool is_new; /* the lake has no file of it */
    char sentence[400];
};

struct inherit {
    struct catalog catalog; /* first: the table's functions cast back */
    struct inherit_options options;
    struct thread threads[THREADS_MAX];
    struct mutex lock; /* all below */
    struct condition wake;
    struct map entries;
    struct entry *first; /* the queue */
    struct entry *last;
    uint64_t queued;
    uint64_t active;
    uint64_t failures;     /* of the store, one after the other */
    int64_t hold_until_ns; /* then one tries for all */
    bool cancelled;
    bool stopping;
    struct inherit_stats stats;
};

static struct inherit *of(struct catalog *catalog)
{
    return (struct inherit *)catalog;
}

static int64_t now_ns(const struct inherit *inherit)
{
    return clock_monotonic_ns(inherit->options.clock);
}

static void entry_free(struct entry *entry)
{
    if (entry)
        mem_free(entry->id);
    mem_free(entry);
}

static struct bytes entry_id(const struct entry *entry)
{
    return bytes_from(entry->id, entry->id_size);
}

/* Under the lock, as all that follows until the catalog's functions. */
static void queue_push(struct inherit *inherit, struct entry *entry)
{
    entry->next = NULL;
    *(inherit->last ? &inherit->last->next : &inherit->first) = entry;
    inherit->last = entry;
    inherit->queued++;
}

static struct entry *queue_pop(struct inherit *inherit)
{
    struct entry *entry = inherit->first;
    inherit->first = entry->next;
    if (!inherit->first)
        inherit->last = NULL;
    inherit->queued--;
    return entry;
}

static enum err entry_new(struct inherit *inherit, struct bytes dataset_id,
                          struct entry **ret_entry)
{
    struct entry *entry = mem_zalloc(1, sizeof(*entry));
    if (!entry)
        return ERR_NO_MEMORY;
    entry->id = mem_dup(dataset_id.data, dataset_id.size);
    entry->id_size = dataset_id.size;
    entry->asked_ns = now_ns(inherit);
    enum err err = entry->id ? map_put(&inherit->entries, dataset_id, entry) : ERR_NO_MEMORY;
    if (err != ERR_OK) {
        entry_free(entry);
        return err;
    }
    queue_push(inherit, entry);
    condition_signal(&inherit->wake);
    *ret_entry = entry;
    return ERR_OK;
}

/* A dataset without columns in the table: waits, or is known to be new. */
static enum err unknown_load(struct inherit *inherit, struct bytes dataset_id, struct diag *diag)
{
    enum err err = ERR_OK;
    mutex_lock(&inherit->lock);
    struct entry *entry = map_get(&inherit->entries, dataset_id);
    if (!entry)
        err = entry_new(inherit, dataset_id, &entry);
    if (err == ERR_OK && entry->is_new) {
        map_remove(&inherit->entries, dataset_id);
        entry_free(entry);
    } else if (err == ERR_OK) {
        bool failed = entry->sentence[0] != '\0';
        bool long_ago = now_ns(inherit) - entry->asked_ns > PATIENCE_NS;
        /* one failure may pass, as when the store is about to be made */
        bool hopeless = inherit->failures > 1 || (failed && inherit->failures == 0);
        bool leave = inherit->cancelled && (hopeless || long_ago);
        err = leave ? ERR_STOPPED : ERR_BUSY;
        diag_set(diag, err, "the columns of %.*s wait for a look at its files in the lake%s%.300s",
                 dataset_id.size > 100 ? 100 : (int)dataset_id.size, (const char *)dataset_id.data,
                 failed ? ": " : "", entry->sentence);
    }
    mutex_unlock(&inherit->lock);
    return err;
}

/* --- the catalog --------------------------------------------------------------------------- */

struct counting {
    enum err (*on_column)(void *ctx, const struct catalog_column *column);
    void *ctx;
    size_t count;
};

static enum err on_counted(void *ctx, const struct catalog_column *column)
{
    struct counting *counting = ctx;
    counting->count++;
    return counting->on_column(counting->ctx, column);
}

static enum err inherit_load(struct catalog *base, struct bytes dataset_id,
                             enum err (*on_column)(void *ctx, const struct catalog_column *column),
                             void *ctx, struct diag *diag)
{
    struct inherit *inherit = of(base);
    struct catalog *behind = inherit->options.catalog;
    struct counting counting = {on_column, ctx, 0};
    enum err err = behind->ops->load(behind, dataset_id, on_counted, &counting, diag);
    if (err != ERR_OK || counting.count > 0)
        return err;
    return unknown_load(inherit, dataset_id, diag);
}

static enum err inherit_pin(struct catalog *base, struct bytes dataset_id,
                            const struct catalog_column *columns, size_t count, struct diag *diag)
{
    struct catalog *behind = of(base)->options.catalog;
    return behind->ops->pin(behind, dataset_id, columns, count, diag);
}

static enum err inherit_pin_many(struct catalog *base, const struct catalog_pin *pins, size_t count,
                                 struct diag *diag)
{
    struct catalog *behind = of(base)->options.catalog;
    return behind->ops->pin_many ? behind->ops->pin_many(behind, pins, count, diag)
                                 : ERR_UNSUPPORTED;
}

static void inherit_close(struct catalog *base)
{
    (void)base; /* inherit_free */
}

static const struct catalog_ops inherit_ops = {
    .load = inherit_load,
    .pin = inherit_pin,
    .pin_many = inherit_pin_many,
    .close = inherit_close,
};

/* --- looking ------------------------------------------------------------------------------- */

/* *ret_count columns were pinned. ERR_CONFLICT is well: another replica was first. */
static enum err look(struct inherit *inherit, struct bytes dataset_id, size_t *ret_count,
                     bool *ret_store_failed, struct diag *diag)
{
    struct catalog *behind = inherit->options.catalog;
    struct footer_columns columns;
    footer_columns_init(&columns);
    enum err err = lake_columns_read(inherit->options.store, dataset_id, &columns, diag);
    *ret_store_failed = err != ERR_OK && err != ERR_NO_MEMORY;
    if (err == ERR_OK && columns.count > 0)
        err = behind->ops->pin(behind, dataset_id, columns.columns, columns.count, diag);
    *ret_count = columns.count;
    footer_columns_fini(&columns);
    return err == ERR_CONFLICT ? ERR_OK : err;
}

static int64_t back_off_ns(uint64_t failures)
{
    uint64_t shift = failures > 0 ? failures - 1 : 0;
    return shift < 5 ? RETRY_FIRST_NS << shift : RETRY_MAX_NS;
}

static void look_failed(struct inherit *inherit, struct entry *entry, enum err err,
                        bool store_failed, const struct diag *diag)
{
    /* Not found is the store itself: at the first start of all it is about to be made. */
    bool retry = err_class(err) == ERR_CLASS_RETRY || err == ERR_STOPPED || err == ERR_NOT_FOUND;
    int64_t now = now_ns(inherit);
    snprintf(entry->sentence, sizeof(entry->sentence), "%.399s",
             diag->text[0] ? diag->text : err_text(err));
    inherit->stats.err = err;
    snprintf(inherit->stats.sentence, sizeof(inherit->stats.sentence), "%.*s: %s",
             entry->id_size > 100 ? 100 : (int)entry->id_size, (const char *)entry->id,
             entry->sentence);
    if (retry && store_failed)
        inherit->hold_until_ns = now + back_off_ns(++inherit->failures);
    entry->due_ns = now + (retry ? RETRY_FIRST_NS : RETRY_SLOW_NS);
    queue_push(inherit, entry);
}

static void look_succeeded(struct inherit *inherit, struct entry *entry, size_t count)
{
    inherit->failures = 0;
    inherit->hold_until_ns = 0;
    inherit->stats.err = ERR_OK;
    inherit->stats.sentence[0] = '\0';
    inherit->stats.inherited += count > 0;
    entry->is_new = count == 0;
    if (entry->is_new)
        return;
    map_remove(&inherit->entries, entry_id(entry));
    entry_free(entry);
}

static void entry_look(struct inherit *inherit, struct entry *entry)
{
    const struct inherit_options *options = &inherit->options;
    struct diag diag = {0};
    size_t count = 0;
    bool store_failed = false;
    bool pending = options->pending && options->pending(options->ctx, entry_id(entry));
    enum err err =
        pending ? ERR_AGAIN : look(inherit, entry_id(entry), &count, &store_failed, &diag);
    mutex_lock(&inherit->lock);
    inherit->active--;
    if (pending) {
        snprintf(entry->sentence, sizeof(entry->sentence),
                 "files of it that were landed before are still to be uploaded");
        entry->due_ns = now_ns(inherit) + PENDING_RETRY_NS;
        queue_push(inherit, entry);
    } else if (err != ERR_OK) {
        look_failed(inherit, entry, err, store_failed, &diag);
    } else {
        look_succeeded(inherit, entry, count);
    }
    mutex_unlock(&inherit->lock);
}

/* While the store is away, one tries for all. */
static struct entry *take_due(struct inherit *inherit)
{
    int64_t now = now_ns(inherit);
    if (inherit->failures > 0 && (inherit->active > 0 || now < inherit->hold_until_ns))
        return NULL;
    for (uint64_t i = inherit->queued; i > 0; i--) {
        struct entry *entry = queue_pop(inherit);
        if (entry->due_ns <= now) {
            inherit->active++;
            return entry;
        }
        queue_push(inherit, entry);
    }
    return NULL;
}

bool inherit_step(struct inherit *inherit)
{
    mutex_lock(&inherit->lock);
    struct entry *entry = inherit->stopping ? NULL : take_due(inherit);
    mutex_unlock(&inherit->lock);
    if (entry)
        entry_look(inherit, entry);
    return entry != NULL;
}

static void run(void *ctx)
{
    struct inherit *inherit = ctx;
    bool stopping = false;
    while (!stopping) {
        bool worked = inherit_step(inherit);
        mutex_lock(&inherit->lock);
        if (!worked && !inherit->stopping)
            condition_wait_for(&inherit->wake, &inherit->lock,
                               inherit->queued > 0 ? TURN_NS : IDLE_NS);
        stopping = inherit->stopping;
        mutex_unlock(&inherit->lock);
    }
}

/* --- life ---------------------------------------------------------------------------------- */

enum err inherit_new(const struct inherit_options *options, struct inherit **ret_inherit)
{
    struct inherit *inherit = mem_zalloc(1, sizeof(*inherit));
    if (!inherit)
        return ERR_NO_MEMORY;
    inherit->catalog.ops = &inherit_ops;
    inherit->options = *options;
    if (inherit->options.thread_count == 0)
        inherit->options.thread_count = 4;
    if (inherit->options.thread_count > THREADS_MAX)
        inherit->options.thread_count = THREADS_MAX;
    mutex_init(&inherit->lock);
    condition_init(&inherit->wake);
    map_init(&inherit->entries);
    *ret_inherit = inherit;
    return ERR_OK;
}

enum err inherit_start(struct inherit *inherit, struct diag *diag)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < inherit->options.thread_count && err == ERR_OK; i++)
        err = thread_start(&inherit->threads[i], "lake-columns", run, inherit);
    if (err != ERR_OK)
        inherit_stop(inherit);
    return err == ERR_OK ? err
                         : diag_set(diag, err, "cannot start the threads that read the lake: %s",
                                    err_text(err));
}

void inherit_cancel(struct inherit *inherit)
{
    mutex_lock(&inherit->lock);
    inherit->cancelled = true;
    mutex_unlock(&inherit->lock);
}

void inherit_stop(struct inherit *inherit)
{
    mutex_lock(&inherit->lock);
    inherit->cancelled = true;
    inherit->stopping = true;
    condition_broadcast(&inherit->wake);
    mutex_unlock(&inherit->lock);
    for (uint32_t i = 0; i < inherit->options.thread_count; i++)
        thread_join(&inherit->threads[i]);
}

void inherit_free(struct inherit *inherit)
{
    if (!inherit)
        return;
    inherit_stop(inherit);
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&inherit->entries, &cursor));)
        entry_free(entry->value);
    map_fini(&inherit->entries);
    condition_fini(&inherit->wake);
    mutex_fini(&inherit->lock);
    mem_free(inherit);
}

struct catalog *inherit_catalog(struct inherit *inherit)
{
    return &inherit->catalog;
}

void inherit_stats_get(struct inherit *inherit, struct inherit_stats *ret_stats)
{
    mutex_lock(&inherit->lock);
    *ret_stats = inherit->stats;
    ret_stats->waiting = inherit->queued + inherit->active;
    mutex_unlock(&inherit->lock);
}
