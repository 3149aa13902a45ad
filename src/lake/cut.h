#pragma once
/*
 * A batch's rows as Parquet files, one for each partition, and its dead letters. One thread; takes
 * nothing out of the batch, so that a failure (ERR_NO_MEMORY) leaves it as it was.
 *
 * The service's own columns are made here, from each row's times and origin: what is the same for
 * many rows goes to the writer as a dictionary.
 */
#include "lake/batch.h"
#include "lake/dead_letter.h"
#include "lake/null_names.h"
#include "lake/origin.h"
#include "lake/rows.h"
#include "lake/schema.h"

/* In the footer of one data file of a cut: what the cut says of its dataset's metadata. */
#define CUT_METADATA_KEY       "ingestor.metadata"
#define CUT_METADATA_BYTES_MAX ((size_t)2 * 1024 * 1024)

struct cut_input {
    const struct batch_options *options;
    struct bytes dataset_id;
    struct schema *schema; /* its leaves are finished */
    struct rows *rows;
    const struct origins *origins;
    const struct dead_letters *dead;
    const struct null_names *nulls; /* some may have a column by now */
    size_t memory_bytes;            /* of rows and leaves */
    struct batch_stats stats;
    uint64_t follows; /* batch_follow */
    void **observed;  /* the observer's state */
    /* Set by cut_encode: */
    size_t file_count;       /* that the cut will have */
    const char *description; /* by the observer, for the first file's footer; NULL: none */
};

/* On failure ret_cut holds what is to be freed by cut_fini. */
enum err cut_encode(const struct cut_input *input, struct cut *ret_cut) ERR_MUST_USE;
/* Shows the cut to the batch's observer, if there is one, as the last thing that may fail. */
enum err cut_observe(const struct cut_input *input, void **state, size_t *ret_bytes) ERR_MUST_USE;
