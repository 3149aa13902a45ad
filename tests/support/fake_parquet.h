#pragma once
/*
 * The Parquet writer's interface, as a program may define it for itself: it assembles the rows from
 * the levels again (Dremel record assembly) and puts out each as a JSON object text and a newline;
 * the key/value metadata come last as {"#metadata": {…}}. Levels that do not fit together abort. So
 * a test sees what a reader would see, and needs no reader. Include it in one file of a program.
 */
#include "base/alloc.h"
#include "base/limits.h"
#include "codec/base64.h"
#include "codec/utf8.h"
#include "lake/parquet_writer.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_CHECK(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: levels do not fit: %s\n", __FILE__, __LINE__, #condition);     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

struct fake_leaf {
    struct parquet_leaf leaf;
    size_t level;
    size_t value;
    uint8_t definition_max;
};

struct parquet_writer {
    struct parquet_node *nodes;
    size_t node_count;
    size_t leaf_count;
    enum err (*on_bytes)(void *ctx, struct bytes bytes);
    void *ctx;
    struct fake_leaf *leaves; /* of the row group */
};

static enum err fake_emit(struct parquet_writer *writer, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    FAKE_CHECK(text);
    json_decref(object);
    enum err err = writer->on_bytes(writer->ctx, bytes_from(text, strlen(text)));
    free(text);
    return err == ERR_OK ? writer->on_bytes(writer->ctx, bytes_from("\n", 1)) : err;
}

enum err parquet_writer_new(const struct parquet_options *options, const struct parquet_node *nodes,
                            size_t node_count, enum err (*on_bytes)(void *ctx, struct bytes bytes),
                            void *ctx, struct parquet_writer **ret_writer)
{
    (void)options;
    struct parquet_writer *writer = mem_zalloc(1, sizeof(*writer));
    if (!writer)
        return ERR_NO_MEMORY;
    writer->nodes = mem_dup(nodes, node_count * sizeof(*nodes));
    writer->node_count = node_count;
    writer->on_bytes = on_bytes;
    writer->ctx = ctx;
    if (!writer->nodes) {
        mem_free(writer);
        return ERR_NO_MEMORY;
    }
    for (size_t i = 0; i < node_count; i++) {
        bool group = nodes[i].kind == PARQUET_STRUCT || nodes[i].kind == PARQUET_LIST;
        FAKE_CHECK(group == (nodes[i].child_count > 0));
        FAKE_CHECK(nodes[i].kind != PARQUET_LIST || nodes[i].child_count == 1);
        FAKE_CHECK(nodes[i].name && nodes[i].name[0] && nodes[i].field_id != 0);
        writer->leaf_count += !group;
    }
    *ret_writer = writer;
    return ERR_OK;
}

static uint8_t fake_definition(const struct fake_leaf *leaf)
{
    FAKE_CHECK(leaf->level < leaf->leaf.level_count);
    return leaf->leaf.definition_levels ? leaf->leaf.definition_levels[leaf->level]
                                        : leaf->definition_max;
}

static uint8_t fake_repetition(const struct fake_leaf *leaf)
{
    FAKE_CHECK(leaf->level < leaf->leaf.level_count);
    return leaf->leaf.repetition_levels ? leaf->leaf.repetition_levels[leaf->level] : 0;
}

static json_t *fake_value(struct fake_leaf *leaf, enum parquet_kind kind)
{
    size_t at = leaf->value++;
    FAKE_CHECK(at < leaf->leaf.value_count);
    if (leaf->leaf.indices) {
        at = leaf->leaf.indices[at];
        FAKE_CHECK(at < leaf->leaf.dictionary_count);
    }
    if (kind == PARQUET_BOOLEAN)
        return json_boolean(((const uint8_t *)leaf->leaf.values)[at]);
    if (kind == PARQUET_TIMESTAMP_US)
        return json_integer(((const int64_t *)leaf->leaf.values)[at]);
    if (kind == PARQUET_DOUBLE) {
        double value;
        memcpy(&value, (const uint8_t *)leaf->leaf.values + at * sizeof(value), sizeof(value));
        if (isnan(value))
            return json_string("NaN");
        return isinf(value) ? json_string(value > 0 ? "Infinity" : "-Infinity") : json_real(value);
    }
    FAKE_CHECK(leaf->leaf.offsets[at] <= leaf->leaf.offsets[at + 1]);
    const char *data = leaf->leaf.data ? (const char *)leaf->leaf.data : "";
    data += leaf->leaf.offsets[at];
    size_t size = leaf->leaf.offsets[at + 1] - leaf->leaf.offsets[at];
    if (kind == PARQUET_STRING)
        FAKE_CHECK(utf8_valid(bytes_from(data, size)));
    if (utf8_valid(bytes_from(data, size)))
        return json_stringn(data, size);
    return json_pack("{s:i}", "#binary bytes", (int)size);
}

/* Index of the node after this one's subtree. */
static size_t fake_subtree_end(const struct parquet_writer *writer, size_t node)
{
    size_t next = node + 1;
    for (uint32_t i = 0; i < writer->nodes[node].child_count; i++)
        next = fake_subtree_end(writer, next);
    return next;
}

static size_t fake_leaves_between(const struct parquet_writer *writer, size_t from, size_t to)
{
    size_t count = 0;
    for (; from < to; from++)
        count += writer->nodes[from].child_count == 0;
    return count;
}

/* node, its first leaf, the definition level above it, the repetition level above it, and the
 * repetition that the entry must have. */
static json_t *fake_assemble(struct parquet_writer *writer, size_t node, size_t first_leaf,
                             uint8_t above, uint8_t repeated_above, uint8_t repetition)
{
    const struct parquet_node *schema = &writer->nodes[node];
    struct fake_leaf *leaf = &writer->leaves[first_leaf];
    size_t end = fake_subtree_end(writer, node);
    size_t leaf_count = fake_leaves_between(writer, node, end);
    uint8_t definition = fake_definition(leaf);
    uint8_t here = (uint8_t)(above + 1);
    FAKE_CHECK(fake_repetition(leaf) == repetition);
    if (schema->child_count == 0) {
        FAKE_CHECK(definition >= above && definition <= here);
        leaf->definition_max = here;
        leaf->level++;
        return definition == here ? fake_value(leaf, schema->kind) : json_null();
    }
    bool null = definition < here;
    bool empty = schema->kind == PARQUET_LIST && definition == here;
    if (null || empty) {
        for (size_t i = 0; i < leaf_count; i++) {
            FAKE_CHECK(fake_definition(leaf + i) == definition);
            FAKE_CHECK(fake_repetition(leaf + i) == repetition);
            leaf[i].level++;
        }
        return null ? json_null() : json_array();
    }
    if (schema->kind == PARQUET_STRUCT) {
        json_t *object = json_object();
        size_t child = node + 1;
        size_t child_leaf = first_leaf;
        for (uint32_t i = 0; i < schema->child_count; i++) {
            size_t next = fake_subtree_end(writer, child);
            FAKE_CHECK(!json_object_get(object, writer->nodes[child].name));
            json_object_set_new(
                object, writer->nodes[child].name,
                fake_assemble(writer, child, child_leaf, here, repeated_above, repetition));
            child_leaf += fake_leaves_between(writer, child, next);
            child = next;
        }
        return object;
    }
    json_t *array = json_array();
    uint8_t repeated = (uint8_t)(repeated_above + 1);
    do {
        json_array_append_new(array, fake_assemble(writer, node + 1, first_leaf,
                                                   (uint8_t)(here + 1), repeated, repetition));
        repetition = repeated;
    } while (leaf->level < leaf->leaf.level_count && fake_repetition(leaf) == repeated);
    return array;
}

static void fake_definition_maxima(struct parquet_writer *writer, size_t *node, size_t *leaf,
                                   uint8_t above)
{
    const struct parquet_node *schema = &writer->nodes[(*node)++];
    if (schema->child_count == 0)
        writer->leaves[(*leaf)++].definition_max = (uint8_t)(above + 1);
    for (uint32_t i = 0; i < schema->child_count; i++)
        fake_definition_maxima(writer, node, leaf,
                               (uint8_t)(above + (schema->kind == PARQUET_LIST ? 2 : 1)));
}

static json_t *fake_row(struct parquet_writer *writer)
{
    json_t *row = json_object();
    size_t leaf = 0;
    for (size_t node = 0; node < writer->node_count;) {
        size_t next = fake_subtree_end(writer, node);
        FAKE_CHECK(!json_object_get(row, writer->nodes[node].name));
        json_object_set_new(row, writer->nodes[node].name,
                            fake_assemble(writer, node, leaf, 0, 0, 0));
        leaf += fake_leaves_between(writer, node, next);
        node = next;
    }
    return row;
}

enum err parquet_writer_row_group(struct parquet_writer *writer, uint64_t row_count,
                                  const struct parquet_leaf *leaves)
{
    writer->leaves = calloc(writer->leaf_count + 1, sizeof(*writer->leaves));
    for (size_t i = 0; i < writer->leaf_count; i++)
        writer->leaves[i].leaf = leaves[i];
    size_t leaf = 0;
    for (size_t node = 0; node < writer->node_count;)
        fake_definition_maxima(writer, &node, &leaf, 0);
    enum err err = ERR_OK;
    for (uint64_t i = 0; i < row_count && err == ERR_OK; i++)
        err = fake_emit(writer, fake_row(writer));
    for (size_t i = 0; i < writer->leaf_count && err == ERR_OK; i++) {
        FAKE_CHECK(writer->leaves[i].level == leaves[i].level_count);
        FAKE_CHECK(writer->leaves[i].value == leaves[i].value_count);
    }
    free(writer->leaves);
    writer->leaves = NULL;
    return err;
}

enum err parquet_writer_finish(struct parquet_writer *writer,
                               const struct parquet_key_value *metadata, size_t metadata_count)
{
    json_t *values = json_object();
    for (size_t i = 0; i < metadata_count; i++)
        json_object_set_new(values, metadata[i].key, json_string(metadata[i].value));
    return fake_emit(writer, json_pack("{s:o}", "#metadata", values));
}

void parquet_writer_free(struct parquet_writer *writer)
{
    if (!writer)
        return;
    mem_free(writer->nodes);
    mem_free(writer);
}
