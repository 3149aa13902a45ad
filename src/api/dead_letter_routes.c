/* Dead letters: what lies in the lake, newest first, and sending it again. */
#include "api/envelope.h"
#include "api/query.h"
#include "api/route.h"
#include "base/limits.h"
#include "codec/base64.h"
#include "codec/timestamp.h"
#include "codec/utf8.h"
#include "sources/letters.h"

#include <stdio.h>

#define LIMIT_DEFAULT  100
#define LIMIT_LIST_MAX 1000
#define PAYLOAD_BYTES  (64 * KIB) /* shown of one letter */
#define ANSWER_BYTES   (64 * MIB) /* beyond, no payload is shown */
#define MESSAGE_BYTES  512
#define FILTER_BYTES   65535

/* --- answers ------------------------------------------------------------------------------- */

static enum err no_letters(struct api_response *response)
{
    return api_fail(response, 503, "The service is starting: ask again later");
}

static enum err refused(struct api_response *response, enum err err, const struct diag *diag)
{
    if (err == ERR_NO_MEMORY || err == ERR_BUG)
        return err;
    unsigned status = err == ERR_TOO_MANY ? 409 : 503;
    enum err failed = api_fail(response, status, "%s", diag->text[0] ? diag->text : err_text(err));
    if (status == 503)
        api_response_header(response, "Retry-After", "5");
    return failed;
}

/* --- the list ------------------------------------------------------------------------------ */

static void text_member(struct buf *out, const char *name, struct bytes text)
{
    buf_printf(out, ",\"%s\":", name);
    buf_json_string(out, text);
}

/* A whole text, or its beginning up to the last whole character; else base64. */
static void payload_members(struct buf *out, struct bytes payload)
{
    struct bytes shown = payload;
    if (shown.size > PAYLOAD_BYTES)
        shown.size = PAYLOAD_BYTES;
    if (out->size > ANSWER_BYTES)
        shown.size = 0;
    for (int i = 0; shown.size < payload.size && i < 3 && !utf8_valid(shown); i++)
        shown.size--;
    bool is_text = utf8_valid(shown);
    if (!is_text && payload.size > PAYLOAD_BYTES)
        shown.size = PAYLOAD_BYTES; /* the whole characters did not help */
    buf_text(out, ",\"payload\":");
    if (is_text) {
        buf_json_string(out, shown);
    } else {
        buf_byte(out, '"');
        base64_append(out, shown);
        buf_byte(out, '"');
    }
    buf_printf(out, ",\"payload_encoding\":\"%s\",\"payload_size\":%zu,\"payload_cut\":%s",
               is_text ? "text" : "base64", payload.size,
               shown.size < payload.size ? "true" : "false");
}

/* What is no JSON object (a file that somebody else wrote) is not shown as one. */
static enum err metadata_member(struct buf *out, struct bytes text)
{
    enum err err = ERR_OK;
    json_t *metadata = json_loadb((const char *)text.data, text.size, JSON_ALLOW_NUL, NULL);
    buf_text(out, ",\"metadata\":");
    if (json_is_object(metadata))
        err = api_append_json(out, metadata);
    else
        err = buf_text(out, "{}");
    json_decref(metadata);
    return err;
}

struct listing {
    struct buf *out;
    size_t count;
};

static enum err on_letter(void *ctx, const struct letters_shown *shown)
{
    struct listing *listing = ctx;
    struct buf *out = listing->out;
    const struct letter_view *letter = &shown->letter;
    char id[LETTER_ID_BYTES];
    char received[TIMESTAMP_TEXT_BYTES];
    letter_id_format(shown->id.key, shown->id.row, id);
    timestamp_format(letter->received_us, received);
    buf_text(out, listing->count > 0 ? ",{\"id\":" : "{\"id\":");
    buf_json_string(out, bytes_from_text(id));
    text_member(out, "ingestion_id", letter->ingestion_id);
    text_member(out, "source_type", letter->source_type);
    text_member(out, "topic", letter->topic);
    text_member(out, "reason", letter->reason);
    text_member(out, "detail", letter->detail);
    text_member(out, "received_at", bytes_from_text(received));
    payload_members(out, letter->payload);
    enum err err = metadata_member(out, letter->metadata);
    buf_printf(out, ",\"whole\":%s,\"replayed\":%s}", shown->whole ? "true" : "false",
               shown->replayed ? "true" : "false");
    listing->count++;
    return err != ERR_OK ? err : out->err;
}

struct wanted {
    struct letter_filter filter;
    struct letter_id after;
    bool has_after;
    int64_t limit;
};

static enum err query_text(struct api_request *request, const char *name, struct bytes *ret_text)
{
    bool present;
    struct bytes text;
    enum err err = api_query_get(request, name, &present, &text);
    if (err == ERR_OK && present)
        *ret_text = text;
    return err;
}

/* *ret_good false: answered. */
static enum err wanted_read(struct api_request *request, struct api_response *response,
                            struct wanted *wanted, bool *ret_good)
{
    struct api_invalid invalid;
    struct bytes after = {0};
    *wanted = (struct wanted){.limit = LIMIT_DEFAULT};
    *ret_good = false;
    api_invalid_init(&invalid);
    enum err err = api_query_integer(request, "limit", 1, &wanted->limit, &invalid);
    if (err == ERR_OK)
        err = api_query_moment(request, "since", &wanted->filter.since_us, &invalid);
    if (err == ERR_OK)
        err = api_query_moment(request, "until", &wanted->filter.until_us, &invalid);
    if (err == ERR_OK)
        err = query_text(request, "ingestion_id", &wanted->filter.ingestion_id);
    if (err == ERR_OK)
        err = query_text(request, "source", &wanted->filter.source);
    if (err == ERR_OK)
        err = query_text(request, "reason", &wanted->filter.reason);
    if (err == ERR_OK)
        err = query_text(request, "after", &after);
    if (err == ERR_OK && invalid.count > 0)
        return api_invalid_answer(&invalid, response);
    api_invalid_fini(&invalid);
    if (err != ERR_OK)
        return err;
    wanted->has_after = after.size > 0;
    if (wanted->has_after && !letter_id_parse(after, &wanted->after))
        return api_fail(response, 400, "after must be the id of a dead letter, as the list has it");
    *ret_good = true;
    return ERR_OK;
}

static const char *list_message(const struct letter_found *found, size_t count,
                                char message[MESSAGE_BYTES])
{
    char id[LETTER_ID_BYTES] = "";
    if (found->more && found->last.key[0])
        letter_id_format(found->last.key, found->last.row, id);
    int size = snprintf(message, MESSAGE_BYTES, "Retrieved %zu dead letters%s%s", count,
                        id[0] ? "; there may be older ones: go on with after=" : "", id);
    if (found->unread_files > 0 && size < MESSAGE_BYTES)
        snprintf(message + size, (size_t)(MESSAGE_BYTES - size),
                 "; %zu files could not be read, the first: %.150s", found->unread_files,
                 found->unread.text);
    return message;
}

static enum err list_get(const struct api_services *services, struct api_request *request,
                         struct api_response *response)
{
    struct wanted wanted;
    struct letter_found found;
    struct diag diag = {0};
    struct listing listing = {.out = &response->body};
    char message[MESSAGE_BYTES];
    bool good;
    enum err err = wanted_read(request, response, &wanted, &good);
    if (err != ERR_OK || !good)
        return err;
    if (!services->letters)
        return no_letters(response);
    size_t limit = wanted.limit > LIMIT_LIST_MAX ? LIMIT_LIST_MAX : (size_t)wanted.limit;
    api_data_begin(&response->body);
    buf_byte(&response->body, '[');
    err = letters_list(services->letters, &wanted.filter, wanted.has_after ? &wanted.after : NULL,
                       limit, on_letter, &listing, &found, &diag);
    if (err != ERR_OK)
        return refused(response, err, &diag);
    buf_byte(&response->body, ']');
    api_list_end(&response->body, list_message(&found, listing.count, message), NULL,
                 listing.count);
    return response->body.err;
}

/* --- sending again ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum content_format format;
} formats[] = {
    {"auto", CONTENT_AUTO},        {"json", CONTENT_JSON},     {"cbor", CONTENT_CBOR},
    {"senml", CONTENT_SENML_JSON}, {"text", CONTENT_TEXT},     {"csv", CONTENT_CSV},
    {"msgpack", CONTENT_MSGPACK},  {"ndjson", CONTENT_NDJSON},
};

static bool format_read(struct bytes text, struct letters_wish *wish)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (!bytes_equal_text(text, formats[i].name))
            continue;
        wish->format = formats[i].format;
        wish->has_format = true;
        return true;
    }
    return false;
}

/* Absent and null are the same. */
static bool member_text(const json_t *body, const char *name, struct bytes *ret_text)
{
    const json_t *value = json_object_get(body, name);
    *ret_text = (struct bytes){0};
    if (!value || json_is_null(value))
        return true;
    *ret_text = bytes_from(json_string_value(value), json_string_length(value));
    return json_is_string(value) && ret_text->size <= FILTER_BYTES;
}

static bool member_moment(const json_t *body, const char *name, int64_t *ret_us)
{
    const json_t *value = json_object_get(body, name);
    *ret_us = 0;
    if (!value || json_is_null(value))
        return true;
    if (json_is_number(value))
        return timestamp_from_number(json_number_value(value), ret_us);
    return json_is_string(value) &&
           timestamp_parse(bytes_from(json_string_value(value), json_string_length(value)), ret_us);
}

struct posted {
    struct letters_wish wish;
    struct letter_filter filter;
    struct letter_id after;
    struct letter_id *ids; /* the request's arena */
};

static const char *ids_read(struct api_request *request, const json_t *ids, struct posted *posted,
                            enum err *err)
{
    size_t count = json_array_size(ids);
    if (!json_is_array(ids) || count == 0 || count > LETTERS_IDS_MAX)
        return "ids must be a list of 1 to 1000 ids, as GET /api/dead-letters has them";
    posted->ids = arena_alloc(&request->arena, count * sizeof(*posted->ids));
    if (!posted->ids) {
        *err = ERR_NO_MEMORY;
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_string(id) ||
            !letter_id_parse(bytes_from(json_string_value(id), json_string_length(id)),
                             &posted->ids[i]))
            return "each of ids must be the id of a dead letter, as GET /api/dead-letters has it";
    }
    posted->wish.ids = posted->ids;
    posted->wish.id_count = count;
    return NULL;
}

static const char *filter_read(const json_t *body, struct posted *posted)
{
    struct letter_filter *filter = &posted->filter;
    struct bytes after;
    if (!member_text(body, "ingestion_id", &filter->ingestion_id) ||
        !member_text(body, "source", &filter->source) ||
        !member_text(body, "reason", &filter->reason))
        return "ingestion_id, source and reason must be texts";
    if (!member_moment(body, "since", &filter->since_us) ||
        !member_moment(body, "until", &filter->until_us))
        return "since and until must be moments: ISO 8601, such as 2026-01-31T12:00:00Z, or a Unix "
               "time";
    if (!member_text(body, "after", &after) ||
        (after.size > 0 && !letter_id_parse(after, &posted->after)))
        return "after must be the id of a dead letter, as the list has it";
    posted->wish.after = after.size > 0 ? &posted->after : NULL;
    if (filter->ingestion_id.size + filter->source.size + filter->reason.size == 0 &&
        filter->since_us == 0 && filter->until_us == 0)
        return "name the letters: ids, or one or more of ingestion_id, source, reason, since and "
               "until";
    return NULL;
}

static const char *options_read(const json_t *body, struct posted *posted)
{
    const json_t *limit = json_object_get(body, "limit");
    const json_t *others = json_object_get(body, "other_journals");
    struct bytes format;
    posted->wish.limit = LIMIT_LIST_MAX;
    if (limit && !json_is_null(limit)) {
        json_int_t value = json_integer_value(limit);
        if (!json_is_integer(limit) || value < 1 || value > LETTERS_LIMIT_MAX)
            return "limit must be a whole number from 1 to 10000";
        posted->wish.limit = (size_t)value;
    }
    if (others && !json_is_null(others) && !json_is_boolean(others))
        return "other_journals must be true or false";
    posted->wish.other_journals = json_is_true(others);
    if (!member_text(body, "format", &format) ||
        (format.size > 0 && !format_read(format, &posted->wish)))
        return "format must be one of auto, json, cbor, senml, text, csv, msgpack and ndjson";
    return NULL;
}

/* NULL and ERR_OK: it is good. */
static const char *posted_read(struct api_request *request, struct posted *posted, enum err *err)
{
    const json_t *ids = json_object_get(request->json, "ids");
    *posted = (struct posted){0};
    posted->wish.filter = &posted->filter;
    const char *fault = options_read(request->json, posted);
    if (fault)
        return fault;
    return ids && !json_is_null(ids) ? ids_read(request, ids, posted, err)
                                     : filter_read(request->json, posted);
}

static enum err told_answer(struct api_response *response, const struct letters_told *told)
{
    char id[LETTER_ID_BYTES];
    char message[MESSAGE_BYTES];
    struct buf *out = &response->body;
    bool more = told->found.more && told->found.last.key[0];
    uint64_t left = told->incomplete + told->no_source + told->too_large + told->other_journal +
                    told->not_found;
    api_data_begin(out);
    buf_printf(out,
               "{\"replayed\":%llu,\"already_replayed\":%llu,\"skipped\":{\"incomplete\":%llu,"
               "\"no_source\":%llu,\"too_large\":%llu,\"other_journal\":%llu,\"not_found\":%llu},"
               "\"unread_files\":%zu,\"after\":",
               (unsigned long long)told->replayed, (unsigned long long)told->already,
               (unsigned long long)told->incomplete, (unsigned long long)told->no_source,
               (unsigned long long)told->too_large, (unsigned long long)told->other_journal,
               (unsigned long long)told->not_found, told->found.unread_files);
    if (more) {
        letter_id_format(told->found.last.key, told->found.last.row, id);
        buf_json_string(out, bytes_from_text(id));
    } else {
        buf_text(out, "null");
    }
    buf_byte(out, '}');
    snprintf(message, sizeof(message),
             "%llu dead letters are on their way again, %llu had been before, %llu stay where they "
             "are%s",
             (unsigned long long)told->replayed, (unsigned long long)told->already,
             (unsigned long long)left, more ? "; there may be more: post again with after" : "");
    api_data_end(out, message);
    return out->err;
}

static enum err replay_post(const struct api_services *services, struct api_request *request,
                            struct api_response *response)
{
    struct posted posted;
    struct letters_told told;
    struct diag diag = {0};
    enum err err = ERR_OK;
    const char *fault = posted_read(request, &posted, &err);
    if (err != ERR_OK)
        return err;
    if (fault)
        return api_fail(response, 400, "%s", fault);
    if (!services->letters)
        return no_letters(response);
    err = letters_replay(services->letters, &posted.wish, &told, &diag);
    return err == ERR_OK ? told_answer(response, &told) : refused(response, err, &diag);
}

/* --- the table ----------------------------------------------------------------------------- */

#define TEXT  "{\"type\":\"string\"}"
#define COUNT "{\"type\":\"integer\",\"minimum\":0}"
#define FLAG  "{\"type\":\"boolean\"}"

#define LETTER_SCHEMA                                                                              \
    "{\"type\":\"object\",\"required\":[\"id\",\"ingestion_id\",\"source_type\",\"topic\","        \
    "\"reason\",\"detail\",\"received_at\",\"payload\",\"payload_encoding\",\"payload_size\","     \
    "\"payload_cut\",\"metadata\",\"whole\",\"replayed\"],\"properties\":{\"id\":" TEXT            \
    ",\"ingestion_id\":" TEXT ",\"source_type\":" TEXT ",\"topic\":" TEXT ",\"reason\":" TEXT      \
    ",\"detail\":" TEXT ",\"received_at\":" TEXT ",\"payload\":" TEXT                              \
    ",\"payload_encoding\":{\"enum\":[\"text\",\"base64\"]},\"payload_size\":" COUNT               \
    ",\"payload_cut\":" FLAG ",\"metadata\":{\"type\":\"object\"},\"whole\":" FLAG                 \
    ",\"replayed\":" FLAG "}}"

#define TOLD_SCHEMA                                                                                \
    "{\"type\":\"object\",\"required\":[\"replayed\",\"already_replayed\",\"skipped\","            \
    "\"unread_files\",\"after\"],\"properties\":{\"replayed\":" COUNT                              \
    ",\"already_replayed\":" COUNT ",\"skipped\":{\"type\":\"object\",\"properties\":{"            \
    "\"incomplete\":" COUNT ",\"no_source\":" COUNT ",\"too_large\":" COUNT                        \
    ",\"other_journal\":" COUNT ",\"not_found\":" COUNT "}},\"unread_files\":" COUNT               \
    ",\"after\":{\"type\":[\"string\",\"null\"]}}}"

#define MAYBE_TEXT "{\"type\":[\"string\",\"null\"]}"
#define MOMENT     "{\"type\":[\"string\",\"number\",\"null\"]}"

#define WISH_SCHEMA                                                                                \
    "{\"type\":\"object\",\"properties\":{\"ids\":{\"type\":[\"array\",\"null\"],"                 \
    "\"minItems\":1,\"maxItems\":1000,\"items\":" TEXT "},\"ingestion_id\":" MAYBE_TEXT            \
    ",\"source\":" MAYBE_TEXT ",\"reason\":" MAYBE_TEXT ",\"since\":" MOMENT ",\"until\":" MOMENT  \
    ",\"after\":" MAYBE_TEXT ",\"limit\":{\"type\":[\"integer\",\"null\"],\"minimum\":1,"          \
    "\"maximum\":10000,\"default\":1000},\"format\":{\"enum\":[\"auto\",\"json\",\"cbor\","        \
    "\"senml\",\"text\",\"csv\",\"msgpack\",\"ndjson\",null]},\"other_journals\":{\"type\":"       \
    "[\"boolean\",\"null\"],\"default\":false}}}"

static const struct api_parameter parameters[] = {
    {.name = "ingestion_id", .description = "Of this dataset", .schema = TEXT},
    {.name = "source",
     .description = "Of all datasets of the source with this ingestion id",
     .schema = TEXT},
    {.name = "reason", .description = "oversize, invalid_cbor, …", .schema = TEXT},
    {.name = "since", .description = "Received then or later", .schema = TEXT},
    {.name = "until", .description = "Received then or before", .schema = TEXT},
    {.name = "after", .description = "Go on after the letter with this id", .schema = TEXT},
    {.name = "limit", .description = "At most so many; 1000 and more are 1000", .minimum = 1},
    {0},
};

static const unsigned list_errors[] = {400, 503, 0};
static const unsigned replay_errors[] = {400, 409, 503, 0};

static const struct api_route routes[] = {
    {.method = "GET",
     .path = "/api/dead-letters",
     .handle = list_get,
     .slow = true,
     .tag = "dead letters",
     .summary = "Messages that could become no record, as they lie in the lake, newest first; of a "
                "payload the first 64 KiB",
     .answer = API_ANSWER_LIST,
     .answer_schema = LETTER_SCHEMA,
     .parameters = parameters,
     .error_statuses = list_errors},
    {.method = "POST",
     .path = "/api/dead-letters/replay",
     .handle = replay_post,
     .slow = true,
     .body = API_BODY_DICT,
     .tag = "dead letters",
     .summary = "Sends dead letters through the pipeline again, each once, with the options that "
                "their source has now; answers when they are durable",
     .answer = API_ANSWER_DATA,
     .answer_schema = TOLD_SCHEMA,
     .body_schema = WISH_SCHEMA,
     .error_statuses = replay_errors},
};

const struct api_route_group dead_letter_routes = {routes, sizeof(routes) / sizeof(routes[0])};
