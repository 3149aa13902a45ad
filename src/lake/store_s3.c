/*
 * An S3-compatible service as object store.
 *
 * One PUT for each object, with the real SHA-256 of its bytes (which the store checks), a CRC32C,
 * and the SHA-256 once more as metadata, by which the object can be recognised later. Whether the
 * store honours If-None-Match: * is learned once, by putting a small object twice under a key
 * outside bronze/. Where it does, the PUT itself tells that a key is taken (412); where not, a HEAD
 * before the PUT does, which leaves a gap, but only another process with a copy of this journal
 * would ever write that key.
 *
 * A PUT whose answer was lost may have arrived: the key is looked at before an error is reported,
 * and the next try would find 412 and the same content in any case.
 */
#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "lake/file_digest.h"
#include "lake/s3_list.h"
#include "lake/s3_request.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <sys/random.h>

#define CONDITION_UNKNOWN  0
#define CONDITION_HONOURED 1
#define CONDITION_IGNORED  2

struct store_s3 {
    struct store store; /* first: the table's functions cast back */
    struct s3 *s3;
    const struct fs *fs;
    bool amazon_region; /* the bucket must be made with a location constraint */
    char region[64];
    _Atomic int condition;
};

/* What is to be put, from a file or from memory. */
struct upload {
    const char *key;
    const struct fs *fs;
    struct fs_file *file;
    struct bytes bytes;
    uint64_t size_bytes;
    char sha256[SHA256_HEX_SIZE];
    char crc32c[16]; /* base64 */
};

static struct store_s3 *of(struct store *store)
{
    return (struct store_s3 *)store;
}

static void set_crc32c(struct upload *upload, uint32_t crc)
{
    uint8_t big_endian[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8),
                             (uint8_t)crc};
    EVP_EncodeBlock((unsigned char *)upload->crc32c, big_endian, sizeof(big_endian));
}

static enum err read_upload(void *ctx, uint64_t offset, void *buffer, size_t size)
{
    const struct upload *upload = ctx;
    size_t got = 0;
    enum err err = fs_read(upload->fs, upload->file, offset, buffer, size, &got, NULL);
    return err != ERR_OK ? err : got == size ? ERR_OK : ERR_TRUNCATED;
}

static enum err create_bucket(struct store_s3 *store, struct http_response *response,
                              struct diag *diag)
{
    char body[256] = "";
    char sha256[SHA256_HEX_SIZE];
    char code[S3_CODE_SIZE];
    uint8_t digest[SHA256_BYTES];
    if (store->amazon_region)
        snprintf(body, sizeof(body),
                 "<CreateBucketConfiguration><LocationConstraint>%s</LocationConstraint>"
                 "</CreateBucketConfiguration>",
                 store->region);
    enum err err = sha256_of(bytes_from_text(body), digest);
    if (err != ERR_OK)
        return err;
    hex_encode(digest, sizeof(digest), sha256);
    struct s3_call call = {
        .method = "PUT", .has_body = true, .body = bytes_from_text(body), .payload_sha256 = sha256};
    err = s3_perform(store->s3, &call, response, diag);
    if (err != ERR_OK)
        return err;
    s3_error_code(response, code);
    if (response->status == 409 && strcmp(code, "BucketAlreadyOwnedByYou") == 0)
        return ERR_OK;
    return s3_error(store->s3, &call, response, diag);
}

/* One PUT; the answer is the caller's to judge. */
static enum err put_once(struct store_s3 *store, struct upload *upload, bool conditional,
                         struct http_response *response, struct s3_call *ret_call,
                         struct diag *diag)
{
    *ret_call = (struct s3_call){.method = "PUT",
                                 .key = upload->key,
                                 .has_body = true,
                                 .body = upload->bytes,
                                 .read_body = upload->file ? read_upload : NULL,
                                 .body_size_bytes = upload->size_bytes,
                                 .payload_sha256 = upload->sha256,
                                 .ctx = upload};
    s3_call_header(ret_call, "content-type", "application/vnd.apache.parquet");
    s3_call_header(ret_call, "x-amz-checksum-crc32c", upload->crc32c);
    s3_call_header(ret_call, "x-amz-meta-sha256", upload->sha256);
    if (conditional)
        s3_call_header(ret_call, "if-none-match", "*");
    return s3_perform(store->s3, ret_call, response, diag);
}

static bool is_bucket_missing(const struct http_response *response)
{
    char code[S3_CODE_SIZE];
    s3_error_code(response, code);
    return response->status == 404 && strcmp(code, "NoSuchBucket") == 0;
}

/* The same, and when the bucket is not there, or no more, it is made and the PUT made again. */
static enum err put_in_bucket(struct store_s3 *store, struct upload *upload, bool conditional,
                              struct http_response *response, struct s3_call *ret_call,
                              struct diag *diag)
{
    enum err err = put_once(store, upload, conditional, response, ret_call, diag);
    if (err != ERR_OK || !is_bucket_missing(response))
        return err;
    err = create_bucket(store, response, diag);
    return err != ERR_OK ? err : put_once(store, upload, conditional, response, ret_call, diag);
}

static enum err probe_upload(struct upload *upload, char key[64])
{
    static const char content[] = "ingestor tries whether this store honours If-None-Match\n";
    uint8_t random[8];
    uint8_t digest[SHA256_BYTES];
    char hex[17];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return ERR_AGAIN;
    hex_encode(random, sizeof(random), hex);
    snprintf(key, 64, ".ingestor-probe/%s", hex);
    upload->key = key;
    upload->bytes = BYTES_LITERAL(content);
    set_crc32c(upload, crc32c(0, upload->bytes.data, upload->bytes.size));
    enum err err = sha256_of(upload->bytes, digest);
    hex_encode(digest, sizeof(digest), upload->sha256);
    return err;
}

/* Two PUTs of one key: what the second is told says whether the condition counts. */
static enum err try_condition(struct store_s3 *store, struct upload *upload,
                              struct http_response *response, int *ret_condition, struct diag *diag)
{
    struct s3_call call;
    enum err err = put_in_bucket(store, upload, true, response, &call, diag);
    if (err == ERR_OK && response->status == 501) { /* knows no conditions, and says so */
        *ret_condition = CONDITION_IGNORED;
        err = put_in_bucket(store, upload, false, response, &call, diag);
        return err != ERR_OK ? err : s3_error(store->s3, &call, response, diag);
    }
    if (err == ERR_OK)
        err = s3_error(store->s3, &call, response, diag);
    if (err == ERR_OK)
        err = put_in_bucket(store, upload, true, response, &call, diag);
    if (err != ERR_OK)
        return err;
    *ret_condition = response->status == 412 ? CONDITION_HONOURED : CONDITION_IGNORED;
    return response->status == 412 ? ERR_OK : s3_error(store->s3, &call, response, diag);
}

static enum err learn_condition(struct store_s3 *store, struct diag *diag)
{
    char key[64];
    struct upload upload = {0};
    struct http_response response;
    int condition = CONDITION_UNKNOWN;
    if (atomic_load(&store->condition) != CONDITION_UNKNOWN)
        return ERR_OK;
    http_response_init(&response);
    enum err err = probe_upload(&upload, key);
    if (err == ERR_OK)
        err = try_condition(store, &upload, &response, &condition, diag);
    if (err == ERR_OK) {
        struct s3_call call = {.method = "DELETE", .key = key};
        /* A key that may write but not delete is a sound choice: the object stays. */
        enum err ignored = s3_perform(store->s3, &call, &response, NULL);
        (void)ignored;
        atomic_store(&store->condition, condition);
    }
    http_response_fini(&response);
    return err;
}

/* Lists one key: that shows the store, the bucket and the credentials. Who may only write is
 * answered 403 AccessDenied here, after the signature was found right. */
static enum err reach_bucket(struct store_s3 *store, struct diag *diag)
{
    struct s3_call call = {.method = "GET", .query = "list-type=2&max-keys=1&prefix=bronze%2F"};
    struct http_response response;
    char code[S3_CODE_SIZE];
    http_response_init(&response);
    enum err err = s3_perform(store->s3, &call, &response, diag);
    if (err == ERR_OK && is_bucket_missing(&response)) {
        err = create_bucket(store, &response, diag);
    } else if (err == ERR_OK) {
        s3_error_code(&response, code);
        if (response.status != 403 || strcmp(code, "AccessDenied") != 0)
            err = s3_error(store->s3, &call, &response, diag);
    }
    http_response_fini(&response);
    return err;
}

static enum err s3_store_probe(struct store *store, struct diag *diag)
{
    if (atomic_load(&of(store)->condition) == CONDITION_UNKNOWN)
        return learn_condition(of(store), diag);
    return reach_bucket(of(store), diag);
}

struct download {
    struct sha256 sha;
    uint64_t size_bytes;
};

static enum err on_download(void *ctx, struct bytes bytes)
{
    struct download *download = ctx;
    sha256_update(&download->sha, bytes.data, bytes.size);
    download->size_bytes += bytes.size;
    return ERR_OK;
}

/* An object that does not carry its hash, put there by somebody else: its content decides. */
static enum err compare_content(struct store_s3 *store, const struct store_object *object,
                                struct http_response *response, enum store_presence *ret_presence,
                                struct diag *diag)
{
    struct download download = {0};
    uint8_t digest[SHA256_BYTES];
    struct s3_call call = {
        .method = "GET", .key = object->key, .on_body = on_download, .ctx = &download};
    enum err err = sha256_init(&download.sha);
    if (err == ERR_OK)
        err = s3_perform(store->s3, &call, response, diag);
    if (err == ERR_OK)
        err = s3_error(store->s3, &call, response, diag);
    if (err == ERR_OK)
        err = sha256_final(&download.sha, digest);
    sha256_fini(&download.sha);
    if (err != ERR_OK)
        return err;
    bool same = download.size_bytes == object->size_bytes &&
                memcmp(digest, object->sha256, sizeof(digest)) == 0;
    *ret_presence = same ? STORE_SAME : STORE_DIFFERENT;
    return ERR_OK;
}

/* An answer to HEAD has no body: what the error is, a GET of the same key is told. */
static enum err explain(struct store_s3 *store, const char *key, struct http_response *response,
                        struct diag *diag)
{
    struct s3_call call = {.method = "GET", .key = key};
    s3_call_header(&call, "range", "bytes=0-0");
    enum err err = s3_perform(store->s3, &call, response, diag);
    if (err == ERR_OK)
        err = s3_error(store->s3, &call, response, diag);
    return err != ERR_OK ? err : diag_set(diag, ERR_AGAIN, "the store answers HEAD with an error");
}

/* Some stores answer 404 to credentials that they do not know. Unless they have been accepted
 * before, that an object is absent is only believed with its code. */
static enum err confirm_absent(struct store_s3 *store, const char *key,
                               struct http_response *response, struct diag *diag)
{
    struct s3_call call = {.method = "GET", .key = key};
    char code[S3_CODE_SIZE];
    if (atomic_load(&store->condition) != CONDITION_UNKNOWN)
        return ERR_OK;
    s3_call_header(&call, "range", "bytes=0-0");
    enum err err = s3_perform(store->s3, &call, response, diag);
    if (err != ERR_OK)
        return err;
    s3_error_code(response, code);
    if (response->status == 404 &&
        (strcmp(code, "NoSuchKey") == 0 || strcmp(code, "NoSuchBucket") == 0))
        return ERR_OK;
    err = s3_error(store->s3, &call, response, diag);
    return err != ERR_OK ? err : diag_set(diag, ERR_AGAIN, "the object appeared just now");
}

static enum err judge_head(struct store_s3 *store, const struct store_object *object,
                           struct http_response *response, enum store_presence *ret_presence,
                           struct diag *diag)
{
    char expected[SHA256_HEX_SIZE];
    char size[24];
    if (response->status == 404) {
        *ret_presence = STORE_ABSENT;
        return confirm_absent(store, object->key, response, diag);
    }
    if (response->status / 100 != 2)
        return explain(store, object->key, response, diag);
    const char *stored_size = http_response_header(response, "content-length");
    const char *stored_sha256 = http_response_header(response, "x-amz-meta-sha256");
    snprintf(size, sizeof(size), "%llu", (unsigned long long)object->size_bytes);
    *ret_presence = STORE_DIFFERENT;
    if (stored_size && strcmp(stored_size, size) != 0)
        return ERR_OK;
    if (!stored_size || !stored_sha256)
        return compare_content(store, object, response, ret_presence, diag);
    hex_encode(object->sha256, SHA256_BYTES, expected);
    if (strcasecmp(stored_sha256, expected) == 0)
        *ret_presence = STORE_SAME;
    return ERR_OK;
}

static enum err s3_store_check(struct store *store, const struct store_object *object,
                               enum store_presence *ret_presence, struct diag *diag)
{
    struct http_response response;
    struct s3_call call = {.method = "HEAD", .key = object->key};
    http_response_init(&response);
    enum err err = s3_perform(of(store)->s3, &call, &response, diag);
    if (err == ERR_OK)
        err = judge_head(of(store), object, &response, ret_presence, diag);
    http_response_fini(&response);
    return err;
}

/* ERR_OK if the key holds these bytes, ERR_CONFLICT if others, fallback if none. */
static enum err settle_by_check(struct store *store, const struct store_object *object,
                                enum err fallback, struct diag *diag)
{
    enum store_presence presence = STORE_ABSENT;
    enum err err = s3_store_check(store, object, &presence, diag);
    if (err != ERR_OK)
        return err;
    if (presence == STORE_DIFFERENT)
        return diag_set(diag, ERR_CONFLICT,
                        "%s: object %.200s exists with other content: was this journal copied?",
                        store->description, object->key);
    return presence == STORE_SAME ? ERR_OK : fallback;
}

static enum err put_upload(struct store *store, const struct store_object *object,
                           struct upload *upload, struct diag *diag)
{
    bool conditional = atomic_load(&of(store)->condition) == CONDITION_HONOURED;
    struct http_response response;
    struct s3_call call;
    if (!conditional) {
        enum err err = settle_by_check(store, object, ERR_NOT_FOUND, diag);
        if (err != ERR_NOT_FOUND)
            return err;
    }
    http_response_init(&response);
    enum err err = put_in_bucket(of(store), upload, conditional, &response, &call, diag);
    if (err == ERR_CLOSED || err == ERR_NETWORK || err == ERR_TIMEOUT) {
        if (settle_by_check(store, object, err, NULL) == ERR_OK)
            err = ERR_OK;
    } else if (err == ERR_OK && response.status == 412) {
        err = settle_by_check(store, object, ERR_AGAIN, diag);
    } else if (err == ERR_OK) {
        err = s3_error(of(store)->s3, &call, &response, diag);
    }
    http_response_fini(&response);
    return err;
}

static enum err open_upload(const struct store_s3 *store, const struct store_object *object,
                            struct upload *ret_upload, struct diag *diag)
{
    struct file_digest digest = {.crc32c = object->crc32c, .size_bytes = object->size_bytes};
    *ret_upload = (struct upload){.key = object->key, .fs = store->fs};
    enum err err = ERR_OK;
    if (!object->crc32c_known)
        err = file_digest(store->fs, object->spool_path, &digest, diag);
    if (err == ERR_OK && digest.size_bytes != object->size_bytes)
        err = diag_set(diag, ERR_CORRUPT, "spool file %s has %llu bytes, %llu were landed",
                       object->spool_path, (unsigned long long)digest.size_bytes,
                       (unsigned long long)object->size_bytes);
    if (err == ERR_OK)
        err = fs_open(store->fs, object->spool_path, FS_READ, &ret_upload->file, diag);
    ret_upload->size_bytes = object->size_bytes;
    hex_encode(object->sha256, SHA256_BYTES, ret_upload->sha256);
    set_crc32c(ret_upload, digest.crc32c);
    return err;
}

static enum err s3_store_put(struct store *store, const struct store_object *object,
                             struct diag *diag)
{
    struct upload upload;
    enum err err = learn_condition(of(store), diag);
    if (err == ERR_OK) {
        err = open_upload(of(store), object, &upload, diag);
        if (err == ERR_OK)
            err = put_upload(store, object, &upload, diag);
        fs_close(of(store)->fs, upload.file);
    }
    return err;
}

static enum err s3_store_list(struct store *store, const char *prefix,
                              enum err (*on_entry)(void *ctx, const struct store_entry *entry),
                              void *ctx, struct diag *diag)
{
    return s3_list(of(store)->s3, prefix, on_entry, ctx, diag);
}

struct range {
    uint8_t *to;
    size_t size;
    size_t got;
};

static enum err on_range(void *ctx, struct bytes bytes)
{
    struct range *range = ctx;
    if (bytes.size > range->size - range->got)
        return ERR_TOO_LARGE;
    memcpy(range->to + range->got, bytes.data, bytes.size);
    range->got += bytes.size;
    return ERR_OK;
}

static enum err s3_store_read(struct store *store, const char *key, uint64_t offset, void *buffer,
                              size_t size, struct diag *diag)
{
    struct http_response response;
    struct range range = {.to = buffer, .size = size};
    char header[64];
    struct s3_call call = {.method = "GET", .key = key, .on_body = on_range, .ctx = &range};
    snprintf(header, sizeof(header), "bytes=%llu-%llu", (unsigned long long)offset,
             (unsigned long long)(offset + size - 1));
    s3_call_header(&call, "range", header);
    http_response_init(&response);
    enum err err = s3_perform(of(store)->s3, &call, &response, diag);
    if (err == ERR_OK && response.status == 416)
        err = ERR_TRUNCATED;
    else if (err == ERR_OK)
        err = s3_error(of(store)->s3, &call, &response, diag);
    if (err == ERR_OK && response.status != 206 && offset > 0)
        err = ERR_PROTOCOL;
    http_response_fini(&response);
    if (err == ERR_OK && range.got < size)
        err = ERR_TRUNCATED;
    return err == ERR_OK ? err
                         : diag_set(diag, err, "cannot read %.200s in %s: %s", key,
                                    store->description, err_text(err));
}

static void s3_store_close(struct store *store)
{
    s3_free(of(store)->s3);
    mem_free(store);
}

static void s3_store_cancel(struct store *store)
{
    s3_cancel(of(store)->s3);
}

static const struct store_ops s3_ops = {
    .probe = s3_store_probe,
    .put = s3_store_put,
    .check = s3_store_check,
    .list = s3_store_list,
    .read = s3_store_read,
    .close = s3_store_close,
    .cancel = s3_store_cancel,
};

enum err store_s3_new(const struct store_s3_options *options, struct store **ret_store,
                      struct diag *diag)
{
    struct store_s3 *store = mem_zalloc(1, sizeof(*store));
    if (!store)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory");
    enum err err = s3_new(options, &store->s3);
    if (err != ERR_OK) {
        mem_free(store);
        return diag_set(diag, err, "out of memory");
    }
    store->store.ops = &s3_ops;
    store->fs = options->fs;
    snprintf(store->region, sizeof(store->region), "%s", options->region);
    store->amazon_region =
        strstr(options->host, "amazonaws.com") != NULL && strcmp(options->region, "us-east-1") != 0;
    snprintf(store->store.description, sizeof(store->store.description),
             "s3://%.63s at %.5s://%.150s", options->bucket, options->scheme, options->host);
    *ret_store = &store->store;
    return ERR_OK;
}
