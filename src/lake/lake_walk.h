#pragma once
/*
 * All Parquet files below a prefix of the object store, in the order of their keys' path parts.
 * Blocks on the store; one thread. Folders nest at most LAKE_WALK_DEPTH_MAX deep, each holds at
 * most STORE_LIST_MAX names (ERR_TOO_MANY). Names that begin with "." or "_" are not data, except
 * the dead letters' folder.
 */
#include "lake/store.h"

#define LAKE_WALK_DEPTH_MAX 8
#define LAKE_KEY_BYTES_MAX  1025
#define LAKE_DEAD_LETTERS   "_dead_letters"

struct lake_file {
    const char *key; /* lives for the call */
    uint64_t size_bytes;
    int64_t modified_us;
};

/* prefix ends in "/"; nothing there is ERR_OK. Stops at an error from on_file. */
enum err lake_walk(struct store *store, const char *prefix,
                   enum err (*on_file)(void *ctx, const struct lake_file *file), void *ctx,
                   struct diag *diag) ERR_MUST_USE;
