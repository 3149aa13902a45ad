#include "api/envelope.h"

#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>

#define SENTENCE_BYTES_MAX (4 * KIB)
#define DETAIL_BYTES_MAX   (256 * KIB)

static void append_text_or_null(struct buf *out, const char *text)
{
    if (text)
        buf_json_string(out, bytes_from_text(text));
    else
        buf_text(out, "null");
}

void api_data_begin(struct buf *out)
{
    buf_text(out, "{\"status\":\"success\",\"data\":");
}

void api_data_end(struct buf *out, const char *message)
{
    buf_text(out, ",\"message\":");
    append_text_or_null(out, message);
    buf_text(out, ",\"error\":null}");
}

void api_list_end(struct buf *out, const char *message, const char *error, uint64_t total)
{
    buf_text(out, ",\"message\":");
    append_text_or_null(out, message);
    buf_text(out, ",\"error\":");
    append_text_or_null(out, error);
    buf_printf(out, ",\"total\":%llu,\"page\":null,\"page_size\":null}", (unsigned long long)total);
}

void api_message(struct buf *out, const char *message)
{
    buf_text(out, "{\"status\":\"success\"");
    api_named_end(out, message);
}

void api_named_end(struct buf *out, const char *message)
{
    buf_text(out, ",\"message\":");
    append_text_or_null(out, message);
    buf_byte(out, '}');
}

static int append_dumped(const char *text, size_t size, void *ctx)
{
    return buf_append(ctx, text, size) == ERR_OK ? 0 : -1;
}

/* Through the buffer, whose failure sticks: jansson 2.14 forgets one while it dumps a key. */
enum err api_append_json(struct buf *out, const json_t *json)
{
    int result = json_dump_callback(json, append_dumped, out, JSON_COMPACT | JSON_ENCODE_ANY);
    if (out->err != ERR_OK)
        return out->err;
    return result == 0 ? ERR_OK : ERR_NO_MEMORY;
}

/* sentence under error, detail (JSON) under detail. */
static enum err fail(struct api_response *response, unsigned status, struct bytes sentence,
                     struct bytes detail)
{
    char allow[sizeof(response->allow)];
    memcpy(allow, response->allow, sizeof(allow));
    api_response_reset(response);
    memcpy(response->allow, allow, sizeof(allow));
    response->status = status;
    buf_text(&response->body, "{\"status\":\"error\",\"data\":null,\"message\":null,\"error\":");
    buf_json_string(&response->body, sentence);
    buf_text(&response->body, ",\"detail\":");
    if (detail.size > 0)
        buf_append(&response->body, detail.data, detail.size);
    else
        buf_json_string(&response->body, sentence);
    return buf_byte(&response->body, '}');
}

enum err api_fail(struct api_response *response, unsigned status, const char *format, ...)
{
    char sentence[SENTENCE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof(sentence), format, arguments);
    va_end(arguments);
    return fail(response, status, bytes_from_text(sentence), (struct bytes){0});
}

void api_invalid_init(struct api_invalid *invalid)
{
    *invalid = (struct api_invalid){0};
    buf_init(&invalid->detail, DETAIL_BYTES_MAX);
    buf_init(&invalid->sentence, SENTENCE_BYTES_MAX);
    buf_byte(&invalid->detail, '[');
}

/* loc is JSON: a string or a number. */
static void invalid_add(struct api_invalid *invalid, const char *where, struct bytes loc,
                        const char *message, const char *type, struct bytes input)
{
    struct buf *detail = &invalid->detail;
    buf_printf(detail, "%s{\"type\":\"%s\",\"loc\":[\"%s\"", invalid->count > 0 ? "," : "", type,
               where);
    if (loc.size > 0) {
        buf_byte(detail, ',');
        buf_append(detail, loc.data, loc.size);
    }
    buf_text(detail, "],\"msg\":");
    buf_json_string(detail, bytes_from_text(message));
    if (input.size > 0) {
        buf_text(detail, ",\"input\":");
        buf_append(detail, input.data, input.size);
    }
    buf_byte(detail, '}');
    invalid->count++;
}

void api_invalid_add(struct api_invalid *invalid, const char *where, struct bytes field,
                     const char *message, const char *type, struct bytes input)
{
    struct buf loc;
    buf_init(&loc, SENTENCE_BYTES_MAX);
    if (field.size > 0)
        buf_json_string(&loc, field);
    buf_printf(&invalid->sentence, "%s%s%s%.*s: %s", invalid->count > 0 ? "; " : "", where,
               field.size > 0 ? " " : "", (int)field.size,
               field.size > 0 ? (const char *)field.data : "", message);
    if (loc.err != ERR_OK)
        invalid->detail.err = loc.err;
    invalid_add(invalid, where, buf_bytes(&loc), message, type, input);
    buf_fini(&loc);
}

enum err api_invalid_answer(struct api_invalid *invalid, struct api_response *response)
{
    buf_byte(&invalid->detail, ']');
    enum err err = invalid->detail.err;
    if (err == ERR_OK)
        err = fail(response, 422, buf_bytes(&invalid->sentence), buf_bytes(&invalid->detail));
    api_invalid_fini(invalid);
    return err;
}

void api_invalid_fini(struct api_invalid *invalid)
{
    buf_fini(&invalid->detail);
    buf_fini(&invalid->sentence);
}

enum err api_invalid_body(struct api_response *response, const char *field, const char *message,
                          const char *type)
{
    struct api_invalid invalid;
    api_invalid_init(&invalid);
    api_invalid_add(&invalid, "body", field ? bytes_from_text(field) : (struct bytes){0}, message,
                    type, (struct bytes){0});
    return api_invalid_answer(&invalid, response);
}

static void invalid_json_add(struct api_invalid *invalid, size_t offset, const char *message)
{
    char loc[24];
    snprintf(loc, sizeof(loc), "%zu", offset);
    invalid_add(invalid, "body", bytes_from_text(loc), message, "json_invalid", (struct bytes){0});
}

enum err api_invalid_json(struct api_response *response, size_t offset, const char *problem)
{
    struct api_invalid invalid;
    api_invalid_init(&invalid);
    buf_printf(&invalid.sentence, "body: JSON decode error at character %zu: %s", offset, problem);
    invalid_json_add(&invalid, offset, "JSON decode error");
    return api_invalid_answer(&invalid, response);
}

enum err api_invalid_json_text(struct api_response *response, size_t offset, const char *sentence)
{
    struct api_invalid invalid;
    api_invalid_init(&invalid);
    buf_printf(&invalid.sentence, "body: %s", sentence);
    invalid_json_add(&invalid, offset, sentence);
    return api_invalid_answer(&invalid, response);
}
