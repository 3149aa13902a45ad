#pragma once
/*
 * A lake in a folder, of what a rig's batch cut, each cut with what it says of its dataset's
 * metadata in the footer; and the recount of it. One at a time. The program includes cmocka before.
 */
#include "base/alloc.h"
#include "journal/record.h"
#include "lake/store_open.h"
#include "metadata/recount.h"
#include "support/batch_rig.h"
#include "support/cuts_said.h"
#include "support/temp_folder.h"

#include <stdio.h>
#include <sys/stat.h>

#define FOLDER "bronze/ingestion_id=" RIG_DATASET "/"

/* --- a lake in a folder -------------------------------------------------------------------- */

static struct {
    char path[64];
    struct store *store;
    uint64_t after;
    uint64_t before;
    int turns_left; /* then an error */
    char last_key[400];
} lake;

static inline void file_write(const char *key, struct bytes content)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", lake.path, key);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(content.data, 1, content.size, file), content.size);
    assert_int_equal(fclose(file), 0);
    if (key != lake.last_key)
        snprintf(lake.last_key, sizeof(lake.last_key), "%s", key);
}

static inline void cut_write(struct rig *rig)
{
    struct cut cut;
    assert_int_equal(batch_cut(rig->batch, &cut, NULL), ERR_OK);
    for (size_t i = 0; i < cut.file_count; i++)
        file_write(cut.files[i].key, buf_bytes(&cut.files[i].bytes));
    cut_fini(&cut);
}

static inline void lake_open(struct rig *rig, bool silent)
{
    struct diag diag = {0};
    said.count = 0;
    said.silent = silent;
    temp_folder_make(lake.path, sizeof(lake.path));
    assert_int_equal(store_folder_new(&fs_posix, lake.path, &lake.store, &diag), ERR_OK);
    assert_int_equal(rig_init(rig), ERR_OK);
    assert_int_equal(rig_batch_observed(rig, &observer), ERR_OK);
    lake.after = 0;
    lake.before = UINT64_MAX;
    lake.turns_left = 1000;
}

static inline void lake_drop(void)
{
    for (size_t i = 0; i < said.count; i++)
        change_fini(&said.changes[i]);
    lake.store->ops->close(lake.store);
    temp_folder_remove(lake.path);
}

static inline enum err on_turn(void *ctx)
{
    (void)ctx;
    return --lake.turns_left < 0 ? ERR_STOPPED : ERR_OK;
}

static inline enum err on_bounds(void *ctx, struct bytes id, uint64_t *ret_after,
                                 uint64_t *ret_before)
{
    (void)ctx;
    assert_true(bytes_equal_text(id, RIG_DATASET));
    *ret_after = lake.after;
    *ret_before = lake.before;
    return ERR_OK;
}

static inline enum err count_of(struct recounted *recounted)
{
    const struct recount_options options = {
        .store = lake.store, .journal_uuid = RIG_UUID, .turn = on_turn, .bounds = on_bounds};
    struct diag diag = {0};
    recounted_init(recounted);
    return recount_dataset(&options, FOLDER, recounted, &diag);
}

/* Each allocation fails in turn: the error says so. */
static inline void check_no_memory(void)
{
    for (uint64_t k = 1;; k++) {
        struct recounted recounted;
        mem_fail_at(k);
        enum err err = count_of(&recounted);
        bool failed = mem_failed();
        mem_fail_at(0);
        recounted_fini(&recounted);
        if (!failed)
            break;
        assert_int_equal(err, ERR_NO_MEMORY);
    }
}

/* All of the changes as one; *ret_count: how many they are. */
static inline void sum_of(const struct recounted *recounted, struct change *sum, size_t *ret_count)
{
    struct record_reader reader = record_reader_of(buf_bytes(&recounted->changes));
    change_init(sum);
    for (*ret_count = 0; reader.left > 0; ++*ret_count) {
        struct change one;
        change_init(&one);
        assert_int_equal(change_decode(&one, record_text32(&reader)), ERR_OK);
        assert_int_equal(change_merge(sum, &one), ERR_OK);
        change_fini(&one);
    }
}

static inline void check_same(const struct change *found, const struct change *expected)
{
    struct buf a, b;
    buf_init(&a, 1 << 20);
    buf_init(&b, 1 << 20);
    change_encode(found, &a);
    change_encode(expected, &b);
    assert_true(bytes_equal(buf_bytes(&a), buf_bytes(&b)));
    buf_fini(&a);
    buf_fini(&b);
}

/* Cuts first to last, and nothing else, in so many changes. */
static inline void check_counted(size_t first, size_t last, size_t changes)
{
    struct recounted recounted;
    struct change found, expected;
    size_t found_count;
    assert_int_equal(count_of(&recounted), ERR_OK);
    assert_int_equal(recounted.unread_count, 0);
    assert_int_equal(recounted.through, said.through[last]);
    sum_of(&recounted, &found, &found_count);
    change_init(&expected);
    for (size_t i = first; i <= last; i++)
        assert_int_equal(change_merge(&expected, &said.changes[i]), ERR_OK);
    check_same(&found, &expected);
    assert_int_equal(found_count, changes);
    change_fini(&found);
    change_fini(&expected);
    recounted_fini(&recounted);
}
