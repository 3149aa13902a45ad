#include "pipeline/dataset_pins.h"

#include "base/limits.h"

#define PINS_MAX    64
#define COLUMNS_MAX 4096
#define LOOKS_MAX   256 /* at datasets that come next, pinned or not */
#define ARENA_MAX   (16 * MIB)

/* The one that is cut after this one, as things stand; NULL: another one, or none. */
static struct dataset *next_cut(const struct datasets *datasets, const struct dataset *dataset,
                                int64_t now_ns)
{
    const struct flush_pace *pace = datasets->options->pace;
    if (datasets->cutting_largest)
        return dataset->size_next;
    struct dataset *next = dataset->next;
    bool due = next && (datasets->closing ||
                        (next->place == DATASET_OPEN ? now_ns - next->opened_ns >= pace->interval_ns
                                                     : next->retry_ns <= now_ns));
    return due ? next : NULL;
}

static bool is_candidate(const struct datasets *datasets, const struct dataset *dataset)
{
    return !dataset->foreseen && datasets_may_cut(datasets, dataset) &&
           batch_waits_for_columns(dataset->batch);
}

void dataset_pins_ahead(struct datasets *datasets, struct dataset *dataset)
{
    struct catalog *catalog = datasets->options->batch.catalog;
    struct catalog_pin pins[PINS_MAX];
    struct arena arena;
    size_t count = 0;
    size_t columns = 0;
    int64_t now_ns = clock_monotonic_ns(datasets->options->clock);
    if (!catalog->ops->pin_many || !is_candidate(datasets, dataset))
        return;
    arena_init(&arena, ARENA_MAX);
    for (int i = 0; i < LOOKS_MAX && dataset && count < PINS_MAX && columns < COLUMNS_MAX; i++) {
        struct dataset *next = next_cut(datasets, dataset, now_ns);
        if (is_candidate(datasets, dataset)) {
            dataset->foreseen = true; /* whether it can be or not: it is looked at once */
            enum err err = batch_foresee(dataset->batch, &arena, &pins[count]);
            columns += err == ERR_OK ? pins[count].count : 0;
            count += err == ERR_OK && pins[count].count > 0;
        }
        dataset = next;
    }
    if (count > 1) {
        enum err ignored = catalog->ops->pin_many(catalog, pins, count, NULL);
        (void)ignored;
    }
    arena_fini(&arena);
}
