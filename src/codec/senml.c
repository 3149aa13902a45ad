/*
 * A pack is JSON text when it begins with '[', which CBOR's arrays never do; CBOR is made JSON text
 * first. Each record is read once into its known fields (slices of the text), the rest is copied.
 */
#include "codec/senml.h"

#include "codec/cbor.h"
#include "codec/json.h"
#include "codec/json_writer.h"

#include <math.h>

#define VERSION_MAX       10
#define RELATIVE_BELOW    268435456.0 /* 2^28: smaller times count from now */
#define MICROSECONDS_FROM 1e12        /* beyond, a time is written as it is */

/* The known labels. Base fields first. */
enum label {
    BASE_NAME,
    BASE_TIME,
    BASE_UNIT,
    BASE_VALUE,
    BASE_SUM,
    BASE_VERSION,
    NAME,
    UNIT,
    VALUE,
    STRING_VALUE,
    BOOLEAN_VALUE,
    DATA_VALUE,
    SUM,
    TIME,
    UPDATE_TIME,
    LABEL_COUNT,
};

static const struct {
    const char *text;
    char type; /* 'n'umber, 's'tring, 'b'oolean */
} labels[LABEL_COUNT] = {
    [BASE_NAME] = {"bn", 's'},    [BASE_TIME] = {"bt", 'n'},     [BASE_UNIT] = {"bu", 's'},
    [BASE_VALUE] = {"bv", 'n'},   [BASE_SUM] = {"bs", 'n'},      [BASE_VERSION] = {"bver", 'n'},
    [NAME] = {"n", 's'},          [UNIT] = {"u", 's'},           [VALUE] = {"v", 'n'},
    [STRING_VALUE] = {"vs", 's'}, [BOOLEAN_VALUE] = {"vb", 'b'}, [DATA_VALUE] = {"vd", 's'},
    [SUM] = {"s", 'n'},           [TIME] = {"t", 'n'},           [UPDATE_TIME] = {"ut", 'n'},
};

struct senml {
    struct json_cursor cursor;
    struct buf *out;
    int64_t now_us;
    const char *why;
    bool written;                     /* a record */
    struct bytes fields[LABEL_COUNT]; /* JSON text; empty: not there. Base fields stay. */
    struct buf rest;                  /* ,"name":value … of fields that are not known */
    bool has_own;                     /* the record has a field that is no base field */
    bool has_value;                   /* one of its own, be it null or one that is not known */
};

static enum err malformed(struct senml *senml, const char *why)
{
    senml->why = why;
    return ERR_SYNTAX;
}

/* --- reading ------------------------------------------------------------------------------- */

static char type_of(struct bytes value)
{
    uint8_t byte = value.data[0];
    if (byte == '"')
        return 's';
    if (byte == 't' || byte == 'f')
        return 'b';
    return byte == '-' || (byte >= '0' && byte <= '9') || byte == 'N' || byte == 'I' ? 'n' : 0;
}

/* Of a checked number; 0 of a field that is not there. */
static double number_of(struct bytes value)
{
    if (value.size == 0)
        return 0;
    struct json_cursor cursor = {value.data, value.data + value.size, false};
    enum json_number_kind kind;
    double number;
    return json_number_scan(&cursor, &kind, &number) == ERR_OK ? number : (double)NAN;
}

/* A key is compared as it stands: who escapes a label's letters is not known. */
static int label_of(struct bytes key)
{
    for (int i = 0; i < LABEL_COUNT; i++)
        if (bytes_equal_text(key, labels[i].text))
            return i;
    return -1;
}

static enum err unknown_take(struct senml *senml, struct bytes key, struct bytes value)
{
    if (key.size > 0 && key.data[key.size - 1] == '_')
        return malformed(senml, "the SenML has a field that must be understood and is not known");
    bool is_own = key.size == 0 || key.data[0] != 'b';
    senml->has_own |= is_own;
    senml->has_value |= is_own; /* for all we know */
    buf_text(&senml->rest, ",\"");
    buf_append(&senml->rest, key.data, key.size);
    buf_text(&senml->rest, "\":");
    return buf_append(&senml->rest, value.data, value.size);
}

static enum err field_take(struct senml *senml, struct bytes key, struct bytes value)
{
    int label = label_of(key);
    if (label < 0)
        return unknown_take(senml, key, value);
    senml->has_own |= label >= NAME;
    senml->has_value |= label >= VALUE && label <= SUM;
    if (value.data[0] == 'n') { /* null */
        senml->fields[label] = label >= NAME ? (struct bytes){0} : senml->fields[label];
        return ERR_OK;
    }
    if (type_of(value) != labels[label].type)
        return malformed(senml, "the SenML has a field of the wrong type");
    senml->fields[label] = value;
    if (label == BASE_VERSION && !(number_of(value) <= VERSION_MAX))
        return malformed(senml, "the SenML is of a version above 10");
    return ERR_OK;
}

static enum err record_read(struct senml *senml)
{
    struct json_cursor *cursor = &senml->cursor;
    for (int i = NAME; i < LABEL_COUNT; i++)
        senml->fields[i] = (struct bytes){0};
    buf_clear(&senml->rest);
    senml->has_own = senml->has_value = false;
    json_space(cursor);
    if (!json_take(cursor, '{'))
        return malformed(senml, "the SenML pack has an element that is no object");
    json_space(cursor);
    if (json_take(cursor, '}'))
        return ERR_OK;
    do {
        struct json_string key;
        struct bytes value;
        json_space(cursor);
        enum err err = json_string_scan(cursor, &key);
        json_space(cursor);
        if (err == ERR_OK)
            err = json_take(cursor, ':') ? json_skip(cursor, LIMIT_JSON_DEPTH, &value) : ERR_SYNTAX;
        if (err == ERR_OK)
            err = field_take(senml, key.raw, value);
        if (err != ERR_OK)
            return err;
        json_space(cursor);
    } while (json_take(cursor, ','));
    return json_take(cursor, '}') ? ERR_OK : ERR_SYNTAX;
}

/* --- resolving ----------------------------------------------------------------------------- */

/* A character of a checked JSON string, which is moved on; 0x80 for what no name may have. */
static uint8_t name_byte(const uint8_t **at)
{
    const uint8_t *text = *at;
    unsigned code = 0;
    *at += text[0] != '\\' ? 1 : text[1] == 'u' ? 6 : 2;
    if (text[0] != '\\')
        return text[0];
    if (text[1] != 'u')
        return text[1] == '/' ? '/' : 0x80;
    for (int i = 2; i < 6; i++)
        code = code << 4 | (unsigned)(text[i] <= '9' ? text[i] - '0' : (text[i] | 0x20) - 'a' + 10);
    return code < 0x80 ? (uint8_t)code : 0x80;
}

/* §4.5.1, of the base name and the name together. */
static bool name_is_legal(const struct senml *senml)
{
    bool is_first = true;
    for (int label = BASE_NAME; label <= NAME; label += NAME - BASE_NAME) {
        struct bytes text = senml->fields[label];
        if (text.size == 0)
            continue;
        const uint8_t *end = text.data + text.size - 1; /* between its quotes */
        for (const uint8_t *at = text.data + 1; at < end; is_first = false) {
            uint8_t c = name_byte(&at);
            bool is_alphanumeric =
                (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
            bool is_mark = c == '-' || c == ':' || c == '.' || c == '/' || c == '_';
            if (!is_alphanumeric && (is_first || !is_mark))
                return false;
        }
    }
    return true;
}

static void name_write(struct senml *senml)
{
    buf_text(senml->out, "\"n\":\"");
    for (int label = BASE_NAME; label <= NAME; label += NAME - BASE_NAME)
        if (senml->fields[label].size > 0)
            buf_append(senml->out, senml->fields[label].data + 1, senml->fields[label].size - 2);
    buf_byte(senml->out, '"');
}

static void number_write(struct buf *out, double number)
{
    if (isfinite(number))
        json_double_append(out, number);
    else
        buf_text(out, isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
}

/* Seconds, to the microsecond: a double's sum of base and offset is no nearer. */
static void time_write(struct senml *senml)
{
    double time = number_of(senml->fields[BASE_TIME]) + number_of(senml->fields[TIME]);
    buf_text(senml->out, ",\"t\":");
    if (!(fabs(time) < MICROSECONDS_FROM)) {
        number_write(senml->out, time);
        return;
    }
    int64_t us = (int64_t)llround(time * 1e6);
    if (time < RELATIVE_BELOW)
        us += senml->now_us;
    uint64_t magnitude = us < 0 ? (uint64_t)-us : (uint64_t)us;
    uint64_t fraction = magnitude % 1000000;
    buf_printf(senml->out, fraction > 0 ? "%s%llu.%06llu" : "%s%llu", us < 0 ? "-" : "",
               (unsigned long long)(magnitude / 1000000), (unsigned long long)fraction);
}

static void field_write(struct senml *senml, enum label label, struct bytes value)
{
    if (value.size == 0)
        return;
    buf_printf(senml->out, ",\"%s\":", labels[label].text);
    buf_append(senml->out, value.data, value.size);
}

/* The base is added; without one the text stands as it is. */
static void sum_write(struct senml *senml, enum label label, enum label base, bool present)
{
    struct bytes value = senml->fields[label];
    struct bytes base_value = senml->fields[base];
    if (base_value.size == 0 || !present) {
        field_write(senml, label, value);
        return;
    }
    buf_printf(senml->out, ",\"%s\":", labels[label].text);
    number_write(senml->out, number_of(value) + number_of(base_value));
}

static enum err record_write(struct senml *senml)
{
    const struct bytes *fields = senml->fields;
    if (fields[BASE_NAME].size <= 2 && fields[NAME].size <= 2)
        return malformed(senml, "the SenML has a record without a name");
    if (!name_is_legal(senml))
        return malformed(senml,
                         "the SenML has a name with a character that RFC 8428 does not allow");
    int other = (fields[STRING_VALUE].size > 0) + (fields[BOOLEAN_VALUE].size > 0) +
                (fields[DATA_VALUE].size > 0);
    if (other + (fields[VALUE].size > 0) > 1)
        return malformed(senml, "the SenML has a record with more than one value");
    if (!senml->has_value && fields[BASE_VALUE].size == 0 && fields[BASE_SUM].size == 0)
        return malformed(senml, "the SenML has a record without a value");
    bool value = fields[VALUE].size > 0 || (other == 0 && fields[SUM].size == 0);
    buf_text(senml->out, senml->written ? ",{" : "{");
    senml->written = true;
    name_write(senml);
    field_write(senml, UNIT, fields[UNIT].size > 0 ? fields[UNIT] : fields[BASE_UNIT]);
    sum_write(senml, VALUE, BASE_VALUE, value);
    for (enum label label = STRING_VALUE; label <= DATA_VALUE; label++)
        field_write(senml, label, fields[label]);
    sum_write(senml, SUM, BASE_SUM, true);
    time_write(senml);
    field_write(senml, UPDATE_TIME, fields[UPDATE_TIME]);
    buf_append(senml->out, senml->rest.data, senml->rest.size);
    enum err err = buf_byte(senml->out, '}');
    return senml->rest.err != ERR_OK ? senml->rest.err : err;
}

static enum err pack_write(struct senml *senml)
{
    struct json_cursor *cursor = &senml->cursor;
    json_space(cursor);
    if (!json_take(cursor, '['))
        return malformed(senml, "a SenML pack is an array of records");
    buf_byte(senml->out, '[');
    json_space(cursor);
    bool over = json_take(cursor, ']');
    while (!over) {
        enum err err = record_read(senml);
        if (err == ERR_OK && senml->has_own)
            err = record_write(senml);
        if (err != ERR_OK)
            return err;
        json_space(cursor);
        over = json_take(cursor, ']');
        if (!over && !json_take(cursor, ','))
            return ERR_SYNTAX;
    }
    json_space(cursor);
    if (cursor->at != cursor->end)
        return malformed(senml, "something follows the SenML pack");
    return buf_byte(senml->out, ']');
}

/* --- in ------------------------------------------------------------------------------------ */

static bool is_json(struct bytes payload)
{
    struct json_cursor cursor = {payload.data, payload.data + payload.size, false};
    json_space(&cursor);
    return json_peek(&cursor) == '[' || json_peek(&cursor) == '{';
}

static enum err text_resolve(struct bytes text, int64_t now_us, struct buf *out,
                             const char **ret_why)
{
    struct senml senml = {.cursor = {text.data, text.data + text.size, false},
                          .out = out,
                          .now_us = now_us,
                          .why = "the SenML is no valid JSON"};
    buf_init(&senml.rest, out->size_max);
    enum err err = pack_write(&senml);
    buf_fini(&senml.rest);
    *ret_why = senml.why;
    return err;
}

enum err senml_to_json(struct bytes payload, int64_t now_us, struct buf *out, const char **ret_why)
{
    if (payload.size == 0) {
        *ret_why = "a SenML pack is an array of records";
        return ERR_SYNTAX;
    }
    if (is_json(payload))
        return text_resolve(payload, now_us, out, ret_why);
    struct buf text;
    buf_init(&text, out->size_max);
    enum err err = cbor_senml_to_json(payload, &text, ret_why);
    if (err == ERR_OK)
        err = text_resolve(buf_bytes(&text), now_us, out, ret_why);
    buf_fini(&text);
    return err;
}
