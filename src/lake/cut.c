#include "lake/cut.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "lake/footer_columns.h"
#include "lake/object_key.h"
#include "lake/own_columns.h"

#include <inttypes.h>
#include <stdio.h>

#define FILE_BYTES_MAX (4 * GIB)
#define HOUR_US        (3600 * US_PER_S)

void cut_fini(struct cut *cut)
{
    for (size_t i = 0; i < cut->file_count; i++) {
        mem_free(cut->files[i].key);
        buf_fini(&cut->files[i].bytes);
    }
    mem_free(cut->files);
    *cut = (struct cut){0};
}

/* --- one file ------------------------------------------------------------------------------ */

/* All rows, those of a partition one after the other: the batch's own arrays when there is but one
 * partition, copies otherwise. Partitions are written in their order, and the cursors go on from
 * one to the next. */
struct ordered {
    struct own_rows rows;
    size_t *row_counts;         /* of each partition */
    const struct leaf **leaves; /* of the payload in the file's order, then rescued's */
    size_t leaf_count;          /* without rescued's */
    struct leaf_cursor *cursors;
    size_t row; /* where the cursors stand */
    /* of copies */
    struct leaf *copies;
    int64_t *event_us;
    int64_t *arrival_us;
    uint32_t *origin;
};

/* What all files of a cut have in common. */
struct layout {
    const struct cut_input *input;
    struct parquet_node *nodes;
    size_t node_count;
    struct leaf **leaves; /* of the payload, in order */
    size_t leaf_count;
    size_t own[SCHEMA_SYSTEM_MAX]; /* places in schema->system, in order; _rescued_data is last */
    size_t own_count;
};

static bool has_leaf(const struct column *column)
{
    if (column_is_leaf(column))
        return true;
    for (uint32_t i = 0; i < column->child_count; i++)
        if (has_leaf(column->children[i]))
            return true;
    return false;
}

static void layout_column(struct layout *layout, struct column *column)
{
    static const enum parquet_kind kinds[] = {PARQUET_DOUBLE, PARQUET_BOOLEAN, PARQUET_STRING,
                                              PARQUET_STRUCT, PARQUET_LIST};
    if (!has_leaf(column))
        return;
    struct parquet_node *node = &layout->nodes[layout->node_count++];
    *node = (struct parquet_node){
        .name = column->own_name, .kind = kinds[column->kind], .field_id = column->field_id};
    if (column_is_leaf(column))
        layout->leaves[layout->leaf_count++] = &column->leaf;
    for (uint32_t i = 0; i < column->child_count; i++) {
        node->child_count += has_leaf(column->children[i]);
        layout_column(layout, column->children[i]);
    }
}

/* Ours in the order of contract/data.md. */
static void layout_own(struct layout *layout)
{
    const struct schema *schema = layout->input->schema;
    for (size_t i = 0; i < SYSTEM_EVENT_TIME; i++)
        layout->own[layout->own_count++] = i;
    for (size_t i = SYSTEM_FIRST_METADATA; i < schema->system_count; i++)
        layout->own[layout->own_count++] = i;
    for (size_t i = SYSTEM_EVENT_TIME; i < SYSTEM_FIRST_METADATA; i++)
        layout->own[layout->own_count++] = i;
    for (size_t i = 0; i < layout->own_count; i++) {
        const struct system_column *system = &schema->system[layout->own[i]];
        layout->nodes[layout->node_count++] = (struct parquet_node){
            .name = system->name, .kind = system->kind, .field_id = system->field_id};
    }
}

static enum err layout_init(struct layout *layout, const struct cut_input *input)
{
    struct schema *schema = input->schema;
    *layout = (struct layout){.input = input};
    layout->nodes = mem_zalloc(schema->column_count + schema->system_count, sizeof(*layout->nodes));
    layout->leaves = mem_zalloc(schema->leaf_count, sizeof(struct leaf *));
    if (!layout->nodes || !layout->leaves)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < schema->root->child_count; i++)
        layout_column(layout, schema->root->children[i]);
    layout_own(layout);
    for (size_t i = 0; i < layout->leaf_count; i++) {
        enum err err = leaf_finish(layout->leaves[i], input->rows->count);
        if (err != ERR_OK)
            return err;
    }
    return leaf_finish(&input->rows->rescued, input->rows->count);
}

static void layout_fini(struct layout *layout)
{
    mem_free(layout->nodes);
    mem_free(layout->leaves);
}

static struct own_rows rows_slice(const struct own_rows *rows, size_t from, size_t count)
{
    return (struct own_rows){rows->event_us + from, rows->arrival_us + from, rows->origin + from,
                             count};
}

static enum err row_group_write(const struct layout *layout, struct ordered *ordered,
                                struct parquet_writer *writer, size_t count)
{
    struct parquet_leaf *leaves =
        mem_zalloc(layout->leaf_count + layout->own_count, sizeof(*leaves));
    struct own_column *own = mem_zalloc(layout->own_count, sizeof(*own));
    enum err err = leaves && own ? ERR_OK : ERR_NO_MEMORY;
    for (size_t i = 0; i < layout->leaf_count && err == ERR_OK; i++)
        err = leaf_slice(ordered->leaves[i], &ordered->cursors[i], count, &leaves[i]);
    struct own_rows rows = rows_slice(&ordered->rows, ordered->row, count);
    for (size_t i = 0; i + 1 < layout->own_count && err == ERR_OK; i++) {
        err = own_column_init(&own[i], layout->input->schema, layout->input->origins, &rows,
                              layout->own[i]);
        leaves[layout->leaf_count + i] = own[i].leaf;
    }
    if (err == ERR_OK)
        err = leaf_slice(ordered->leaves[layout->leaf_count], &ordered->cursors[layout->leaf_count],
                         count, &leaves[layout->leaf_count + layout->own_count - 1]);
    if (err == ERR_OK)
        err = parquet_writer_row_group(writer, count, leaves);
    ordered->row += count;
    for (size_t i = 0; own && i < layout->own_count; i++)
        own_column_fini(&own[i]);
    mem_free(own);
    mem_free(leaves);
    return err;
}

/* Rows per row group, so that none is longer than either bound. */
static size_t group_rows(const struct cut_input *input)
{
    size_t rows = input->options->row_group_rows ? input->options->row_group_rows : 1000000;
    size_t row_bytes = input->memory_bytes / (input->rows->count ? input->rows->count : 1) + 1;
    size_t by_bytes = input->options->row_group_bytes / row_bytes;
    if (input->options->row_group_bytes > 0 && by_bytes < rows)
        rows = by_bytes;
    return rows ? rows : 1;
}

static enum err partition_rows_write(const struct layout *layout, struct ordered *ordered,
                                     struct parquet_writer *writer, size_t count)
{
    size_t group = group_rows(layout->input);
    enum err err = ERR_OK;
    for (size_t left = count; left > 0 && err == ERR_OK;) {
        size_t rows = left < group ? left : group;
        err = row_group_write(layout, ordered, writer, rows);
        left -= rows;
    }
    return err;
}

static enum err on_bytes(void *ctx, struct bytes bytes)
{
    enum err err = buf_append(ctx, bytes.data, bytes.size);
    return err == ERR_TOO_LARGE ? ERR_NO_MEMORY : err;
}

/* schema: NULL for dead letters, whose columns are always the same. */
static enum err writer_finish(const struct cut_input *input, struct parquet_writer *writer,
                              const struct schema *schema, uint64_t rows, bool is_first)
{
    char first[32];
    char block_last[24];
    char row_count[24];
    char file_count[24];
    char follows[24];
    snprintf(follows, sizeof(follows), "%016" PRIx64, input->follows);
    snprintf(file_count, sizeof(file_count), "%zu", input->file_count);
    snprintf(first, sizeof(first), "%016" PRIx64 "-%08" PRIx32, input->stats.first.block,
             input->stats.first.index);
    snprintf(block_last, sizeof(block_last), "%016" PRIx64, input->stats.block_last);
    snprintf(row_count, sizeof(row_count), "%" PRIu64, rows);
    struct buf id;
    buf_init(&id, 8 * LIMIT_DATASET_ID_BYTES + LIMIT_TOPIC_BYTES);
    buf_append(&id, input->dataset_id.data, input->dataset_id.size);
    struct buf fields;
    buf_init(&fields, FOOTER_COLUMNS_KEY_BYTES);
    if (schema && footer_columns_write(schema, &fields) == ERR_TOO_LARGE)
        buf_clear(&fields); /* the names must do */
    const char *text = buf_cstr(&id);
    const char *fields_text = buf_cstr(&fields);
    enum err err = ERR_NO_MEMORY;
    if (text && fields_text) {
        struct parquet_key_value metadata[] = {
            {"ingestion_id", text},
            {"ingestor.journal", input->options->journal_uuid},
            {"ingestor.first", first},
            {"ingestor.block_last", block_last},
            {"ingestor.rows", row_count},
            {"ingestor.files", file_count},
            {0}, /* as many more as there are */
            {0},
            {0},
        };
        size_t count = 6;
        if (input->follows > 0)
            metadata[count++] = (struct parquet_key_value){"ingestor.follows", follows};
        if (fields.size > 0)
            metadata[count++] = (struct parquet_key_value){FOOTER_COLUMNS_KEY, fields_text};
        if (is_first && input->description)
            metadata[count++] = (struct parquet_key_value){CUT_METADATA_KEY, input->description};
        err = parquet_writer_finish(writer, metadata, count);
    }
    buf_fini(&fields);
    buf_fini(&id);
    return err;
}

/* One more file in the cut; freed with it whatever happens next. */
static enum err file_add(struct cut *cut, struct cut_file **ret_file)
{
    struct cut_file *grown = mem_realloc(cut->files, (cut->file_count + 1) * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    cut->files = grown;
    *ret_file = &cut->files[cut->file_count++];
    **ret_file = (struct cut_file){0};
    buf_init(&(*ret_file)->bytes, FILE_BYTES_MAX);
    return ERR_OK;
}

static enum err file_key(struct cut_file *file, struct buf *key)
{
    const char *text = buf_cstr(key);
    file->key = text ? mem_strdup(text) : NULL;
    return file->key ? ERR_OK : ERR_NO_MEMORY;
}

static enum err partition_file(const struct layout *layout, struct ordered *ordered, uint32_t index,
                               struct cut *cut)
{
    const struct partition *partition = &layout->input->rows->partitions[index];

    const struct cut_input *input = layout->input;
    struct cut_file *file;
    enum err err = file_add(cut, &file);
    if (err != ERR_OK)
        return err;
    file->rows = ordered->row_counts[index];
    struct buf key;
    buf_init(&key, 4 * KIB);
    struct parquet_writer *writer = NULL;
    err = object_key_data(&key, input->dataset_id, partition->hour * HOUR_US,
                          input->options->journal_uuid, partition->first);
    if (err == ERR_OK)
        err = file_key(file, &key);
    if (err == ERR_OK)
        err = parquet_writer_new(&input->options->parquet, layout->nodes, layout->node_count,
                                 on_bytes, &file->bytes, &writer);
    if (err == ERR_OK)
        err = partition_rows_write(layout, ordered, writer, file->rows);
    if (err == ERR_OK)
        err = writer_finish(input, writer, input->schema, file->rows, cut->file_count == 1);
    parquet_writer_free(writer);
    buf_fini(&key);
    return err;
}

/* --- partitions ---------------------------------------------------------------------------- */

static void ordered_fini(struct ordered *ordered)
{
    for (size_t i = 0; ordered->copies && i <= ordered->leaf_count; i++)
        leaf_clear(&ordered->copies[i]);
    mem_free(ordered->copies);
    mem_free(ordered->leaves);
    mem_free(ordered->cursors);
    mem_free(ordered->row_counts);
    mem_free(ordered->event_us);
    mem_free(ordered->arrival_us);
    mem_free(ordered->origin);
}

/* from[i]: which row becomes the i-th. */
static enum err rows_order(const struct rows *rows, struct ordered *ordered, uint32_t **ret_from)
{
    size_t *next = mem_zalloc(rows->partition_count, sizeof(*next));
    uint32_t *from = mem_zalloc(rows->count, sizeof(*from));
    *ret_from = from;
    ordered->event_us = mem_zalloc(rows->count, sizeof(int64_t));
    ordered->arrival_us = mem_zalloc(rows->count, sizeof(int64_t));
    ordered->origin = mem_zalloc(rows->count, sizeof(uint32_t));
    if (!next || !from || !ordered->event_us || !ordered->arrival_us || !ordered->origin) {
        mem_free(next);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 1; i < rows->partition_count; i++)
        next[i] = next[i - 1] + ordered->row_counts[i - 1];
    for (size_t i = 0; i < rows->count; i++) {
        size_t to = next[rows->partition[i]]++;
        from[to] = (uint32_t)i;
        ordered->event_us[to] = rows->event_us[i];
        ordered->arrival_us[to] = rows->arrival_us[i];
        ordered->origin[to] = rows->origin[i];
    }
    ordered->rows =
        (struct own_rows){ordered->event_us, ordered->arrival_us, ordered->origin, rows->count};
    mem_free(next);
    return ERR_OK;
}

/* Copies the leaf's rows in the order of from; at is room for a cursor a row. */
static enum err leaf_order(const struct leaf *leaf, struct leaf *copy, const uint32_t *from,
                           size_t count, struct leaf_cursor *at)
{
    struct leaf_cursor cursor = {0};
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct parquet_leaf skipped;
        at[i] = cursor;
        err = leaf_slice(leaf, &cursor, 1, &skipped);
    }
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = leaf_copy_row(leaf, &at[from[i]], copy, i);
    return err;
}

static enum err copies_init(const struct rows *rows, struct ordered *ordered, size_t *memory_bytes)
{
    uint32_t *from = NULL;
    struct leaf_cursor *at = mem_zalloc(rows->count, sizeof(*at));
    ordered->copies = mem_zalloc(ordered->leaf_count + 1, sizeof(*ordered->copies));
    enum err err = at && ordered->copies ? rows_order(rows, ordered, &from) : ERR_NO_MEMORY;
    for (size_t i = 0; i <= ordered->leaf_count && err == ERR_OK; i++) {
        const struct leaf *leaf = ordered->leaves[i];
        leaf_init(&ordered->copies[i], leaf->kind, leaf->definition_max, leaf->repetition_max,
                  memory_bytes);
        err = leaf_order(leaf, &ordered->copies[i], from, rows->count, at);
        ordered->leaves[i] = &ordered->copies[i];
    }
    mem_free(from);
    mem_free(at);
    return err;
}

static enum err ordered_init(struct ordered *ordered, const struct layout *layout,
                             size_t *memory_bytes)
{
    const struct rows *rows = layout->input->rows;
    *ordered = (struct ordered){
        .rows = {rows->event_us, rows->arrival_us, rows->origin, rows->count},
        .leaf_count = layout->leaf_count,
        .leaves = mem_zalloc(layout->leaf_count + 1, sizeof(const struct leaf *)),
        .cursors = mem_zalloc(layout->leaf_count + 1, sizeof(struct leaf_cursor)),
        .row_counts = mem_zalloc(rows->partition_count, sizeof(size_t)),
    };
    if (!ordered->leaves || !ordered->cursors || !ordered->row_counts)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < layout->leaf_count; i++)
        ordered->leaves[i] = layout->leaves[i];
    ordered->leaves[layout->leaf_count] = &rows->rescued;
    for (size_t i = 0; i < rows->count; i++)
        ordered->row_counts[rows->partition[i]]++;
    return rows->partition_count > 1 ? copies_init(rows, ordered, memory_bytes) : ERR_OK;
}

static enum err partitions_write(const struct layout *layout, struct cut *cut)
{
    const struct rows *rows = layout->input->rows;
    size_t memory_bytes = 0;
    struct ordered ordered;
    if (rows->count == 0)
        return ERR_OK;
    enum err err = ordered_init(&ordered, layout, &memory_bytes);
    for (uint32_t i = 0; i < rows->partition_count && err == ERR_OK; i++)
        if (ordered.row_counts[i] > 0)
            err = partition_file(layout, &ordered, i, cut);
    ordered_fini(&ordered);
    return err;
}

/* --- dead letters -------------------------------------------------------------------------- */

struct dead_ctx {
    const struct cut_input *input;
    struct cut *cut;
};

static enum err on_dead_file(void *ctx, const struct dead_letter_file *letters)
{
    struct dead_ctx *dead = ctx;
    const struct cut_input *input = dead->input;
    struct cut_file *file;
    enum err err = file_add(dead->cut, &file);
    if (err != ERR_OK)
        return err;
    file->rows = letters->rows;
    file->dead_letters = true;
    struct buf key;
    buf_init(&key, 4 * KIB);
    struct parquet_writer *writer = NULL;
    err = object_key_dead_letters(&key, letters->instant_us, input->options->journal_uuid,
                                  letters->first);
    if (err == ERR_OK)
        err = file_key(file, &key);
    if (err == ERR_OK)
        err = parquet_writer_new(&input->options->parquet, letters->nodes, letters->node_count,
                                 on_bytes, &file->bytes, &writer);
    if (err == ERR_OK)
        err = parquet_writer_row_group(writer, letters->rows, letters->leaves);
    if (err == ERR_OK)
        err = writer_finish(input, writer, NULL, file->rows, false);
    parquet_writer_free(writer);
    buf_fini(&key);
    return err;
}

/* Partitions that have rows, and hours that have dead letters. Each file says it, so that one that
 * lacks can be told from the others. */
static enum err files_count(const struct cut_input *input, size_t *ret_count)
{
    const struct rows *rows = input->rows;
    uint8_t *used = mem_zalloc((size_t)rows->partition_count + 1, sizeof(*used));
    if (!used)
        return ERR_NO_MEMORY;
    enum err err = dead_letters_count_files(input->dead, ret_count);
    for (size_t i = 0; i < rows->count; i++) {
        *ret_count += !used[rows->partition[i]];
        used[rows->partition[i]] = 1;
    }
    mem_free(used);
    return err;
}

static enum err describe(struct cut_input *input, struct buf *text)
{
    const struct batch_observer_ops *observer = input->options->observer;
    if (!observer || !observer->describe)
        return ERR_OK;
    enum err err = observer->describe(input->options->observer_ctx, input, input->observed, text);
    if (err == ERR_OK && text->size > 0)
        input->description = buf_cstr(text);
    return err != ERR_OK ? err : text->err;
}

enum err cut_encode(const struct cut_input *input, struct cut *ret_cut)
{
    *ret_cut = (struct cut){.stats = input->stats,
                            .schema_version = (uint32_t)input->schema->pinned_count};
    struct layout layout;
    enum err err = layout_init(&layout, input); /* finishes the leaves, so before they are shared */
    struct rows settled = *input->rows;
    struct cut_input placed = *input;
    struct buf description;
    buf_init(&description, CUT_METADATA_BYTES_MAX);
    if (err == ERR_OK)
        err = describe(&placed, &description);
    placed.rows = &settled;
    layout.input = &placed;
    if (err == ERR_OK)
        err = rows_settle(input->rows, &settled);
    if (err == ERR_OK)
        err = files_count(&placed, &placed.file_count);
    if (err == ERR_OK)
        err = partitions_write(&layout, ret_cut);
    rows_settled_fini(input->rows, &settled);
    layout_fini(&layout);
    struct dead_ctx dead = {&placed, ret_cut};
    if (err == ERR_OK)
        err =
            dead_letters_files(input->dead, input->origins, input->dataset_id, on_dead_file, &dead);
    buf_fini(&description);
    return err;
}

enum err cut_observe(const struct cut_input *input, void **state, size_t *ret_bytes)
{
    const struct batch_observer_ops *observer = input->options->observer;
    if (!observer)
        return ERR_OK;
    enum err err = observer->cut(input->options->observer_ctx, input, state);
    *ret_bytes = observer->memory_bytes(*state);
    return err;
}
