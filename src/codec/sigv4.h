#pragma once
/*
 * AWS Signature Version 4 for S3-compatible stores. Pure: what is to be signed comes in, the value
 * of the Authorization header goes out. Any thread. Paths and queries come as they go over the wire
 * (percent-encoded once, by sigv4_encode_*); nothing is normalised or encoded again, as S3 wants
 * it.
 *
 * Fails with ERR_NO_MEMORY, ERR_TOO_LARGE (a request beyond 64 KiB or SIGV4_HEADERS_MAX headers)
 * and ERR_INVALID (a header value with a line break).
 */
#include "base/buf.h"

#define SIGV4_HEADERS_MAX     32
#define SIGV4_DATE_SIZE       17 /* "20130524T000000Z" and its NUL */
#define SIGV4_EMPTY_SHA256    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGV4_QUERY_PARTS_MAX 64

struct sigv4_credentials {
    const char *access_key;
    const char *secret_key;
    const char *region;  /* "us-east-1" */
    const char *service; /* "s3" */
};

struct sigv4_header {
    const char *name; /* any case; all that are given are signed */
    const char *value;
};

struct sigv4_request {
    const char *method;
    const char *path;                   /* begins with "/" */
    const char *query;                  /* without "?"; may be NULL */
    const struct sigv4_header *headers; /* must hold host; S3 wants x-amz-date and the hash, too */
    size_t header_count;
    const char *payload_sha256; /* 64 hexadecimal digits, or a word such as UNSIGNED-PAYLOAD */
};

/* Unix time to the form of x-amz-date. Seconds outside the years 1970-9999 become 1970. */
void sigv4_date(int64_t unix_s, char ret_date[SIGV4_DATE_SIZE]);

/* Appends "AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…". */
enum err sigv4_authorization(const struct sigv4_credentials *credentials,
                             const struct sigv4_request *request, const char *date,
                             struct buf *authorization) ERR_MUST_USE;

/* Appends text with all but A-Z a-z 0-9 - . _ ~ as %XX; a path keeps its slashes, too. A key that
 * holds "%20" literally comes out as "%2520": encoded exactly once. */
enum err sigv4_encode_path(struct bytes text, struct buf *encoded) ERR_MUST_USE;
enum err sigv4_encode_query(struct bytes text, struct buf *encoded) ERR_MUST_USE;
