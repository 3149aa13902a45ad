#pragma once
/*
 * The flat schema of a Parquet footer, made from the writer's nodes: elements depth first with the
 * root in front, each list with its middle "list" element, and the leaf columns with their maximum
 * levels. Owned by the writer; names stay the caller's.
 */
#include "base/arena.h"
#include "lake/parquet_format.h"
#include "lake/parquet_writer.h"

#define PARQUET_SCHEMA_DEPTH_MAX 64
#define PARQUET_SCHEMA_NODES_MAX 100000

struct parquet_element {
    const char *name;
    struct parquet_element *parent; /* NULL: the root */
    enum parquet_repetition repetition;
    bool is_leaf;
    bool is_list; /* the outer group of a list */
    enum parquet_kind kind;
    int32_t field_id;
    uint32_t child_count;
};

struct parquet_column {
    const struct parquet_element *element;
    enum parquet_kind kind;
    uint8_t definition_level_max;
    uint8_t repetition_level_max;
};

struct parquet_schema {
    struct parquet_element *elements; /* [0] is the root */
    size_t element_count;
    struct parquet_column *columns;
    size_t column_count;
};

/* ERR_INVALID when the nodes do not form a tree of the promised kind. Memory is the arena's. */
enum err parquet_schema_build(struct parquet_schema *schema, struct arena *arena,
                              const struct parquet_node *nodes, size_t node_count) ERR_MUST_USE;

enum parquet_type parquet_kind_type(enum parquet_kind kind);
