#pragma once
/*
 * A dataset's columns: a tree of pinned ones (contract/data.md "Columns"), each leaf with its
 * builder, and the service's own beside it. One thread; lives as long as its batch.
 *
 * What is in the tree is pinned in the catalog: it came from schema_load, or was added after
 * catalog->pin said so. The service's own columns get their field ids at the next pin; they are
 * stored under paths that no JSON Pointer equals ("#timestamp").
 *
 * Fails with ERR_NO_MEMORY, ERR_CORRUPT (the table holds what cannot be: diag says what) and what
 * the catalog returns. After a failure the schema holds what was pinned, no less and no more.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/limits.h"
#include "base/map.h"
#include "lake/catalog.h"
#include "lake/columns.h"

#include <assert.h>
#include <stddef.h>

#define SCHEMA_SYSTEM_MAX                                                                          \
    64 /* own columns of a dataset: six, and the metadata fields of its routes */

#define COLUMN_GUESS_BYTES 32

enum column_kind {
    COLUMN_DOUBLE,
    COLUMN_BOOLEAN,
    COLUMN_STRING,
    COLUMN_STRUCT,
    COLUMN_LIST,
    COLUMN_NONE, /* no column: a name that the service keeps for itself */
};

/* What a top-level field's name means besides. */
enum column_role {
    COLUMN_PLAIN,
    COLUMN_TIME,     /* "timestamp": the record's time */
    COLUMN_RESERVED, /* ours: the device's goes to _rescued_data */
};

/* The first two cache lines are what a value touches; of the third only nested and null ones. */
struct column {
    uint8_t guess_text[COLUMN_GUESS_BYTES]; /* quoted, when it is that short */
    struct column *guess_next;              /* the field that came after this one last time */
    uint64_t stamp;                         /* of the struct instance that last held this field */
    enum column_kind kind;
    enum column_role role;
    uint32_t child_count;
    uint8_t guess_size; /* 0: look at quoted */
    uint8_t depth;      /* segments of its path; the root has 0 */
    uint8_t definition; /* level at which the column itself is there */
    uint8_t repetition; /* of its values; a list's own is that of its elements less one */

    struct leaf leaf;
    struct column *guess_first; /* the field that came first last time */
    struct column **children;   /* by field_id; a list has one */
    uint64_t row_stamp;         /* of the record that last counted this leaf */

    uint32_t child_capacity;
    int32_t field_id;
    struct bytes key;     /* the field's name, unescaped */
    struct bytes quoted;  /* the name as JSON with quotes, for the field-order guess */
    const char *path;     /* JSON Pointer */
    const char *name;     /* column name, in full */
    const char *own_name; /* its last part */
    struct column *parent;
    struct map by_key; /* of a struct: key -> child */
};
static_assert(offsetof(struct column, leaf) == 64, "the leaf has a cache line of its own");

/* The type as the catalog has it; of all but COLUMN_NONE. */
const char *schema_kind_name(enum column_kind kind);
const char *schema_system_kind_name(enum parquet_kind kind);

struct system_column {
    const char *path; /* "#topic" */
    const char *name; /* column name */
    enum parquet_kind kind;
    int32_t field_id; /* 0: not pinned yet */
};

/* Places in schema.system of those that every dataset has. */
enum {
    SYSTEM_TIMESTAMP,
    SYSTEM_SOURCE_TYPE,
    SYSTEM_INGESTION_TIMESTAMP,
    SYSTEM_EVENT_TIME,
    SYSTEM_INGESTED_AT,
    SYSTEM_RESCUED_DATA,
    SYSTEM_FIRST_METADATA,
};

struct schema {
    struct bytes dataset_id; /* borrowed */
    struct arena arena;
    struct column *root;
    struct column **columns; /* all but the root, in the order they were added */
    size_t column_count;
    size_t column_capacity;
    size_t leaf_count;
    size_t pinned_count; /* rows of the catalog: the schema's version */
    int32_t field_id_last;
    struct map by_path;
    struct map names;             /* lower case -> anything: taken column names */
    struct system_column *system; /* SCHEMA_SYSTEM_MAX */
    size_t system_count;
    bool loaded;
    size_t *memory_bytes;
};

enum err schema_init(struct schema *schema, struct bytes dataset_id,
                     size_t *memory_bytes) ERR_MUST_USE;
void schema_fini(struct schema *schema);

/* Without its leaves' rows. */
size_t schema_memory_bytes(const struct schema *schema);

/* Adds what the catalog knows and the schema does not. */
enum err schema_load(struct schema *schema, struct catalog *catalog,
                     struct diag *diag) ERR_MUST_USE;

/* The place in schema->system of a metadata field's column; made if missing. ERR_TOO_MANY. */
enum err schema_system(struct schema *schema, struct bytes name, enum parquet_kind kind,
                       size_t *ret_index) ERR_MUST_USE;
/* Whether all of the service's own columns are pinned. */
bool schema_system_pinned(const struct schema *schema);

/* A column to be: decided, not yet pinned. Its parent is a pinned column or an earlier one. */
struct schema_wish {
    struct column *parent;            /* or NULL */
    const struct schema_wish *wished; /* the parent, when it is a wish itself */
    enum column_kind kind;
    struct bytes key; /* ignored under a list */
    /* filled in by schema_pin */
    const char *path;
    const char *name;
    struct column *column;
};
/* Gives names and field ids, pins (with the service's own columns), and adds to the tree.
 * ERR_CONFLICT: load again and decide anew. */
enum err schema_pin(struct schema *schema, struct catalog *catalog, struct schema_wish *wishes,
                    size_t wish_count, struct diag *diag) ERR_MUST_USE;
/* What schema_pin would pin now, with nothing done yet. Columns and texts are the arena's. */
enum err schema_foresee(struct schema *schema, struct arena *arena, struct schema_wish *wishes,
                        size_t wish_count, struct catalog_pin *ret_pin) ERR_MUST_USE;
/* Pins what a source's option says beforehand (the list of a route, journal/block_field.h):
 * top-level fields, where they are not pinned yet and the dataset has room. As schema_pin. */
enum err schema_prepin(struct schema *schema, struct catalog *catalog, struct bytes columns,
                       struct diag *diag) ERR_MUST_USE;

/* NULL: no such field. */
struct column *schema_child(const struct column *column, struct bytes key);

/* Calls on_column for each column, the payload's by field_id, then ours. */
enum err schema_each(const struct schema *schema,
                     enum err (*on_column)(void *ctx, const struct catalog_column *column),
                     void *ctx) ERR_MUST_USE;

/* How many more columns the payload's fields may have; structs and lists count too. */
static inline size_t schema_room(const struct schema *schema)
{
    return schema->column_count < LIMIT_COLUMNS_PER_DATASET
               ? LIMIT_COLUMNS_PER_DATASET - schema->column_count
               : 0;
}

static inline bool column_is_leaf(const struct column *column)
{
    return column->kind <= COLUMN_STRING;
}
