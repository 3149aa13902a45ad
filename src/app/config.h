#pragma once
/*
 * The configuration: one struct, filled from four places, each stronger than the one before it:
 * the defaults, the YAML file, the environment, the command line. One table (config_table.c) knows
 * every variable; nothing else lists them, and docs/configuration.md is tested against it.
 *
 * Loaded once, before threads are started; read-only afterwards, from any thread. Lives until
 * config_free. Secrets are in plain text in the struct and masked by config_print.h.
 *
 * Errors: config_load collects every problem it finds, one sentence a line, each naming the
 * variable, the value, where it came from and what is allowed. Nothing is guessed.
 *
 * Limits: a YAML file of 1 MiB, 32 levels, 100,000 nodes after aliases; 1,000 sources; a text
 * value of 4096 bytes; a list of 256 items.
 */
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "journal/block.h"
#include "journal/journal.h"
#include "lake/parquet_writer.h"
#include "os/fs.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_VARIABLES_MAX 64

enum config_origin {
    CONFIG_FROM_DEFAULT,
    CONFIG_FROM_FILE,
    CONFIG_FROM_ENVIRONMENT,
    CONFIG_FROM_COMMAND_LINE,
};

struct config_list {
    char **items;
    size_t count;
};

enum config_store { CONFIG_STORE_FOLDER, CONFIG_STORE_S3 };

struct config {
    /* API */
    char *host;
    uint64_t port; /* 0: any free one, for tests; the log says which */
    struct config_list cors_origins;
    uint64_t metrics_partitions_max;

    /* The source that is registered at first start */
    bool auto_register;
    char *mqtt_broker;
    uint64_t mqtt_port;
    struct config_list mqtt_topics;
    char *mqtt_shared_group;

    /* Object store, as given … */
    char *object_store_url;
    char *minio_endpoint;
    char *minio_access_key;
    char *minio_secret_key;
    char *minio_bucket;
    char *aws_region;
    /* … and as worked out from them */
    enum config_store store_kind;
    char *store_url;      /* "file://DIR" or "s3://BUCKET", never empty */
    char *store_folder;   /* CONFIG_STORE_FOLDER: the folder, else NULL */
    char *store_bucket;   /* CONFIG_STORE_S3: the bucket, else NULL */
    char *store_endpoint; /* CONFIG_STORE_S3: "http://host:port" or "https://…", else NULL */

    /* Batch to file */
    uint64_t flush_interval_seconds;
    uint64_t flush_max_bytes;
    uint64_t flush_files_per_second_max;
    enum partition_by partition_by;
    uint64_t partition_window_hours;
    enum parquet_codec parquet_codec;

    /* Recent rows */
    uint64_t buffer_max_rows;
    uint64_t buffer_ttl_seconds;

    /* Databases */
    char *database_url;
    char *database_path; /* worked out from database_url: the SQLite file, or "" */
    char *metadata_db_path;
    uint64_t metadata_quality_seconds;
    uint64_t metadata_quality_days;

    /* Journal and memory */
    char *journal_dir;
    uint64_t journal_max_bytes;
    char *journal_sync_text;
    enum journal_sync journal_sync; /* worked out from journal_sync_text */
    uint32_t journal_sync_interval_ms;
    uint64_t memory_limit_bytes; /* never 0 */

    /* Log */
    enum log_level log_level;
    enum log_format log_format;

    /* Metric labels */
    char *pod_name;
    char *hostname;
    char *pod_namespace;
    const char *pod; /* POD_NAME, else HOSTNAME, else "unknown"; borrowed from the two */

    /* `sources:` of the YAML file: an array of POST bodies {name, type_name, config, enabled},
     * each checked for shape and type, not yet against the connector's schema. Never NULL. */
    json_t *sources;

    char *path; /* the YAML file that was read, or NULL */
    uint8_t origins[CONFIG_VARIABLES_MAX];
    uint32_t lines[CONFIG_VARIABLES_MAX]; /* CONFIG_FROM_FILE: where */
};

struct config_option {
    const char *name; /* "flush-interval-seconds" or the variable's own name */
    const char *value;
};

struct config_input {
    const struct fs *fs;
    const char *path;               /* --config; NULL: ./ingestor.yaml if it is there */
    const char *const *environment; /* NAME=value, NULL-terminated; NULL: none */
    const struct config_option *options;
    size_t option_count;
    uint64_t machine_memory_bytes; /* 0: ask the machine */
};

/* problems gets a line for each problem found. ERR_INVALID when there were any. */
enum err config_load(const struct config_input *input, struct config **ret_config,
                     struct buf *problems) ERR_MUST_USE;
void config_free(struct config *config); /* NULL is fine */
