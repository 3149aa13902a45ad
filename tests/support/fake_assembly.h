#pragma once
/* Record assembly (Dremel) for fake_parquet.h: from levels and values to JSON. */
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
