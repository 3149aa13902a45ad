#pragma once
/* Every bound that is not configuration, in one place. Units are in the names. */

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL
#define US_PER_MS 1000LL
#define US_PER_S  1000000LL
#define MS_PER_S  1000LL

/* Messages and records */
#define LIMIT_MESSAGE_BYTES_DEFAULT (16 * MIB) /* max_message_bytes of a source */
#define LIMIT_MESSAGE_BYTES_MAX     (48 * MIB) /* the most that option may be set to */
#define LIMIT_DEAD_LETTER_BYTES     (64 * KIB) /* kept of an oversize payload */
#define LIMIT_JSON_DEPTH            1000
#define LIMIT_CONVERTED_BYTES       (192 * MIB) /* a payload of another format, as JSON text */
#define LIMIT_COLUMN_DEPTH          16
#define LIMIT_LEAVES_PER_RECORD     1000
#define LIMIT_COLUMNS_PER_DATASET   2000
#define LIMIT_DATASET_ID_BYTES      200
#define LIMIT_TOPIC_BYTES           65535

/* Journal */
#define LIMIT_BLOCK_CLOSE_BYTES     (256 * KIB)
#define LIMIT_BLOCK_ALIGN_BYTES     4096
#define LIMIT_BLOCK_BYTES           (56 * MIB)       /* one message of the largest kind fits */
#define LIMIT_BLOCK_NUMBER          (UINT64_MAX / 4) /* so that sums cannot overflow */
#define LIMIT_GROUP_BYTES           (112 * MIB)      /* of blocks that are durable together */
#define LIMIT_SEGMENT_BYTES         (64 * MIB)
#define LIMIT_JOURNAL_RESERVE_BYTES (64 * MIB) /* kept back for control records */

/* Metadata (contract/data.md "Metadata") */
#define LIMIT_METADATA_CHANGES_BYTES (48 * MIB) /* of one dataset, not in the database yet */
#define LIMIT_SAMPLES                5
#define LIMIT_SAMPLE_BYTES           256
#define LIMIT_SENSORS_LISTED         1000

/* Memory between the sockets and the workers */
#define LIMIT_BLOCKS_IN_FLIGHT_BYTES (64 * MIB)
#define LIMIT_LANDERS_BYTES          (128 * MIB) /* encoded cuts that wait for the disk */

/* What the API shows and takes */
#define LIMIT_RECENT_BYTES         (64 * MIB) /* raw messages kept for /api/data, all datasets */
#define LIMIT_RECENT_ANSWER_BYTES  (64 * MIB) /* rendered rows of one dataset in one answer */
#define LIMIT_API_BODY_BYTES       (1 * MIB)
#define LIMIT_API_REQUEST_BYTES    (1 * MIB)   /* of memory for one request's path and query */
#define LIMIT_API_ANSWER_BYTES     (256 * MIB) /* built in memory; larger ones are streamed */
#define LIMIT_API_JSON_DEPTH       64
#define LIMIT_SCHEMA_DEPTH         64 /* of a JSON Schema's subschemas */
#define LIMIT_SCHEMA_ERRORS        20 /* told of one value */
#define LIMIT_API_CONNECTIONS      512
#define LIMIT_API_PUSH_BYTES       (16 * MIB)  /* one body of records, inflated too */
#define LIMIT_API_BODIES_BYTES     (256 * MIB) /* all bodies on their way in, inflated too */
#define LIMIT_API_STREAM_CLIENTS   256
#define LIMIT_API_STREAM_BYTES     (64 * MIB) /* held for slow clients of streams */
#define LIMIT_METRICS_ANSWER_BYTES (256 * MIB)
