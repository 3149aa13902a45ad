#pragma once
/*
 * Columns from the footers of a dataset's files, as the catalog holds them (contract/data.md
 * "Columns"): for a dataset that the table dataset_columns does not know any more, or not yet. Pure
 * but for memory; one thread; what it hands out lives until footer_columns_fini.
 *
 * Our own files name the field behind each column whose name does not tell it, in the footer's
 * pair FOOTER_COLUMNS_KEY: a JSON object {"<field_id>": "<field_path>"}. For all others the name is
 * the field's; the columns of the Python service's messages are known by being there together.
 *
 *   numbers of any type     DOUBLE
 *   texts, and what we cannot write (dates, maps, binary)   STRING
 *   INT32 without any value unpinned: how pandas and pyarrow leave a field that was always null
 *   ingestion_id, date, hour left out: the path's own
 *
 * Files are added newest first: what one says of a field stays, whatever later ones say.
 */
#include "base/arena.h"
#include "base/map.h"
#include "lake/catalog.h"
#include "lake/parquet_metadata.h"
#include "lake/schema.h"

#define FOOTER_COLUMNS_KEY       "ingestor.fields"
#define FOOTER_COLUMNS_KEY_BYTES ((size_t)1024 * 1024)

struct footer_columns {
    struct arena arena;
    struct catalog_column *columns; /* parents first, by field_id once finished */
    size_t count;
    size_t capacity;
    struct map by_path; /* field_path -> index + 1 */
    struct map names;   /* column_name -> anything */
    struct map ids;     /* "<field_id>" -> anything */
    size_t system_count;
    int32_t field_id_last;
};

void footer_columns_init(struct footer_columns *columns);
void footer_columns_fini(struct footer_columns *columns);
/* ERR_NO_MEMORY: as before, or with some of the file's columns. */
enum err footer_columns_add(struct footer_columns *columns,
                            const struct parquet_metadata *metadata) ERR_MUST_USE;
/* Gives those without one a field_id, and puts all in order. */
void footer_columns_finish(struct footer_columns *columns);

/* For the writer: appends the pair's value; nothing when every name tells its field. */
enum err footer_columns_write(const struct schema *schema, struct buf *out) ERR_MUST_USE;
