/*
 * Each leaf has a cursor into its levels and its values. A row is written by a walk over the
 * schema: whether a node is null, and how many elements a list has, is read from its first leaf,
 * and all its other leaves must say the same.
 */
#include "lake/parquet_json.h"

#include "base/alloc.h"
#include "codec/base64.h"
#include "codec/json_writer.h"
#include "codec/timestamp.h"

#include <assert.h>
#include <math.h>

#define YEAR_1_US     (-62135596800000000LL)
#define YEAR_10000_US 253402300800000000LL

struct node {
    uint32_t leaf_begin, leaf_end;
    uint32_t after; /* the element behind all that is below */
};

struct leaf {
    struct parquet_column_data data;
    const struct parquet_metadata_element *element;
    size_t level;
    size_t value;
};

struct parquet_json {
    struct parquet_reader *reader;
    const struct parquet_metadata *metadata;
    struct node *nodes;
    struct leaf *leaves;
    size_t memory_max;
    size_t row_group;
    struct buf *out;
    struct diag *diag;
};

static enum err nodes_fill(struct parquet_json *json, struct diag *diag)
{
    const struct parquet_metadata *metadata = json->metadata;
    uint32_t leaf = (uint32_t)metadata->column_count;
    for (uint32_t i = (uint32_t)metadata->element_count; i-- > 0;) {
        struct node *node = &json->nodes[i];
        node->leaf_end = leaf;
        node->after = i + 1;
        if (metadata->elements[i].is_leaf)
            leaf--;
        for (uint32_t k = 0; k < metadata->elements[i].child_count; k++)
            node->after = json->nodes[node->after].after;
        node->leaf_end = i + 1 < node->after ? json->nodes[node->after - 1].leaf_end : leaf + 1;
        node->leaf_begin = leaf;
        if (node->leaf_begin == node->leaf_end && i > 0)
            return parquet_damage(diag, metadata->footer_offset, "a group has no columns");
    }
    assert(leaf == 0);
    return ERR_OK;
}

enum err parquet_json_new(struct parquet_reader *reader, size_t memory_max,
                          struct parquet_json **ret_json, struct diag *diag)
{
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    struct parquet_json *json = mem_zalloc(1, sizeof(*json));
    if (!json)
        return ERR_NO_MEMORY;
    json->reader = reader;
    json->metadata = metadata;
    json->memory_max = memory_max;
    json->nodes = mem_zalloc(metadata->element_count + 1, sizeof(*json->nodes));
    json->leaves = mem_zalloc(metadata->column_count + 1, sizeof(*json->leaves));
    enum err err = json->nodes && json->leaves ? nodes_fill(json, diag) : ERR_NO_MEMORY;
    if (err != ERR_OK) {
        parquet_json_free(json);
        return err;
    }
    for (size_t i = 0; i < metadata->column_count; i++)
        json->leaves[i].element = &metadata->elements[metadata->leaves[i]];
    *ret_json = json;
    return ERR_OK;
}

static void leaves_clear(struct parquet_json *json)
{
    for (size_t i = 0; json->leaves && i < json->metadata->column_count; i++)
        parquet_column_data_fini(&json->leaves[i].data);
}

void parquet_json_free(struct parquet_json *json)
{
    if (!json)
        return;
    leaves_clear(json);
    mem_free(json->nodes);
    mem_free(json->leaves);
    mem_free(json);
}

static size_t held_bytes(const struct parquet_column_data *data)
{
    return data->definition_levels.capacity + data->repetition_levels.capacity +
           data->values.capacity + data->offsets.capacity + data->data.capacity;
}

enum err parquet_json_open(struct parquet_json *json, size_t row_group, struct diag *diag)
{
    size_t left = json->memory_max;
    leaves_clear(json);
    json->row_group = row_group;
    for (size_t i = 0; i < json->metadata->column_count; i++) {
        struct leaf *leaf = &json->leaves[i];
        parquet_column_data_init(&leaf->data, left);
        leaf->level = 0;
        leaf->value = 0;
        enum err err = parquet_reader_read(json->reader, row_group, i, &leaf->data, diag);
        if (err != ERR_OK)
            return err;
        size_t held = held_bytes(&leaf->data);
        left = held < left ? left - held : 0;
    }
    return ERR_OK;
}

/* --- levels -------------------------------------------------------------------------------- */

static enum err mismatch(const struct parquet_json *json, uint32_t leaf)
{
    const struct parquet_metadata_row_group *group = &json->metadata->row_groups[json->row_group];
    return parquet_damage(json->diag, group->chunks[leaf].begin,
                          "the levels of columns do not fit together");
}

static uint8_t definition(const struct leaf *leaf)
{
    return leaf->element->definition_level_max > 0 ? leaf->data.definition_levels.data[leaf->level]
                                                   : 0;
}

/* Of the next entry; 0 at the end, as if a row began. */
static uint8_t repetition(const struct leaf *leaf)
{
    return leaf->element->repetition_level_max > 0 && leaf->level < leaf->data.level_count
               ? leaf->data.repetition_levels.data[leaf->level]
               : 0;
}

/* All leaves below have an entry, and are defined as far as their parent is. */
static enum err entries_check(const struct parquet_json *json, const struct node *node,
                              uint8_t parent_level)
{
    for (uint32_t i = node->leaf_begin; i < node->leaf_end; i++) {
        const struct leaf *leaf = &json->leaves[i];
        if (leaf->level >= leaf->data.level_count || definition(leaf) < parent_level)
            return mismatch(json, i);
    }
    return ERR_OK;
}

/* Passes the one entry that each leaf below has for a null or an empty list. */
static enum err skip_undefined(struct parquet_json *json, const struct node *node,
                               uint8_t parent_level)
{
    for (uint32_t i = node->leaf_begin; i < node->leaf_end; i++) {
        if (definition(&json->leaves[i]) != parent_level)
            return mismatch(json, i);
        json->leaves[i].level++;
    }
    return ERR_OK;
}

/* Whether the list goes on, of which all leaves must know. */
static enum err list_goes_on(const struct parquet_json *json, const struct node *node,
                             uint8_t repetition_level, bool *ret_more)
{
    *ret_more = repetition(&json->leaves[node->leaf_begin]) == repetition_level;
    for (uint32_t i = node->leaf_begin; i < node->leaf_end; i++) {
        uint8_t next = repetition(&json->leaves[i]);
        if (next > repetition_level || (next == repetition_level) != *ret_more)
            return mismatch(json, i);
    }
    return ERR_OK;
}

/* --- values -------------------------------------------------------------------------------- */

static void put_double(struct buf *out, double number)
{
    if (isnan(number))
        buf_text(out, "\"NaN\"");
    else if (isinf(number))
        buf_text(out, number > 0 ? "\"Infinity\"" : "\"-Infinity\"");
    else
        (void)!json_double_append(out, number);
}

static void put_instant(struct buf *out, int64_t us)
{
    char text[TIMESTAMP_TEXT_BYTES];
    if (us < YEAR_1_US || us >= YEAR_10000_US) {
        buf_printf(out, "%lld", (long long)us);
        return;
    }
    (void)timestamp_format(us, text);
    buf_printf(out, "\"%s\"", text);
}

static void put_text(struct buf *out, const struct leaf *leaf)
{
    uint32_t begin = load_u32(leaf->data.offsets.data + leaf->value * 4);
    uint32_t end = load_u32(leaf->data.offsets.data + leaf->value * 4 + 4);
    struct bytes text = {begin < end ? leaf->data.data.data + begin : NULL, end - begin};
    if (leaf->element->kind == PARQUET_STRING) {
        buf_json_string(out, text);
        return;
    }
    buf_byte(out, '"');
    (void)!base64_append(out, text);
    buf_byte(out, '"');
}

static enum err put_value(struct parquet_json *json, uint32_t index)
{
    struct leaf *leaf = &json->leaves[index];
    const uint8_t *values = leaf->data.values.data;
    double number;
    if (definition(leaf) != leaf->element->definition_level_max ||
        leaf->value >= leaf->data.value_count)
        return mismatch(json, index);
    switch (leaf->element->kind) {
    case PARQUET_BOOLEAN:
        buf_text(json->out, values[leaf->value] ? "true" : "false");
        break;
    case PARQUET_DOUBLE:
        memcpy(&number, values + leaf->value * 8, sizeof(number));
        put_double(json->out, number);
        break;
    case PARQUET_INTEGER:
        buf_printf(json->out, "%lld", (long long)(int64_t)load_u64(values + leaf->value * 8));
        break;
    case PARQUET_TIMESTAMP_US:
        put_instant(json->out, (int64_t)load_u64(values + leaf->value * 8));
        break;
    default:
        put_text(json->out, leaf);
        break;
    }
    leaf->level++;
    leaf->value++;
    return json->out->err;
}

/* --- nodes --------------------------------------------------------------------------------- */

static enum err put_node(struct parquet_json *json, uint32_t index, uint8_t parent_level);

static enum err put_fields(struct parquet_json *json, uint32_t index)
{
    const struct parquet_metadata_element *elements = json->metadata->elements;
    uint32_t child = index + 1;
    enum err err = ERR_OK;
    buf_byte(json->out, '{');
    for (uint32_t i = 0; i < elements[index].child_count && err == ERR_OK; i++) {
        if (i > 0)
            buf_byte(json->out, ',');
        buf_json_string(json->out, elements[child].name);
        buf_byte(json->out, ':');
        err = put_node(json, child, elements[index].definition_level_max);
        child = json->nodes[child].after;
    }
    buf_byte(json->out, '}');
    return err ? err : json->out->err;
}

/* What is there for sure: a value or a struct. */
static enum err put_defined(struct parquet_json *json, uint32_t index)
{
    return json->metadata->elements[index].is_leaf ? put_value(json, json->nodes[index].leaf_begin)
                                                   : put_fields(json, index);
}

/* A repeated node's elements; in the standard form of lists, those of its only child. */
static enum err put_elements(struct parquet_json *json, uint32_t index, bool is_list)
{
    const struct parquet_metadata_element *repeated = &json->metadata->elements[index];
    const struct node *node = &json->nodes[index];
    bool wrapped = is_list && !repeated->is_leaf && repeated->child_count == 1;
    uint8_t parent_level = (uint8_t)(repeated->definition_level_max - 1);
    enum err err = entries_check(json, node, parent_level);
    bool more = true;
    if (err == ERR_OK && definition(&json->leaves[node->leaf_begin]) == parent_level) {
        buf_text(json->out, "[]");
        return skip_undefined(json, node, parent_level);
    }
    for (bool first = true; more && err == ERR_OK; first = false) {
        buf_byte(json->out, first ? '[' : ',');
        err = entries_check(json, node, repeated->definition_level_max);
        if (err == ERR_OK)
            err = wrapped ? put_node(json, index + 1, repeated->definition_level_max)
                          : put_defined(json, index);
        if (err == ERR_OK)
            err = list_goes_on(json, node, repeated->repetition_level_max, &more);
    }
    buf_byte(json->out, ']');
    return err ? err : json->out->err;
}

static enum err put_node(struct parquet_json *json, uint32_t index, uint8_t parent_level)
{
    const struct parquet_metadata_element *element = &json->metadata->elements[index];
    const struct node *node = &json->nodes[index];
    if (element->repetition == PARQUET_REPEATED)
        return put_elements(json, index, false);
    enum err err = entries_check(json, node, parent_level);
    if (err != ERR_OK)
        return err;
    if (definition(&json->leaves[node->leaf_begin]) < element->definition_level_max) {
        buf_text(json->out, "null");
        return skip_undefined(json, node, parent_level);
    }
    bool is_list = (element->converted_type == PARQUET_CONVERTED_LIST ||
                    element->logical_type == PARQUET_LOGICAL_LIST) &&
                   element->child_count == 1 &&
                   json->metadata->elements[index + 1].repetition == PARQUET_REPEATED;
    return is_list ? put_elements(json, index + 1, true) : put_defined(json, index);
}

enum err parquet_json_row(struct parquet_json *json, struct buf *out, struct diag *diag)
{
    json->out = out;
    json->diag = diag;
    for (uint32_t i = 0; i < json->metadata->column_count; i++) {
        if (repetition(&json->leaves[i]) != 0)
            return mismatch(json, i);
    }
    return put_fields(json, 0);
}
