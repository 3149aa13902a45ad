#include "codec/cbor.h"

#include "codec/base64.h"
#include "codec/json_writer.h"
#include "codec/utf8.h"

#include <math.h>

enum major {
    MAJOR_UNSIGNED,
    MAJOR_NEGATIVE,
    MAJOR_BYTES,
    MAJOR_TEXT,
    MAJOR_ARRAY,
    MAJOR_MAP,
    MAJOR_TAG,
    MAJOR_SIMPLE,
};

enum tag {
    TAG_BIGNUM = 2,
    TAG_NEGATIVE_BIGNUM = 3,
    TAG_DECIMAL_FRACTION = 4,
    TAG_BASE64URL = 21,
    TAG_BASE64 = 22,
    TAG_BASE16 = 23,
};

#define EXPONENT_MAX 10000 /* of a decimal fraction; a double ends at 308 */

/* An item's head: §3. For additional information below 24 the argument is that. */
struct head {
    uint8_t major;
    uint8_t info;
    bool indefinite;
    uint64_t argument;
};

/* An open array or map. */
struct frame {
    uint64_t left; /* items (array) or pairs (map); of no meaning if indefinite */
    bool map;
    bool indefinite;
    bool is_value; /* map: the next item is a value */
    uint8_t encoding;
};

struct cbor {
    const uint8_t *at;
    const uint8_t *end;
    const char *why;
    bool senml;
    uint32_t depth;
    struct buf bytes; /* a string of chunks */
    struct buf text;  /* a byte string's text */
    struct json_writer writer;
    struct frame frames[LIMIT_JSON_DEPTH];
};

static enum err malformed(struct cbor *cbor, const char *why)
{
    cbor->why = why;
    return ERR_SYNTAX;
}

static size_t left(const struct cbor *cbor)
{
    return (size_t)(cbor->end - cbor->at);
}

static enum err head_read(struct cbor *cbor, struct head *ret_head)
{
    if (left(cbor) == 0)
        return malformed(cbor, "the CBOR ends before it is complete");
    uint8_t initial = *cbor->at++;
    struct head head = {.major = initial >> 5, .info = initial & 31};
    head.argument = head.info;
    if (head.info == 31) {
        head.indefinite = true;
        if (head.major <= MAJOR_NEGATIVE || head.major == MAJOR_TAG)
            return malformed(cbor, "the CBOR has a number or tag of indefinite length");
    } else if (head.info >= 28) {
        return malformed(cbor, "the CBOR has a reserved additional information value");
    } else if (head.info >= 24) {
        size_t size = (size_t)1 << (head.info - 24);
        if (left(cbor) < size)
            return malformed(cbor, "the CBOR ends before it is complete");
        head.argument = 0;
        for (size_t i = 0; i < size; i++)
            head.argument = head.argument << 8 | *cbor->at++;
    }
    *ret_head = head;
    return ERR_OK;
}

/* --- strings ------------------------------------------------------------------------------- */

static enum err string_take(struct cbor *cbor, const struct head *head, struct bytes *ret_string)
{
    if (head->argument > left(cbor))
        return malformed(cbor, "the CBOR ends before it is complete");
    *ret_string = bytes_from(cbor->at, (size_t)head->argument);
    cbor->at += head->argument;
    if (head->major == MAJOR_TEXT && !utf8_valid(*ret_string))
        return malformed(cbor, "the CBOR has a text string that is not UTF-8");
    return ERR_OK;
}

/* A string of indefinite length: chunks of its own kind up to a break. */
static enum err chunks_take(struct cbor *cbor, uint8_t major, struct bytes *ret_string)
{
    buf_clear(&cbor->bytes);
    for (;;) {
        struct head head;
        struct bytes chunk;
        enum err err = head_read(cbor, &head);
        if (err != ERR_OK)
            return err;
        if (head.major == MAJOR_SIMPLE && head.indefinite)
            break;
        if (head.major != major || head.indefinite)
            return malformed(cbor, "the CBOR has a string with a chunk of another kind");
        err = string_take(cbor, &head, &chunk);
        if (err == ERR_OK)
            err = buf_append(&cbor->bytes, chunk.data, chunk.size);
        if (err != ERR_OK)
            return err;
    }
    *ret_string = buf_bytes(&cbor->bytes);
    return ERR_OK;
}

static enum err string_read(struct cbor *cbor, const struct head *head, struct bytes *ret_string)
{
    return head->indefinite ? chunks_take(cbor, head->major, ret_string)
                            : string_take(cbor, head, ret_string);
}

static void base16_append(struct buf *out, struct bytes data)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < data.size; i++) {
        buf_byte(out, (uint8_t)digits[data.data[i] >> 4]);
        buf_byte(out, (uint8_t)digits[data.data[i] & 15]);
    }
}

/* tag: how it is to be encoded. */
static enum err bytes_write(struct cbor *cbor, struct bytes data, uint64_t tag)
{
    struct buf *text = &cbor->text;
    buf_clear(text);
    buf_byte(text, '"');
    if (tag == TAG_NEGATIVE_BIGNUM)
        buf_byte(text, '~');
    if (tag == TAG_BASE16)
        base16_append(text, data);
    else if (tag == TAG_BASE64)
        base64_append(text, data);
    else
        base64url_append(text, data);
    enum err err = buf_byte(text, '"');
    return err == ERR_OK ? json_writer_raw(&cbor->writer, buf_bytes(text)) : err;
}

/* --- numbers ------------------------------------------------------------------------------- */

/* IEEE 754's half precision: 1 bit of sign, 5 of exponent, 10 of mantissa. */
static double half_of(uint16_t bits)
{
    int exponent = bits >> 10 & 31;
    double mantissa = bits & 1023;
    double value = ldexp(mantissa + 1024, exponent - 25);
    if (exponent == 0)
        value = ldexp(mantissa, -24);
    else if (exponent == 31)
        value = (double)INFINITY; /* or NaN: both become null */
    return bits & 0x8000 ? -value : value;
}

static double float_of(const struct head *head)
{
    if (head->info == 25)
        return half_of((uint16_t)head->argument);
    if (head->info == 26) {
        uint32_t bits = (uint32_t)head->argument;
        float value;
        memcpy(&value, &bits, sizeof(value));
        return (double)value;
    }
    double value;
    memcpy(&value, &head->argument, sizeof(value));
    return value;
}

static enum err simple_write(struct cbor *cbor, const struct head *head)
{
    struct json_writer *writer = &cbor->writer;
    if (head->indefinite)
        return malformed(cbor, "the CBOR has a break where nothing is open");
    if (head->info == 24 && head->argument < 32)
        return malformed(cbor, "the CBOR has a simple value in two bytes that belongs into one");
    if (head->info >= 25) {
        double number = float_of(head);
        return isfinite(number) ? json_writer_double(writer, number)
                                : json_writer_raw(writer, BYTES_LITERAL("null"));
    }
    if (head->argument == 20)
        return json_writer_raw(writer, BYTES_LITERAL("false"));
    if (head->argument == 21)
        return json_writer_raw(writer, BYTES_LITERAL("true"));
    return json_writer_raw(writer, BYTES_LITERAL("null"));
}

static enum err integer_read(struct cbor *cbor, struct head *ret_head)
{
    enum err err = head_read(cbor, ret_head);
    if (err == ERR_OK && ret_head->major > MAJOR_NEGATIVE)
        err = malformed(cbor, "a decimal fraction is not made of two integers");
    return err;
}

/* [exponent, mantissa] */
static enum err fraction_write(struct cbor *cbor, const struct head *array)
{
    struct head exponent;
    struct head mantissa;
    if (array->major != MAJOR_ARRAY || array->indefinite || array->argument != 2)
        return malformed(cbor, "a decimal fraction is not an array of two");
    enum err err = integer_read(cbor, &exponent);
    if (err == ERR_OK)
        err = integer_read(cbor, &mantissa);
    if (err != ERR_OK)
        return err;
    if (exponent.argument > EXPONENT_MAX || mantissa.argument > INT64_MAX - 1)
        return malformed(cbor, "a decimal fraction is out of range");
    bool negative = mantissa.major == MAJOR_NEGATIVE;
    struct buf *text = &cbor->text;
    buf_clear(text);
    err = buf_printf(text, "%s%llue%s%llu", negative ? "-" : "",
                     (unsigned long long)mantissa.argument + negative,
                     exponent.major == MAJOR_NEGATIVE ? "-" : "",
                     (unsigned long long)exponent.argument +
                         (exponent.major == MAJOR_NEGATIVE ? 1u : 0u));
    return err == ERR_OK ? json_writer_raw(&cbor->writer, buf_bytes(text)) : err;
}

/* --- items --------------------------------------------------------------------------------- */

static enum err container_open(struct cbor *cbor, const struct head *head, uint8_t encoding)
{
    bool map = head->major == MAJOR_MAP;
    if (!head->indefinite && head->argument > left(cbor) / (map ? 2 : 1))
        return malformed(cbor, "the CBOR ends before it is complete");
    enum err err = json_writer_begin(&cbor->writer, map);
    if (err != ERR_OK)
        return err;
    cbor->frames[cbor->depth++] = (struct frame){
        .left = head->argument, .map = map, .indefinite = head->indefinite, .encoding = encoding};
    return ERR_OK;
}

/* An item without its tags. special: the tag right before it that changes it, or 0. */
static enum err item_write(struct cbor *cbor, const struct head *head, uint8_t encoding,
                           uint64_t special)
{
    struct bytes string;
    enum err err;
    switch (head->major) {
    case MAJOR_UNSIGNED:
    case MAJOR_NEGATIVE:
        return json_writer_integer(&cbor->writer, head->major == MAJOR_NEGATIVE, head->argument);
    case MAJOR_BYTES:
        err = string_read(cbor, head, &string);
        return err == ERR_OK ? bytes_write(cbor, string, special ? special : encoding) : err;
    case MAJOR_TEXT:
        err = string_read(cbor, head, &string);
        return err == ERR_OK ? json_writer_text(&cbor->writer, string) : err;
    case MAJOR_ARRAY:
    case MAJOR_MAP:
        return container_open(cbor, head, encoding);
    default:
        return simple_write(cbor, head);
    }
}

/* The labels of SenML's Table 4 stand for names, in a record. */
static const char *senml_label(const struct cbor *cbor, const struct head *head)
{
    static const char *const labels[] = {"n", "u", "v", "vs", "vb", "s", "t", "ut", "vd"};
    static const char *const base_labels[] = {"bver", "bn", "bt", "bu", "bv", "bs"};
    if (!cbor->senml || cbor->depth != 2 || head->major > MAJOR_NEGATIVE)
        return NULL;
    if (head->major == MAJOR_UNSIGNED)
        return head->argument < 9 ? labels[head->argument] : NULL;
    return head->argument < 6 ? base_labels[head->argument] : NULL;
}

/* The next item and its tags. */
static enum err item_read(struct cbor *cbor, uint8_t encoding, bool is_key)
{
    struct head head;
    uint64_t special = 0;
    enum err err = head_read(cbor, &head);
    while (err == ERR_OK && head.major == MAJOR_TAG) {
        special = 0;
        if (head.argument >= TAG_BASE64URL && head.argument <= TAG_BASE16)
            encoding = (uint8_t)head.argument;
        else if (head.argument >= TAG_BIGNUM && head.argument <= TAG_DECIMAL_FRACTION)
            special = head.argument;
        err = head_read(cbor, &head);
    }
    if (err != ERR_OK)
        return err;
    const char *label = is_key ? senml_label(cbor, &head) : NULL;
    if (label)
        return json_writer_text(&cbor->writer, bytes_from_text(label));
    if (special == TAG_DECIMAL_FRACTION && cbor->senml && !is_key)
        return fraction_write(cbor, &head);
    return item_write(cbor, &head, encoding, special == TAG_DECIMAL_FRACTION ? 0 : special);
}

static bool break_take(struct cbor *cbor)
{
    if (left(cbor) == 0 || *cbor->at != 0xff)
        return false;
    cbor->at++;
    return true;
}

/* The next thing in the innermost container: an item, or its end. */
static enum err step(struct cbor *cbor)
{
    struct frame *frame = &cbor->frames[cbor->depth - 1];
    bool over = frame->indefinite ? !frame->is_value && break_take(cbor)
                                  : !frame->is_value && frame->left == 0;
    if (over) {
        cbor->depth--;
        return json_writer_end(&cbor->writer);
    }
    bool is_key = frame->map && !frame->is_value;
    frame->is_value = is_key;
    frame->left -= !is_key;
    return item_read(cbor, frame->encoding, is_key);
}

static enum err payload_write(struct cbor *cbor)
{
    enum err err = item_read(cbor, cbor->senml ? TAG_BASE64URL : TAG_BASE64, false);
    while (err == ERR_OK && cbor->depth > 0)
        err = step(cbor);
    if (err == ERR_OK && left(cbor) > 0)
        err = malformed(cbor, "something follows the CBOR item");
    return err == ERR_OK ? cbor->writer.out->err : err;
}

static enum err convert(struct bytes payload, bool senml, struct buf *out, const char **ret_why)
{
    struct cbor cbor; /* large: what is in use is set */
    cbor.at = payload.data;
    cbor.end = payload.size > 0 ? payload.data + payload.size : payload.data;
    cbor.why = NULL;
    cbor.senml = senml;
    cbor.depth = 0;
    buf_init(&cbor.bytes, out->size_max);
    buf_init(&cbor.text, out->size_max);
    json_writer_init(&cbor.writer, out);
    enum err err = payload_write(&cbor);
    buf_fini(&cbor.bytes);
    buf_fini(&cbor.text);
    if (err == ERR_SYNTAX && cbor.why)
        *ret_why = cbor.why;
    return err;
}

enum err cbor_to_json(struct bytes payload, struct buf *out, const char **ret_why)
{
    return convert(payload, false, out, ret_why);
}

enum err cbor_senml_to_json(struct bytes payload, struct buf *out, const char **ret_why)
{
    return convert(payload, true, out, ret_why);
}
