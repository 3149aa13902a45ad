/*
 * A schema (the first line) and a value (the rest): compile, validate, fill in, mask, and back.
 * Whatever the bytes: both ways of validating agree, messages are UTF-8 and few, and a masked value
 * that comes back with what was stored is what was stored.
 */
#include "base/limits.h"
#include "base/utf8.h"
#include "codec/json_schema.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void on_error(void *ctx, const char *path, const char *keyword, const char *message)
{
    unsigned *count = ctx;
    demand(++*count <= LIMIT_SCHEMA_ERRORS);
    demand(path[0] == 0 || path[0] == '/');
    demand(keyword[0] != 0 && message[0] != 0);
    demand(utf8_valid(bytes_from_text(path)) && utf8_valid(bytes_from_text(message)));
}

static void check_validation(const struct json_schema *schema, const json_t *value)
{
    unsigned count = 0;
    enum err err = json_schema_validate(schema, value, on_error, &count);
    demand(err == ERR_OK || err == ERR_INVALID);
    demand((err == ERR_OK) == (count == 0));
    demand(json_schema_validate(schema, value, NULL, NULL) == err);
}

static void check_masks(const struct json_schema *schema, const json_t *value)
{
    json_t *masked;
    json_t *back;
    enum err err = json_schema_mask(schema, value, &masked);
    if (err == ERR_TOO_DEEP)
        return;
    demand(err == ERR_OK);
    demand(json_schema_unmask(schema, masked, value, &back) == ERR_OK);
    demand(json_equal(back, value));
    json_decref(back);
    json_decref(masked);
}

static void check_value(const struct json_schema *schema, json_t *value)
{
    check_validation(schema, value);
    check_masks(schema, value);
    if (json_is_object(value)) {
        demand(json_schema_defaults(schema, value) == ERR_OK);
        check_validation(schema, value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    if (!end)
        return 0;
    size_t schema_size = (size_t)(end - data);
    const size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_t *json = json_loadb((const char *)data, schema_size, flags, NULL);
    json_t *value =
        json_loadb((const char *)end + 1, size - schema_size - 1, JSON_DECODE_ANY, NULL);
    struct json_schema *schema = NULL;
    struct diag diag = {0};
    if (json) {
        enum err err = json_schema_compile(json, &schema, &diag);
        demand((err == ERR_OK) == (schema != NULL) && (err == ERR_OK) == (diag.text[0] == 0));
    }
    if (schema && value)
        check_value(schema, value);
    json_schema_free(schema);
    json_decref(value);
    json_decref(json);
    return 0;
}
