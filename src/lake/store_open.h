#pragma once
/*
 * Makes the store that the configuration names. No I/O happens here: a store that is away is told
 * by its probe. ERR_INVALID says which setting is wrong, and how.
 *
 *   url                  file://dir (file:///absolute, file://./data/lake) or s3://bucket; NULL: by
 *                        endpoint: s3://<bucket> with one, file://./data/lake without
 *   endpoint             http://h:p, https://h, or h:p (plain HTTP); NULL with s3://: Amazon's
 *   access_key, …        S3 only
 *
 * All texts are copied; fs and clock must outlive the store.
 */
#include "lake/store.h"
#include "os/clock.h"
#include "os/fs.h"

enum store_addressing {
    STORE_ADDRESS_AUTO, /* virtual-host at Amazon (but for names with dots), else path */
    STORE_ADDRESS_PATH,
    STORE_ADDRESS_VIRTUAL_HOST,
};

struct store_options {
    const char *url;
    const char *endpoint;
    const char *access_key;
    const char *secret_key;
    const char *bucket; /* NULL: lake */
    const char *region; /* NULL: us-east-1 */
    enum store_addressing addressing;
    const char *ca_file;         /* NULL: the system's */
    uint32_t connect_timeout_ms; /* 0: 10 s */
    uint32_t idle_timeout_ms;    /* 0: 30 s without a byte */
    const struct fs *fs;         /* spool files are read, the folder store's written through it */
    const struct clock *clock;   /* dates of signatures */
};

enum err store_open(const struct store_options *options, struct store **ret_store,
                    struct diag *diag) ERR_MUST_USE;

/* The two makers behind it, for those who know which they want. */
enum err store_folder_new(const struct fs *fs, const char *folder, struct store **ret_store,
                          struct diag *diag) ERR_MUST_USE;

struct store_s3_options {
    const char *scheme; /* "http" or "https" */
    const char *host;   /* "h", "h:p", "[::1]:9000" */
    bool virtual_host;  /* the bucket is put before the host */
    const char *access_key;
    const char *secret_key;
    const char *bucket;
    const char *region;
    const char *ca_file;
    uint32_t connect_timeout_ms;
    uint32_t idle_timeout_ms;
    const struct fs *fs;
    const struct clock *clock;
};
enum err store_s3_new(const struct store_s3_options *options, struct store **ret_store,
                      struct diag *diag) ERR_MUST_USE;
