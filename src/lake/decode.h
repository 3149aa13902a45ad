#pragma once
/*
 * One JSON record straight into the column builders of its dataset: no tree, no row object. One
 * thread, that of the batch.
 *
 * Guess and check: each field remembers which one came after it in the last record; the next key is
 * compared with that one's bytes first, and looked up only if it differs. A value that does not fit
 * its column, and a field that can have none, goes to the record's _rescued_data.
 *
 * decode_record either writes the whole record as row number row, or takes out what it wrote. What
 * it cannot do at once it names by an error: ERR_SYNTAX, ERR_TOO_DEEP  the text is no JSON
 *   ERR_AGAIN                 a field that is not pinned has a value that should pin it
 *   ERR_CONFLICT              a key stands twice: give it the text that json_unique makes
 *   ERR_NO_MEMORY
 */
#include "codec/json.h"
#include "lake/null_names.h"
#include "lake/schema.h"

#define DECODE_UNKNOWN_MAX 16

struct decode_options {
    struct bytes time_field; /* empty: "timestamp" */
    uint32_t depth_max;      /* of containers in the record, itself included */
    bool final;              /* nothing is deferred any more: what is not pinned is rescued */
    bool unique;             /* the text has no repeated keys */
};

struct decoder {
    struct json_cursor cursor;
    struct schema *schema;
    struct decode_options options;
    size_t row;
    uint64_t instance_last; /* of struct values, counted over all records */
    uint64_t record_stamp;
    size_t leaf_count;       /* distinct leaves of the record */
    uint32_t list_depth;     /* open lists */
    bool list_rescue;        /* something in the outermost open list did not fit */
    struct buf rescued;      /* {"name":value, … of the record at hand; empty: nothing */
    uint64_t rescued_values; /* in all records, of those that stayed */
    uint32_t rescued_count;  /* of the record at hand */
    struct {
        uint64_t instance;
        struct bytes raw;
    } unknown[DECODE_UNKNOWN_MAX]; /* rescued fields without a column, for finding repetitions */
    uint32_t unknown_count;
    struct null_names nulls; /* of all records, of fields that had no column then */
    size_t nulls_before;     /* the record at hand */
    bool has_time;           /* the record's own time could be used */
    int64_t time_us;
    struct buf scratch;
};

void decoder_init(struct decoder *decoder, struct schema *schema);
void decoder_fini(struct decoder *decoder);

/* Reads the object that *at begins with (white space before it is fine) and moves *at behind it. On
 * success decoder->has_time, time_us and rescued (an object text, or empty) tell the rest. */
enum err decode_record(struct decoder *decoder, const struct decode_options *options,
                       const uint8_t **at, const uint8_t *end, size_t row) ERR_MUST_USE;

/* The same of a checked record's text as it should have been: each key once. */
enum err decode_record_unique(struct decoder *decoder, const struct decode_options *options,
                              struct bytes record, size_t row) ERR_MUST_USE;

/* Whether a value (checked) has a leaf that could be pinned: neither null nor empty, at most
 * levels deep. */
bool decode_has_leaf(struct bytes value, uint32_t levels);
/* Whether a field of this name can have a column at all. */
bool decode_key_fits(struct bytes key);
