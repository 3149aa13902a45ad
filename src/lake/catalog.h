#pragma once
/*
 * The pinned columns of all datasets: table dataset_columns of contract/data.md, inserted or read
 * back before their first use, so that replicas agree. Any thread; calls may block on the database.
 * A RETRY error means: the database is away, keep the batch and come again.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stdint.h>

struct catalog_column {
    struct bytes field_path;  /* JSON Pointer: "/location/lat"; a list's element is "/tags/-" */
    struct bytes column_name; /* unique in the dataset; nested ones with their parents and a dot */
    struct bytes column_type; /* DOUBLE BOOLEAN STRING STRUCT LIST TIMESTAMP BINARY */
    int32_t field_id;         /* unique in the dataset, from 1, never reused */
};

/* What a dataset is to pin. */
struct catalog_pin {
    struct bytes dataset_id;
    const struct catalog_column *columns;
    size_t count;
};

struct catalog;

struct catalog_ops {
    /* Calls on_column for each column of the dataset, by field_id. The views live for the call. */
    enum err (*load)(struct catalog *catalog, struct bytes dataset_id,
                     enum err (*on_column)(void *ctx, const struct catalog_column *column),
                     void *ctx, struct diag *diag);
    /* Inserts, in one transaction, those whose field_path the table does not know yet; where
     * another replica was first (or its field_id or name is taken: ERR_CONFLICT), the caller loads
     * again and decides anew. */
    enum err (*pin)(struct catalog *catalog, struct bytes dataset_id,
                    const struct catalog_column *columns, size_t count, struct diag *diag);
    /* The same for many datasets in one transaction, and so with one sync. All or nothing: a
     * caller whose datasets are not pinned then, for whatever reason, pins them one by one. What
     * is pinned already as it should be is written by neither. May be NULL. */
    enum err (*pin_many)(struct catalog *catalog, const struct catalog_pin *pins, size_t count,
                         struct diag *diag);
    void (*close)(struct catalog *catalog);
    /* Whether it can be reached and written to now. May be NULL: it always can. */
    enum err (*probe)(struct catalog *catalog, struct diag *diag);
};

struct catalog {
    const struct catalog_ops *ops;
};

/* The catalog in the data-source database. Succeeds although the database is away: it is opened,
 * and migrated, at the first call that finds it, and until then calls return why not. Only a URL of
 * an unknown kind fails here. Any thread. */
enum err catalog_open(const char *database_url, struct catalog **ret_catalog,
                      struct diag *diag) ERR_MUST_USE;
void catalog_close(struct catalog *catalog); /* NULL is fine */
