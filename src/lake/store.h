#pragma once
/*
 * An object store: a local folder or an S3-compatible service, behind one table. Calls block and
 * may come from several threads at once (each makes its own connection). A call does one attempt,
 * or a few quick ones within its timeout; who retries for as long as it takes is the uploader.
 *
 * Errors: class RETRY (408, 409, 429, 5xx, SlowDown, broken connection, disk full) or PERMANENT
 * (403 and other 4xx: a person must act), ERR_CONFLICT (the key exists with other content: stop
 * with an alarm). diag is a sentence for the operator; it never holds a secret.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define STORE_LIST_MAX 100000

struct store_object {
    const char *key;        /* "bronze/ingestion_id=…/…/part-….parquet" */
    const char *spool_path; /* the file that holds its bytes */
    uint64_t size_bytes;
    uint8_t sha256[32];
    /* From the check of the spool file that was just made, else the store computes it. */
    bool crc32c_known;
    uint32_t crc32c;
};

enum store_presence {
    STORE_ABSENT,
    STORE_SAME,      /* the key holds exactly these bytes */
    STORE_DIFFERENT, /* the key holds something else */
};

/* One name right below a prefix. */
struct store_entry {
    struct bytes name; /* without the prefix; a folder's without its slash */
    bool is_folder;
    uint64_t size_bytes;
    int64_t modified_us; /* Unix time; of an object */
};

struct store;

struct store_ops {
    /* Reaches the store, makes the bucket or folder if missing, learns what it honours
     * (If-None-Match). Called at start and again until it succeeds, then every so often as the
     * health probe. */
    enum err (*probe)(struct store *store, struct diag *diag);
    /* Puts the spool file's bytes at the key; done as well when the key already holds them. A
     * folder store on the spool's file system moves the file: afterwards it may be gone. Durable
     * when it returns ERR_OK. */
    enum err (*put)(struct store *store, const struct store_object *object, struct diag *diag);
    /* What is at the key (sizes first, then sha256 from metadata or by reading). STORE_SAME means
     * durable, too: whoever put it there may have died before its last sync. */
    enum err (*check)(struct store *store, const struct store_object *object,
                      enum store_presence *ret_presence, struct diag *diag);
    /* Calls on_entry for what stands right below a prefix (which ends in "/"), in any order; stops
     * at an error from it. Nothing there is ERR_OK. ERR_TOO_MANY beyond STORE_LIST_MAX. */
    enum err (*list)(struct store *store, const char *prefix,
                     enum err (*on_entry)(void *ctx, const struct store_entry *entry), void *ctx,
                     struct diag *diag);
    /* Reads size bytes (more than none) of an object from offset on; ERR_TRUNCATED: it has fewer;
     * ERR_NOT_FOUND: there is none. */
    enum err (*read)(struct store *store, const char *key, uint64_t offset, void *buffer,
                     size_t size, struct diag *diag);
    void (*close)(struct store *store);
    /* Asks calls that run in other threads, and all later ones, to end soon with ERR_STOPPED. NULL
     * where a call never takes long. */
    void (*cancel)(struct store *store);
};

struct store {
    const struct store_ops *ops;
    char description[256]; /* "s3://lake at http://…", "folder ./data/lake"; no secrets */
};
