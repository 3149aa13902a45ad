#pragma once
/*
 * The Parquet writer's interface, as a program may define it for itself: it assembles the rows from
 * the levels again (Dremel record assembly) and puts out each as a JSON object text and a newline;
 * the key/value metadata come last as {"#metadata": {…}}. Levels that do not fit together abort. So
 * a test sees what a reader would see, and needs no reader. Include it in one file of a program.
 */
#include "support/fake_assembly.h"

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
