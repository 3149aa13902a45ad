#pragma once
/*
 * An object store in memory, as S3 is one: an object is there whole and durably or not at all,
 * whatever happens to the machine that puts it. It may be away for a while, answer with an error
 * although it stored, refuse, and it may or may not honour If-None-Match. What its client makes of
 * that is what store_s3.c does: look first where the condition is not honoured, look again after an
 * answer that was lost.
 *
 * One thread. Aborts without memory.
 */
#include "base/buf.h"
#include "lake/store.h"
#include "os/fs.h"

struct fake_s3_object {
    char *key;
    uint8_t *data;
    size_t size;
    uint8_t sha256[32];
};

struct fake_s3 {
    struct store store; /* hand this on; close does nothing */
    const struct fs *fs;
    struct fake_s3_object *objects;
    size_t count;
    bool honours_condition;
    bool is_away;
    uint64_t (*draw)(void *ctx, uint64_t below);
    void *ctx;
    uint32_t trouble_percent; /* of calls */
};

void fake_s3_init(struct fake_s3 *s3, const struct fs *fs);
void fake_s3_fini(struct fake_s3 *s3);
