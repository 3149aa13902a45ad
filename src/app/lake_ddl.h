#pragma once
/*
 * Statements that make a dataset a table in a query engine, from its columns as JSON:
 * [{"name": …, "type": "DOUBLE"}, {"name": …, "type": "STRUCT", "fields": […]},
 *  {"name": …, "type": "LIST", "element": {…}}]. Pure but for memory.
 */
#include "base/buf.h"

#include <jansson.h>

struct lake_ddl {
    const char *engine;   /* duckdb, spark, trino */
    const char *table;    /* the dataset's id */
    const char *location; /* its folder: "s3://lake/bronze/ingestion_id=x/", or a path */
    const json_t *columns;
};

enum err lake_ddl_write(const struct lake_ddl *ddl, struct buf *out) ERR_MUST_USE;
