/*
 * A response's body from a hostile server, read with a path from its first bytes: up to the first
 * newline the path, the rest the body. Records lie inside the body and are as many as were counted;
 * JSON records are JSON; going on at any record gives the rest. The same bytes serve as a Link
 * header and as values of a cursor.
 */
#include "base/alloc.h"
#include "base/limits.h"
#include "codec/json.h"
#include "connectors/rest/rest_body.h"
#include "connectors/rest/rest_cursor.h"
#include "connectors/rest/rest_page.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good)
        abort();
}

struct walk {
    const struct rest_body *body;
    uint64_t count;
    uint64_t bytes;
    struct rest_cursor cursor;
};

static enum err on_record(void *ctx, struct bytes record, bool is_element)
{
    struct walk *walk = ctx;
    struct bytes text = walk->body->text;
    check(record.data >= text.data && record.data + record.size <= text.data + text.size);
    if (walk->body->kind == REST_BODY_JSON) {
        check(json_validate(record, false) == ERR_OK);
        rest_cursor_offer(&walk->cursor, record, record);
    }
    walk->count++;
    walk->bytes += record.size + (is_element && record.data[0] == '[' ? 2 : 0);
    return ERR_OK;
}

static void read_body(const struct rest_path *path, struct bytes text)
{
    struct rest_body body;
    rest_body_open(&body, text, path, false);
    struct walk walk = {.body = &body}, rest = {.body = &body};
    check(rest_body_each(&body, 0, on_record, &walk) == ERR_OK);
    check(walk.count == body.record_count && walk.bytes == body.record_bytes);
    check(rest_body_each(&body, walk.count / 2, on_record, &rest) == ERR_OK);
    check(rest.count == walk.count - walk.count / 2);
    if (walk.cursor.size > 0) {
        struct buf out;
        buf_init(&out, KIB);
        check(rest_cursor_text(bytes_from(walk.cursor.json, walk.cursor.size), &out) == ERR_OK);
        buf_fini(&out);
    }
}

static void read_link(const uint8_t *data, size_t size)
{
    struct buf out;
    char *text = mem_alloc(size + 1);
    check(text != NULL);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    buf_init(&out, 16 * MIB);
    check(rest_link_next(text, &out) == ERR_OK && out.size <= size);
    buf_fini(&out);
    mem_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t path_size = end ? (size_t)(end - data) : 0;
    size_t skipped = end ? path_size + 1 : 0;
    struct arena arena;
    struct rest_path path;
    arena_init(&arena, MIB);
    char *text = arena_dup(&arena, data, path_size);
    check(text != NULL);
    if (rest_path_parse(&path, text, &arena, NULL) == ERR_OK)
        read_body(&path, bytes_from(data + skipped, size - skipped));
    read_link(data, size);
    arena_fini(&arena);
    return 0;
}
