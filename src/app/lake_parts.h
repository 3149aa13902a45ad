#pragma once
/* What the files of `ingestor lake` share; see lake.h. */
#include "app/lake.h"

#include <jansson.h>

#define LAKE_LINE_BYTES_MAX ((size_t)256 * 1024 * 1024)  /* one row as JSON */
#define LAKE_READ_BYTES_MAX ((size_t)1024 * 1024 * 1024) /* the columns of one row group */

struct lake_view {
    const struct lake_command *command;
    const char *journal_dir;
    struct store *store;
    char prefix[LAKE_KEY_BYTES_MAX];         /* of the keys to walk; ends in "/" */
    char encoded_prefix[LAKE_KEY_BYTES_MAX]; /* of those to walk when there are none; or "" */
    const char *file;                        /* NULL, or the only key wanted below it */
    bool is_local;                           /* file lies on this machine, outside the lake */
    uint64_t local_bytes;
    char url[LAKE_KEY_BYTES_MAX]; /* of the store, as engines spell it; ends in "/" */
    bool damaged;                 /* something was found that exit code 4 tells */
    struct diag diag;
};

/* Walks the target's files. ERR_NOT_FOUND when there are none. */
enum err lake_view_walk(struct lake_view *view,
                        enum err (*on_file)(void *ctx, const struct lake_file *file),
                        void *ctx) ERR_MUST_USE;

/* Whether a file's error is its own fault: damaged, too large, of a kind that is not read. Then the
 * others go on. */
bool lake_is_file_fault(enum err err);
/* What comes of reading one file: its own fault is told, with its key, and forgiven (damaged is
 * set); any other error is the command's. */
enum err lake_view_file_read(struct lake_view *view, const struct lake_file *file, enum err err,
                             const struct diag *diag) ERR_MUST_USE;

/* A text of a file, whatever its bytes: those that are not UTF-8 become U+FFFD. NULL: no memory. */
json_t *lake_json_text(struct bytes text);

/* "sensor_1" of "bronze/ingestion_id=sensor_1/date=…", as it stands in the key. */
struct bytes lake_key_dataset(const char *key);
/* The value of name= in the key; empty when it is not there. */
struct bytes lake_key_part(const char *key, const char *name);

enum err lake_list(struct lake_view *view) ERR_MUST_USE;
enum err lake_rows(struct lake_view *view) ERR_MUST_USE;
enum err lake_schema(struct lake_view *view) ERR_MUST_USE;
enum err lake_check(struct lake_view *view) ERR_MUST_USE;
