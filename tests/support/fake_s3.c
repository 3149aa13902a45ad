#include "support/fake_s3.h"

#include "codec/sha256.h"

#include <stdio.h>
#include <stdlib.h>

enum trouble { TROUBLE_NONE, TROUBLE_NOT_HEARD, TROUBLE_ANSWER_LOST, TROUBLE_REFUSED };

static struct fake_s3 *of(struct store *store)
{
    return (struct fake_s3 *)store;
}

static struct fake_s3_object *find(struct fake_s3 *s3, const char *key)
{
    for (size_t i = 0; i < s3->count; i++)
        if (strcmp(s3->objects[i].key, key) == 0)
            return &s3->objects[i];
    return NULL;
}

static enum trouble trouble_draw(struct fake_s3 *s3)
{
    if (s3->is_away)
        return TROUBLE_NOT_HEARD;
    if (s3->draw(s3->ctx, 100) >= s3->trouble_percent)
        return TROUBLE_NONE;
    return (enum trouble)(1 + s3->draw(s3->ctx, 3));
}

static enum err trouble_err(enum trouble trouble, struct diag *diag)
{
    switch (trouble) {
    case TROUBLE_NOT_HEARD:
        return diag_set(diag, ERR_NETWORK, "the store is away");
    case TROUBLE_ANSWER_LOST:
        return diag_set(diag, ERR_TIMEOUT, "no answer");
    case TROUBLE_REFUSED:
        return diag_set(diag, ERR_PERMISSION, "403");
    default:
        return ERR_OK;
    }
}

static enum err s3_probe(struct store *store, struct diag *diag)
{
    return trouble_err(trouble_draw(of(store)), diag);
}

static enum err s3_check(struct store *store, const struct store_object *object,
                         enum store_presence *ret_presence, struct diag *diag)
{
    struct fake_s3 *s3 = of(store);
    const struct fake_s3_object *found = find(s3, object->key);
    enum err err = trouble_err(trouble_draw(s3), diag);
    if (err != ERR_OK)
        return err;
    *ret_presence = STORE_ABSENT;
    if (found)
        *ret_presence = found->size == object->size_bytes &&
                                memcmp(found->sha256, object->sha256, sizeof(found->sha256)) == 0
                            ? STORE_SAME
                            : STORE_DIFFERENT;
    return ERR_OK;
}

/* The spool file as a request body; the server checks the hash that the request names. */
static enum err body_read(struct fake_s3 *s3, const struct store_object *object, uint8_t **ret_data,
                          struct diag *diag)
{
    struct fs_file *file = NULL;
    uint8_t digest[SHA256_BYTES];
    size_t size = 0;
    uint8_t *data = malloc(object->size_bytes + 1);
    if (!data)
        abort();
    enum err err = fs_open(s3->fs, object->spool_path, FS_READ, &file, diag);
    if (err == ERR_OK)
        err = fs_read(s3->fs, file, 0, data, object->size_bytes, &size, diag);
    fs_close(s3->fs, file);
    if (err == ERR_OK)
        err = sha256_of(bytes_from(data, size), digest);
    if (err == ERR_OK && memcmp(digest, object->sha256, sizeof(digest)) != 0)
        err = diag_set(diag, ERR_INVALID, "XAmzContentSHA256Mismatch");
    if (err != ERR_OK) {
        free(data);
        return err;
    }
    *ret_data = data;
    return ERR_OK;
}

static void object_put(struct fake_s3 *s3, const struct store_object *object, uint8_t *take_data)
{
    struct fake_s3_object *at = find(s3, object->key);
    if (!at) {
        s3->objects = realloc(s3->objects, (s3->count + 1) * sizeof(*s3->objects));
        if (!s3->objects)
            abort();
        at = &s3->objects[s3->count++];
        *at = (struct fake_s3_object){.key = strdup(object->key)};
    }
    free(at->data);
    at->data = take_data;
    at->size = object->size_bytes;
    memcpy(at->sha256, object->sha256, sizeof(at->sha256));
}

/* One PUT request; *ret_exists: 412. */
static enum err put_once(struct fake_s3 *s3, const struct store_object *object, bool *ret_exists,
                         struct diag *diag)
{
    uint8_t *data = NULL;
    enum trouble trouble = trouble_draw(s3);
    *ret_exists = false;
    enum err err = body_read(s3, object, &data, diag);
    if (err != ERR_OK)
        return err;
    if (trouble != TROUBLE_NONE && trouble != TROUBLE_ANSWER_LOST) {
        free(data);
        return trouble_err(trouble, diag);
    }
    if (s3->honours_condition && find(s3, object->key)) {
        *ret_exists = true;
        free(data);
    } else {
        object_put(s3, object, data);
    }
    return trouble_err(trouble, diag);
}

static enum err settle_by_check(struct store *store, const struct store_object *object,
                                enum err fallback, struct diag *diag)
{
    enum store_presence presence;
    enum err err = s3_check(store, object, &presence, diag);
    if (err != ERR_OK)
        return err;
    if (presence == STORE_DIFFERENT)
        return diag_set(diag, ERR_CONFLICT, "%s exists with other content", object->key);
    return presence == STORE_SAME ? ERR_OK : fallback;
}

static enum err s3_put(struct store *store, const struct store_object *object, struct diag *diag)
{
    struct fake_s3 *s3 = of(store);
    bool exists;
    if (!s3->honours_condition) {
        enum err err = settle_by_check(store, object, ERR_NOT_FOUND, diag);
        if (err != ERR_NOT_FOUND)
            return err;
    }
    enum err err = put_once(s3, object, &exists, diag);
    if (err == ERR_NETWORK || err == ERR_TIMEOUT)
        return settle_by_check(store, object, err, NULL) == ERR_OK ? ERR_OK : err;
    return err == ERR_OK && exists ? settle_by_check(store, object, ERR_AGAIN, diag) : err;
}

static void s3_close(struct store *store)
{
    (void)store;
}

static const struct store_ops s3_ops = {
    .probe = s3_probe,
    .put = s3_put,
    .check = s3_check,
    .close = s3_close,
};

void fake_s3_init(struct fake_s3 *s3, const struct fs *fs)
{
    *s3 = (struct fake_s3){.fs = fs};
    s3->store.ops = &s3_ops;
    snprintf(s3->store.description, sizeof(s3->store.description), "fake S3");
}

void fake_s3_fini(struct fake_s3 *s3)
{
    for (size_t i = 0; i < s3->count; i++) {
        free(s3->objects[i].key);
        free(s3->objects[i].data);
    }
    free(s3->objects);
}
