#pragma once
/*
 * What columns a dataset has in the lake already: finds its newest files in the store and reads
 * their footers, by a few lists and short reads (never a whole file). Blocks; any thread.
 *
 * Newest: by the names of its partitions, and among the files there by the time they were written.
 * A few of them, not one, because files of the Python service lack the fields that their batch did
 * not have, and a late row's file lies in an old partition.
 *
 * Errors: the store's; ERR_CORRUPT when there are files and none can be read (a person must look);
 * ERR_TOO_MANY when folders without files are all that was found within LAKE_LISTS_MAX lists.
 * ERR_OK with no columns: there is no file, or none with a column.
 */
#include "lake/footer_columns.h"
#include "lake/store.h"

#define LAKE_LISTS_MAX        64
#define LAKE_FILES_MAX        8
#define LAKE_FOOTER_BYTES_MAX ((size_t)32 * 1024 * 1024)

/* columns: initialised; finished on success. */
enum err lake_columns_read(struct store *store, struct bytes dataset_id,
                           struct footer_columns *columns, struct diag *diag) ERR_MUST_USE;
