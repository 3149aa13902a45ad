#pragma once
/*
 * Paths into a JSON text: where a response's records are (data_path), where the next page's cursor
 * or a record's own cursor field is. Walks the bytes with a cursor and builds no tree; the slices
 * it gives point into the text.
 *
 *   data.items   items.0.data   a[*].b   a[0].b   ['odd.name'].x   $.data   and JSON Pointer /a/0/b
 *
 * A name is a member of an object, or, when it is a whole number, an element of an array. * stands
 * for every element of an array and every member of an object. Of repeated members the last counts
 * (contract/data.md).
 *
 * Pure. Walking needs a text that json_validate has accepted (device dialect); its time is bounded
 * by the text's size times the number of steps, its stack by REST_PATH_STEPS_MAX.
 */
#include "base/arena.h"
#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define REST_PATH_STEPS_MAX 32

struct rest_path_step {
    bool every; /* [*] */
    bool is_index;
    uint64_t index; /* of an array; the name is the same as a member's */
    struct bytes name;
};

struct rest_path {
    struct rest_path_step *steps;
    uint32_t count; /* 0: the whole text */
};

/* text NULL or empty: the whole. Names are copied into the arena. ERR_INVALID, ERR_NO_MEMORY. */
enum err rest_path_parse(struct rest_path *path, const char *text, struct arena *arena,
                         struct diag *diag) ERR_MUST_USE;

/* Calls on_match for each match, in the text's order; an error from it ends the walk and is
 * returned. *ret_matched: whether the path fits the text; with [*] over nothing it does, without a
 * match. */
typedef enum err (*rest_path_fn)(void *ctx, struct bytes value);
enum err rest_path_walk(const struct rest_path *path, struct bytes text, rest_path_fn on_match,
                        void *ctx, bool *ret_matched) ERR_MUST_USE;

/* The first match, or false. */
bool rest_path_first(const struct rest_path *path, struct bytes text, struct bytes *ret_value);
