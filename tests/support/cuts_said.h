#pragma once
/*
 * An observer of a batch that puts what each cut says of its dataset's metadata into the footer, as
 * metadata.c does, and keeps it. The program includes cmocka before.
 */
#include "lake/cut.h"
#include "metadata/change_text.h"
#include "metadata/extract.h"

#define CUTS 6

/* What the cuts said, each for itself, and which they were. */
static struct {
    struct change changes[CUTS];
    uint64_t through[CUTS];
    bool left[CUTS]; /* their sensors to a column */
    size_t count;
    bool silent; /* nothing goes into the footers */
} said;

/* As metadata.c does. */
static inline enum err text_append(const struct change *change, struct bytes column,
                                   struct buf *text)
{
    struct change bare;
    struct buf encoded;
    change_init(&bare);
    buf_init(&encoded, 1 << 20);
    enum err err = change_merge(&bare, change);
    if (column.size > 0)
        change_sensors_drop(&bare);
    change_encode(&bare, &encoded);
    if (err == ERR_OK)
        err = change_text_append(text, buf_bytes(&encoded), column);
    buf_fini(&encoded);
    change_fini(&bare);
    return err;
}

static inline enum err on_describe(void *ctx, const struct cut_input *cut, void **state,
                                   struct buf *text)
{
    struct told *told = *state;
    struct change *change = &said.changes[said.count];
    struct bytes column;
    (void)ctx;
    change_init(change);
    assert_int_equal(extract_change(cut, &told, change), ERR_OK);
    assert_int_equal(extract_sensors_column(cut, told, change, &column), ERR_OK);
    *state = told;
    change->first_block = cut->stats.first.block;
    said.left[said.count] = column.size > 0;
    said.through[said.count++] = cut->stats.block_last;
    return said.silent ? ERR_OK : text_append(change, column, text);
}

static inline enum err on_cut(void *ctx, const struct cut_input *cut, void **state)
{
    (void)ctx;
    (void)cut;
    (void)state;
    return ERR_OK;
}

static inline void on_forget(void *state)
{
    told_free(state);
}

static inline size_t on_bytes(const void *state)
{
    return told_memory_bytes(state);
}

static const struct batch_observer_ops observer = {
    .describe = on_describe, .cut = on_cut, .forget = on_forget, .memory_bytes = on_bytes};
