/*
 * The datasets with what is not in the database yet: the open batches and the segments are noted
 * first, then the rows are read, each with its progress, which says what of it the database has got
 * in between (metadata_open.c has the rule).
 */
#include "base/alloc.h"
#include "metadata/metadata_json.h"
#include "metadata/metadata_parts.h"
#include "metadata/row_fields.h"

#include <string.h>

#define NOTED_BYTES_MAX (1024 * MIB)
/* Of datasets that were never cut: more are shown with their counts only. */
#define LOOKED_AT_MAX      200
#define LOOKED_AT_ROWS_MAX 20

/* A segment's copy. */
struct waiting {
    struct waiting *next;
    uint64_t through;
    struct bytes encoded;
};

/* What the database may not have of a dataset. */
struct noted {
    struct waiting *first; /* by through */
    struct open_counts open;
    struct bytes topic;
};

/* All but the map's own lives in the arena. */
struct current {
    const struct metadata_rows *rows;
    struct buf *out;
    uint64_t count;
    uint32_t looked_at;
    struct arena arena;
    struct map noted; /* dataset id -> struct noted */
};

/* --- noting -------------------------------------------------------------------------------- */

static enum err noted_get(struct current *current, struct bytes id, struct noted **ret_noted)
{
    *ret_noted = map_get(&current->noted, id);
    if (*ret_noted)
        return ERR_OK;
    *ret_noted = arena_zalloc(&current->arena, sizeof(**ret_noted));
    return *ret_noted ? map_put(&current->noted, id, *ret_noted) : ERR_NO_MEMORY;
}

static enum err on_open(void *ctx, struct bytes id, struct bytes topic,
                        const struct open_counts *counts)
{
    struct current *current = ctx;
    struct noted *noted;
    enum err err = noted_get(current, id, &noted);
    const char *copy = err == ERR_OK ? arena_dup(&current->arena, topic.data, topic.size) : NULL;
    if (!copy)
        return ERR_NO_MEMORY;
    noted->topic = bytes_from(copy, topic.size);
    noted->open = *counts;
    return ERR_OK;
}

/* A range made again is below, or at, what an earlier run had landed: it counted then. */
static bool is_again(const struct segment *segment)
{
    const struct segment *later = segment->next;
    while (segment->state < SEGMENT_LANDED && later && later->state < SEGMENT_LANDED)
        later = later->next;
    return segment->state < SEGMENT_LANDED && later;
}

static enum err segment_note(struct current *current, struct waiting ***end,
                             const struct segment *segment)
{
    struct waiting *one = arena_zalloc(&current->arena, sizeof(*one));
    const char *copy =
        one ? arena_dup(&current->arena, segment->encoded, segment->encoded_size) : NULL;
    if (!copy)
        return ERR_NO_MEMORY;
    one->through = segment->through;
    one->encoded = bytes_from(copy, segment->encoded_size);
    **end = one;
    *end = &one->next;
    return ERR_OK;
}

static enum err pending_note(struct current *current, const struct map_entry *entry)
{
    const struct pending *pending = entry->value;
    struct noted *noted;
    enum err err = noted_get(current, bytes_from(entry->key, entry->key_size), &noted);
    if (err != ERR_OK)
        return err;
    struct waiting **end = &noted->first;
    for (const struct segment *at = pending->first; at && err == ERR_OK; at = at->next)
        if (!is_again(at))
            err = segment_note(current, &end, at);
    return err;
}

static enum err all_note(struct metadata *metadata, struct current *current)
{
    size_t cursor = 0;
    const struct map_entry *entry;
    enum err err = open_each(metadata, on_open, current);
    mutex_lock(&metadata->lock);
    while (err == ERR_OK && (entry = map_next(&metadata->pending, &cursor)))
        err = pending_note(current, entry);
    mutex_unlock(&metadata->lock);
    return err;
}

/* --- a dataset ----------------------------------------------------------------------------- */

static enum err ignore_evolution(void *ctx, const struct metadata_evolution *evolution)
{
    (void)ctx;
    (void)evolution;
    return ERR_OK;
}

static enum err topic_take(struct metadata_row *row, struct bytes topic)
{
    if (topic.size == 0 || (row->topic && strcmp(row->topic, "unknown") != 0))
        return ERR_OK;
    mem_free(row->topic);
    row->topic = mem_zalloc(topic.size + 1, 1);
    if (!row->topic)
        return ERR_NO_MEMORY;
    memcpy(row->topic, topic.data, topic.size);
    return ERR_OK;
}

/* A text that makes no sense is passed over, as the commit does. */
static enum err waiting_merge(struct metadata_row *row, const struct waiting *waiting)
{
    struct change change;
    change_init(&change);
    enum err err = change_decode(&change, waiting->encoded);
    if (err == ERR_OK)
        err = topic_take(row, change.topic);
    if (err == ERR_OK)
        err = metadata_row_merge(row, &change, ignore_evolution, NULL);
    change_fini(&change);
    return err == ERR_CORRUPT ? ERR_OK : err;
}

static enum err open_merge(struct metadata_row *row, const struct noted *noted)
{
    const struct open_counts *open = &noted->open;
    row->record_count += (int64_t)open->records;
    row->payload_bytes += (int64_t)open->payload_bytes;
    if (open->first_us != 0 && (row->first_us == 0 || open->first_us < row->first_us))
        row->first_us = open->first_us;
    if (open->last_us > row->last_us)
        row->last_us = open->last_us;
    return topic_take(row, noted->topic);
}

/* columns: NULL when the database does not know it. */
static enum err noted_merge(struct metadata_row *row, const struct noted *noted, uint64_t progress,
                            const struct database_value *columns)
{
    uint64_t through = progress;
    enum err err = ERR_OK;
    for (const struct waiting *at = noted->first; at && err == ERR_OK; at = at->next) {
        if (at->through <= progress)
            continue;
        if (!row->fields && columns)
            err = metadata_row_trees(row, columns);
        if (err == ERR_OK)
            err = waiting_merge(row, at);
        through = at->through;
    }
    return err == ERR_OK && noted->open.through > through ? open_merge(row, noted) : err;
}

static enum err put_current(struct current *current, struct bytes id,
                            const struct metadata_row *row, const struct database_value *columns)
{
    buf_text(current->out, current->count++ > 0 ? "," : "");
    buf_json_string(current->out, id);
    buf_byte(current->out, ':');
    return put_dataset(current->out, id, row, columns);
}

/* --- all of them --------------------------------------------------------------------------- */

static enum err on_current(void *ctx, const struct database_value *columns, size_t count)
{
    struct current *current = ctx;
    struct metadata_row row = {0};
    if (count != METADATA_ROW_COLUMNS + 4)
        return ERR_BUG;
    const struct database_value *rest = &columns[METADATA_ROW_COLUMNS];
    const struct noted *noted = map_remove(&current->noted, rest[0].bytes);
    uint64_t progress = rest[3].kind == DATABASE_INTEGER ? (uint64_t)rest[3].integer : 0;
    enum err err = metadata_row_counts(&row, columns);
    if (err == ERR_OK && noted)
        err = noted_merge(&row, noted, progress, columns);
    if (err == ERR_OK)
        err = put_current(current, rest[0].bytes, &row, columns);
    if (err == ERR_OK) {
        buf_byte(current->out, ',');
        put_second(current->out, "created_at", &rest[1]);
        buf_byte(current->out, ',');
        put_moment(current->out, "updated_at", moment_of(&rest[2]));
        buf_byte(current->out, '}');
    }
    metadata_row_fini(&row);
    return err;
}

static enum err rows_merge(struct current *current, struct bytes id, struct metadata_row *row)
{
    struct row_fields fields;
    if (current->looked_at == LOOKED_AT_MAX)
        return ERR_OK;
    current->looked_at++;
    row_fields_init(&fields);
    enum err err =
        current->rows->each(current->rows->ctx, id, LOOKED_AT_ROWS_MAX, row_fields_add, &fields);
    row_fields_end(&fields);
    if (err == ERR_OK)
        err = metadata_row_merge(row, &fields.change, ignore_evolution, NULL);
    row_fields_fini(&fields);
    return err;
}

static enum err put_newcomer(struct current *current, const struct map_entry *entry)
{
    const struct noted *noted = entry->value;
    struct bytes id = bytes_from(entry->key, entry->key_size);
    struct metadata_row row = {.sensors = json_array(), .fields = json_array()};
    enum err err = row.sensors && row.fields ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK && !noted->first)
        err = rows_merge(current, id, &row);
    if (err == ERR_OK)
        err = noted_merge(&row, noted, 0, NULL);
    if (err == ERR_OK)
        err = put_current(current, id, &row, NULL);
    if (err == ERR_OK) {
        buf_byte(current->out, ',');
        put_moment(current->out, "updated_at", 0);
        buf_byte(current->out, '}');
    }
    metadata_row_fini(&row);
    return err;
}

static enum err put_rows(struct metadata *metadata, struct current *current, struct diag *diag)
{
    struct database *database;
    struct database_value journal =
        database_text(bytes_from_text(journal_uuid(metadata->options.journal)));
    enum err err = reader_get(metadata, READER_LIST, &database, diag);
    if (err != ERR_OK)
        return err;
    err = database_query(database,
                         "SELECT " METADATA_ROW_SQL ", d.ingestion_id, created_at, updated_at, "
                         "p.position FROM dataset_metadata d LEFT JOIN metadata_progress p "
                         "ON p.journal = $1 AND p.ingestion_id = d.ingestion_id",
                         &journal, 1, on_current, current, NULL, diag);
    reader_put(metadata, READER_LIST);
    return err;
}

enum err metadata_current(struct metadata *metadata, const struct metadata_rows *rows,
                          struct buf *out, uint64_t *ret_count, struct diag *diag)
{
    struct current current = {.rows = rows, .out = out};
    size_t cursor = 0;
    const struct map_entry *entry;
    arena_init(&current.arena, NOTED_BYTES_MAX);
    map_init(&current.noted);
    buf_text(out, "{\"current_metadata\":{");
    enum err err = all_note(metadata, &current);
    if (err == ERR_OK)
        err = put_rows(metadata, &current, diag);
    while (err == ERR_OK && (entry = map_next(&current.noted, &cursor))) /* newcomers are left */
        err = put_newcomer(&current, entry);
    buf_printf(out, "},\"dataset_count\":%llu}", (unsigned long long)current.count);
    *ret_count = current.count;
    map_fini(&current.noted);
    arena_fini(&current.arena);
    return err != ERR_OK ? err : out->err;
}
