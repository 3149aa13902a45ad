#pragma once
/* Batches of a rig (batch_rig.h) in cmocka tests. The program includes cmocka before. */
#include "support/batch_rig.h"

#define SEND(rig, ...)                                                                             \
    assert_int_equal(rig_send(rig, (const char *const[]){__VA_ARGS__},                             \
                              sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)),  \
                     ERR_OK)

static inline void rig_setup(struct rig *rig)
{
    assert_int_equal(rig_init(rig), ERR_OK);
    assert_int_equal(rig_batch(rig), ERR_OK);
}

/* Cuts and gives the rows; the cut is freed. */
static inline json_t *cut_rows(struct rig *rig)
{
    struct cut cut;
    struct diag diag = {0};
    assert_int_equal(batch_cut(rig->batch, &cut, &diag), ERR_OK);
    json_t *rows = rig_rows(&cut, false);
    cut_fini(&cut);
    return rows;
}

/* A row's column as compact JSON text. */
static inline void check_value(const json_t *rows, size_t row, const char *column,
                               const char *expected)
{
    json_t *value = json_object_get(json_array_get(rows, row), column);
    if (!value)
        fail_msg("row %zu has no column %s", row, column);
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    if (strcmp(text, expected) != 0)
        fail_msg("row %zu, %s: %s, expected %s", row, column, text, expected);
    free(text);
}
