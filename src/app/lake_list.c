/* `ingestor lake ls`: what each dataset has; of one dataset, what each of its files has. */
#include "app/lake_parts.h"
#include "app/terminal.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "base/map.h"
#include "codec/timestamp.h"
#include "lake/lake_columns.h"
#include "lake/lake_read.h"

#include <inttypes.h>

#define NAME_WIDTH_MIN 7
#define FOOTER_MEMORY  (256 * MIB)

struct totals {
    uint64_t files;
    uint64_t unreadable;
    uint64_t rows;
    uint64_t bytes;
    bool has_times;
    int64_t first_us, last_us; /* of _event_time */
};

struct listing {
    struct lake_view *view;
    struct map totals; /* by dataset, or by key */
    struct buf tail;
};

static enum err totals_get(struct listing *listing, struct bytes name, struct totals **ret_totals)
{
    *ret_totals = map_get(&listing->totals, name);
    if (*ret_totals)
        return ERR_OK;
    *ret_totals = mem_zalloc(1, sizeof(**ret_totals));
    if (!*ret_totals)
        return ERR_NO_MEMORY;
    enum err err = map_put(&listing->totals, name, *ret_totals);
    if (err != ERR_OK)
        mem_free(*ret_totals);
    return err;
}

static void times_add(struct totals *totals, const struct parquet_metadata_chunk *chunk)
{
    if (!chunk->min.is_set || !chunk->max.is_set || chunk->min.bytes.size != 8 ||
        chunk->max.bytes.size != 8)
        return;
    int64_t first = (int64_t)load_u64(chunk->min.bytes.data);
    int64_t last = (int64_t)load_u64(chunk->max.bytes.data);
    if (!totals->has_times || first < totals->first_us)
        totals->first_us = first;
    if (!totals->has_times || last > totals->last_us)
        totals->last_us = last;
    totals->has_times = true;
}

static bool is_time(const struct parquet_metadata *metadata, size_t column)
{
    const struct parquet_metadata_element *element = &metadata->elements[metadata->leaves[column]];
    return element->parent == 0 && element->is_known && element->kind == PARQUET_TIMESTAMP_US &&
           (bytes_equal_text(element->name, "_event_time") ||
            bytes_equal_text(element->name, "received_at"));
}

static void footer_add(struct totals *totals, const struct parquet_metadata *metadata)
{
    totals->rows += metadata->row_count;
    for (size_t i = 0; i < metadata->column_count; i++) {
        if (!is_time(metadata, i))
            continue;
        for (size_t group = 0; group < metadata->row_group_count; group++)
            times_add(totals, &metadata->row_groups[group].chunks[i]);
    }
}

/* A file whose footer cannot be read counts, and is told. */
static enum err on_file(void *ctx, const struct lake_file *file)
{
    struct listing *listing = ctx;
    struct arena arena;
    struct parquet_metadata metadata;
    struct totals *totals;
    struct diag diag = {0};
    struct bytes name = lake_key_dataset(file->key);
    enum err err = totals_get(
        listing, listing->view->command->target ? bytes_from_text(file->key) : name, &totals);
    if (err != ERR_OK)
        return err;
    totals->files++;
    totals->bytes += file->size_bytes;
    arena_init(&arena, FOOTER_MEMORY);
    err = lake_read_footer(listing->view->store, file, &arena, &listing->tail, &metadata, &diag);
    if (err == ERR_OK)
        footer_add(totals, &metadata);
    arena_fini(&arena);
    totals->unreadable += lake_is_file_fault(err);
    return lake_view_file_read(listing->view, file, err, &diag);
}

static const char *time_text(const struct totals *totals, int64_t us,
                             char text[TIMESTAMP_TEXT_BYTES])
{
    bool is_sane = us > -62135596800LL * US_PER_S && us < 253402300800LL * US_PER_S;
    if (!totals->has_times || !is_sane)
        return "";
    timestamp_format(us, text);
    text[19] = '\0'; /* to the second */
    return text;
}

static size_t name_width(const struct map *all)
{
    size_t cursor = 0;
    size_t width = NAME_WIDTH_MIN;
    for (struct map_entry *entry; (entry = map_next(all, &cursor));) {
        size_t size = strlen((const char *)entry->key); /* keys are ASCII, or nearly */
        width = size > width ? size : width;
    }
    return width;
}

/* Columns for a person; for a program, a tab between the fields. Names are never cut: what is
 * printed can be asked for. */
static void print_line(const char *name, size_t width, const char *const fields[5], bool aligned)
{
    static const int widths[5] = {7, 12, 14, 20, 20};
    if (aligned)
        terminal_cell(stdout, name, width);
    else
        terminal_text(stdout, name);
    for (size_t i = 0; i < 5; i++) {
        if (aligned)
            printf(" %*s", widths[i], fields[i]);
        else
            printf("\t%s", fields[i]);
    }
    putchar('\n');
}

static void print_totals(const char *name, size_t width, const struct totals *totals, bool aligned)
{
    char files[24];
    char rows[24];
    char bytes[24];
    char first[TIMESTAMP_TEXT_BYTES];
    char last[TIMESTAMP_TEXT_BYTES];
    snprintf(files, sizeof(files), "%" PRIu64, totals->files);
    snprintf(rows, sizeof(rows), "%" PRIu64, totals->rows);
    snprintf(bytes, sizeof(bytes), "%" PRIu64, totals->bytes);
    print_line(name, width,
               (const char *const[]){files, rows, bytes, time_text(totals, totals->first_us, first),
                                     time_text(totals, totals->last_us, last)},
               aligned);
}

static void print_table(const struct map *all, bool is_files, bool aligned)
{
    size_t width = name_width(all);
    size_t cursor = 0;
    print_line(is_files ? "file" : "dataset", width,
               (const char *const[]){"files", "rows", "bytes", "first", "last"}, aligned);
    for (struct map_entry *entry; (entry = map_next(all, &cursor));)
        print_totals((const char *)entry->key, width, entry->value, aligned);
}

static json_t *time_json(const struct totals *totals, int64_t us)
{
    char text[TIMESTAMP_TEXT_BYTES];
    const char *shown = time_text(totals, us, text);
    return *shown ? json_string(shown) : json_null();
}

static enum err print_json(const struct map *all, bool is_files)
{
    json_t *list = json_array();
    size_t cursor = 0;
    enum err err = list ? ERR_OK : ERR_NO_MEMORY;
    for (struct map_entry *entry; err == ERR_OK && (entry = map_next(all, &cursor));) {
        const struct totals *totals = entry->value;
        json_t *object = json_pack(
            "{s:o, s:I, s:I, s:I, s:I, s:o, s:o}", is_files ? "key" : "dataset",
            lake_json_text(bytes_from_text((const char *)entry->key)), "files",
            (json_int_t)totals->files, "unreadable", (json_int_t)totals->unreadable, "rows",
            (json_int_t)totals->rows, "bytes", (json_int_t)totals->bytes, "first",
            time_json(totals, totals->first_us), "last", time_json(totals, totals->last_us));
        err = object && json_array_append_new(list, object) == 0 ? ERR_OK : ERR_NO_MEMORY;
    }
    if (err == ERR_OK && (json_dumpf(list, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF))
        err = ERR_IO;
    json_decref(list);
    return err;
}

enum err lake_list(struct lake_view *view)
{
    struct listing listing = {.view = view};
    size_t cursor = 0;
    map_init(&listing.totals);
    buf_init(&listing.tail, LAKE_FOOTER_BYTES_MAX);
    enum err err = lake_view_walk(view, on_file, &listing);
    if (err == ERR_OK && view->command->json)
        err = print_json(&listing.totals, view->command->target != NULL);
    else if (err == ERR_OK)
        print_table(&listing.totals, view->command->target != NULL, view->command->table);
    for (struct map_entry *entry; (entry = map_next(&listing.totals, &cursor));)
        mem_free(entry->value);
    map_fini(&listing.totals);
    buf_fini(&listing.tail);
    return err;
}
