#include "lake/decode.h"

#include "codec/timestamp.h"
#include "lake/rescue_name.h"

#define RESCUED_BYTES_MAX (8 * LIMIT_MESSAGE_BYTES_MAX)

/* A key in its struct. */
struct key {
    struct json_string text;
    uint64_t instance;
};

void decoder_init(struct decoder *decoder, struct schema *schema)
{
    *decoder = (struct decoder){.schema = schema};
    buf_init(&decoder->rescued, RESCUED_BYTES_MAX);
    buf_init(&decoder->scratch, RESCUED_BYTES_MAX);
}

void decoder_fini(struct decoder *decoder)
{
    buf_fini(&decoder->rescued);
    buf_fini(&decoder->scratch);
    null_names_fini(&decoder->nulls);
}

/* The key's text; escapes are undone in scratch. */
static enum err key_text(struct decoder *decoder, const struct json_string *key,
                         struct bytes *ret_text)
{
    *ret_text = key->raw;
    if (!key->escaped)
        return ERR_OK;
    buf_clear(&decoder->scratch);
    enum err err = buf_reserve(&decoder->scratch, key->raw.size);
    if (err == ERR_OK)
        *ret_text =
            bytes_from(decoder->scratch.data, json_unescape(key->raw, decoder->scratch.data));
    return err;
}

/* --- _rescued_data ------------------------------------------------------------------------- */

static enum err rescue_begin(struct decoder *decoder)
{
    decoder->rescued_count++;
    buf_byte(&decoder->rescued, decoder->rescued.size == 0 ? '{' : ',');
    return buf_byte(&decoder->rescued, '"');
}

/* A value under its column's names. */
static enum err rescue_column(struct decoder *decoder, const struct column *column,
                              struct bytes value)
{
    rescue_begin(decoder);
    rescue_name_column(&decoder->rescued, column);
    buf_text(&decoder->rescued, "\":");
    return json_compact(&decoder->rescued, value, JSON_NAN_TEXT);
}

/* A value of a field that has no column. */
static enum err rescue_field(struct decoder *decoder, const struct column *parent,
                             const struct key *key, struct bytes value)
{
    struct bytes name;
    enum err err = key_text(decoder, &key->text, &name);
    if (err == ERR_OK)
        err = rescue_begin(decoder);
    if (err == ERR_OK)
        err = rescue_name_field(&decoder->rescued, parent, name);
    if (err != ERR_OK)
        return err;
    buf_text(&decoder->rescued, "\":");
    return json_compact(&decoder->rescued, value, JSON_NAN_TEXT);
}

/* --- values that fit their column ---------------------------------------------------------- */

static enum err decode_value(struct decoder *decoder, struct column *column, uint8_t repetition);

/* All leaves below get a null at the level that is still there. */
static enum err column_null(struct decoder *decoder, struct column *column, uint8_t repetition,
                            uint8_t definition)
{
    if (column_is_leaf(column))
        return leaf_null(&column->leaf, decoder->row, repetition, definition);
    for (uint32_t i = 0; i < column->child_count; i++) {
        enum err err = column_null(decoder, column->children[i], repetition, definition);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* A null in the top level needs no entry; it is filled in later. */
static inline enum err value_null(struct decoder *decoder, struct column *column,
                                  uint8_t repetition)
{
    if (column->depth == 1)
        return ERR_OK;
    return column_null(decoder, column, repetition, (uint8_t)(column->definition - 1));
}

/* Skips the value at the cursor, which stands inside depth containers. */
static enum err value_skip(struct decoder *decoder, uint32_t depth, struct bytes *ret_value)
{
    return json_skip(&decoder->cursor, decoder->options.depth_max - depth, ret_value);
}

/* The value at the cursor does not fit. */
static enum err value_misfit(struct decoder *decoder, struct column *column, uint8_t repetition)
{
    struct bytes value;
    enum err err = value_skip(decoder, column->depth, &value);
    if (err == ERR_OK)
        err = value_null(decoder, column, repetition);
    if (err != ERR_OK)
        return err;
    if (decoder->list_depth == 0)
        return rescue_column(decoder, column, value);
    decoder->list_rescue = true;
    return ERR_OK;
}

/* Whether the record may have one more leaf. */
static inline bool leaf_counted(struct decoder *decoder, struct column *column)
{
    if (decoder->list_depth > 0) {
        if (column->row_stamp == decoder->record_stamp)
            return true;
        column->row_stamp = decoder->record_stamp;
    }
    return ++decoder->leaf_count <= LIMIT_LEAVES_PER_RECORD;
}

static inline enum err decode_double(struct decoder *decoder, struct column *column,
                                     uint8_t repetition)
{
    const uint8_t *start = decoder->cursor.at;
    uint8_t byte = json_peek(&decoder->cursor);
    if (byte == '"' || byte == '{' || byte == '[' || byte == 't' || byte == 'f' ||
        !leaf_counted(decoder, column))
        return value_misfit(decoder, column, repetition);
    double value;
    enum json_number_kind kind = json_number_read(&decoder->cursor.at, decoder->cursor.end, &value);
    if (kind == JSON_NUMBER_INVALID) {
        enum err err = json_number_scan(&decoder->cursor, &kind, &value);
        if (err != ERR_OK)
            return err;
    }
    if (kind == JSON_NUMBER_DOUBLE)
        return leaf_double(&column->leaf, decoder->row, repetition, value);
    decoder->cursor.at = start;
    return value_misfit(decoder, column, repetition);
}

static enum err decode_boolean(struct decoder *decoder, struct column *column, uint8_t repetition)
{
    struct json_cursor *cursor = &decoder->cursor;
    size_t left = (size_t)(cursor->end - cursor->at);
    bool is_true = left >= 4 && memcmp(cursor->at, "true", 4) == 0;
    bool is_false = left >= 5 && memcmp(cursor->at, "false", 5) == 0;
    if ((!is_true && !is_false) || !leaf_counted(decoder, column))
        return value_misfit(decoder, column, repetition);
    cursor->at += is_true ? 4 : 5;
    return leaf_boolean(&column->leaf, decoder->row, repetition, is_true);
}

/* Anything that is no string, as its JSON text. */
static enum err decode_text(struct decoder *decoder, struct column *column, uint8_t repetition)
{
    uint8_t first = json_peek(&decoder->cursor);
    struct bytes value;
    enum err err = value_skip(decoder, column->depth, &value);
    if (err != ERR_OK)
        return err;
    if (first == '{' || first == '[') {
        buf_clear(&decoder->scratch);
        err = json_compact(&decoder->scratch, value, JSON_NAN_TEXT);
        value = buf_bytes(&decoder->scratch);
    }
    if (err == ERR_OK)
        err = leaf_string(&column->leaf, decoder->row, repetition, value);
    if (err == ERR_OK)
        leaf_note_json(&column->leaf, decoder->row, first);
    return err;
}

static inline enum err decode_string(struct decoder *decoder, struct column *column,
                                     uint8_t repetition)
{
    const uint8_t *start = decoder->cursor.at;
    if (!leaf_counted(decoder, column))
        return value_misfit(decoder, column, repetition);
    if (json_peek(&decoder->cursor) != '"')
        return decode_text(decoder, column, repetition);
    struct json_string string;
    enum err err = json_string_scan(&decoder->cursor, &string);
    if (err != ERR_OK)
        return err;
    if (string.raw.size > UINT32_MAX / 2) {
        decoder->cursor.at = start;
        return value_misfit(decoder, column, repetition);
    }
    if (!string.escaped)
        return leaf_string_within(&column->leaf, decoder->row, repetition, string.raw,
                                  decoder->cursor.end);
    uint8_t *text;
    err = leaf_string_begin(&column->leaf, decoder->row, repetition, string.raw.size, &text);
    if (err == ERR_OK)
        leaf_string_end(&column->leaf, json_unescape(string.raw, text));
    return err;
}

/* Elements after the first repeat at the list's own level. */
static enum err list_elements(struct decoder *decoder, struct column *element, uint8_t repetition)
{
    struct json_cursor *cursor = &decoder->cursor;
    for (;;) {
        json_space(cursor);
        enum err err = decode_value(decoder, element, repetition);
        if (err != ERR_OK)
            return err;
        repetition = element->repetition;
        json_space(cursor);
        if (json_take(cursor, ']'))
            return ERR_OK;
        if (!json_take(cursor, ','))
            return ERR_SYNTAX;
    }
}

static enum err decode_list(struct decoder *decoder, struct column *column, uint8_t repetition)
{
    struct json_cursor *cursor = &decoder->cursor;
    const uint8_t *start = cursor->at;
    if (json_peek(cursor) != '[' || column->child_count == 0)
        return value_misfit(decoder, column, repetition);
    cursor->at++;
    json_space(cursor);
    if (json_take(cursor, ']'))
        return column_null(decoder, column, repetition, column->definition);
    if (decoder->list_depth++ == 0)
        decoder->list_rescue = false;
    enum err err = list_elements(decoder, column->children[0], repetition);
    if (--decoder->list_depth > 0 || !decoder->list_rescue || err != ERR_OK)
        return err;
    return rescue_column(decoder, column, bytes_from(start, (size_t)(cursor->at - start)));
}

/* --- structs ------------------------------------------------------------------------------- */

/* Whether this struct already had a field of this name that was rescued. */
static enum err unknown_repeated(struct decoder *decoder, const struct key *key)
{
    if (decoder->options.unique || decoder->list_depth > 0)
        return ERR_OK;
    for (uint32_t i = 0; i < decoder->unknown_count; i++)
        if (decoder->unknown[i].instance == key->instance &&
            bytes_equal(decoder->unknown[i].raw, key->text.raw))
            return ERR_CONFLICT;
    return ERR_OK;
}

static enum err unknown_note(struct decoder *decoder, const struct key *key)
{
    if (decoder->options.unique || decoder->list_depth > 0)
        return ERR_OK;
    if (decoder->unknown_count == DECODE_UNKNOWN_MAX || key->text.escaped)
        return ERR_CONFLICT;
    decoder->unknown[decoder->unknown_count].instance = key->instance;
    decoder->unknown[decoder->unknown_count++].raw = key->text.raw;
    return ERR_OK;
}

/* Whether the value should pin a column for this field. */
static bool should_pin(const struct decoder *decoder, const struct column *parent,
                       struct bytes name, struct bytes value)
{
    if (decoder->options.final || schema_room(decoder->schema) == 0 ||
        decoder->leaf_count >= LIMIT_LEAVES_PER_RECORD || parent->depth >= LIMIT_COLUMN_DEPTH ||
        !decode_key_fits(name))
        return false;
    return decode_has_leaf(value, LIMIT_COLUMN_DEPTH - parent->depth - 1u);
}

/* A field without a column. */
static enum err decode_unknown(struct decoder *decoder, struct column *parent,
                               const struct key *key, struct bytes name)
{
    bool fits = decode_key_fits(name);
    struct bytes value;
    enum err err = value_skip(decoder, parent->depth + 1u, &value);
    if (err == ERR_OK)
        err = unknown_repeated(decoder, key);
    if (err != ERR_OK)
        return err;
    if (value.data[0] == 'n' && (fits || decoder->list_depth > 0)) {
        if (parent->depth == 0)
            null_names_note(&decoder->nulls, name);
        return ERR_OK;
    }
    if (should_pin(decoder, parent, name, value))
        return ERR_AGAIN;
    if (decoder->list_depth > 0) {
        decoder->list_rescue = true;
        return ERR_OK;
    }
    err = unknown_note(decoder, key);
    return err == ERR_OK ? rescue_field(decoder, parent, key, value) : err;
}

/* Reads a time; *ret_ok whether it could be used. The value is skipped. */
static enum err time_read(struct decoder *decoder, struct bytes *ret_value, bool *ret_ok)
{
    struct json_cursor *cursor = &decoder->cursor;
    const uint8_t *start = cursor->at;
    uint8_t byte = json_peek(cursor);
    enum err err;
    *ret_ok = false;
    if (byte == '"') {
        struct json_string string;
        struct bytes text;
        err = json_string_scan(cursor, &string);
        if (err == ERR_OK)
            err = key_text(decoder, &string, &text);
        if (err == ERR_OK)
            *ret_ok = timestamp_parse(text, &decoder->time_us);
        *ret_value = bytes_from(start, (size_t)(cursor->at - start));
        return err;
    }
    err = value_skip(decoder, 1, ret_value);
    if (err != ERR_OK || (byte != '-' && (byte < '0' || byte > '9')))
        return err;
    double number;
    enum json_number_kind kind = json_number_read(&start, cursor->end, &number);
    if (kind == JSON_NUMBER_BIG_INTEGER)
        *ret_ok = timestamp_parse(*ret_value, &decoder->time_us);
    else
        *ret_ok = kind == JSON_NUMBER_DOUBLE && timestamp_from_number(number, &decoder->time_us);
    return ERR_OK;
}

/* The field "timestamp": consumed as the record's time. */
static enum err decode_time(struct decoder *decoder, struct column *column)
{
    struct bytes value;
    bool ok;
    enum err err = time_read(decoder, &value, &ok);
    if (err != ERR_OK)
        return err;
    decoder->has_time = ok;
    return ok || value.data[0] == 'n' ? ERR_OK : rescue_column(decoder, column, value);
}

/* A field that the service has itself. */
static enum err decode_reserved(struct decoder *decoder, struct column *column)
{
    struct bytes value;
    enum err err = value_skip(decoder, 1, &value);
    return err == ERR_OK ? rescue_column(decoder, column, value) : err;
}

/* A route's own time field is read as the time and then as the field it is. */
static enum err peek_time(struct decoder *decoder, const struct key *key, struct bytes *name)
{
    const uint8_t *start = decoder->cursor.at;
    struct bytes value;
    bool ok;
    enum err err = time_read(decoder, &value, &ok);
    decoder->has_time = err == ERR_OK && ok;
    decoder->cursor.at = start;
    return err == ERR_OK ? key_text(decoder, &key->text, name) : err;
}

static enum err decode_root_field(struct decoder *decoder, struct column *column)
{
    if (column->role == COLUMN_TIME && decoder->options.time_field.size == 0)
        return decode_time(decoder, column);
    if (column->role != COLUMN_PLAIN || column->kind == COLUMN_NONE)
        return decode_reserved(decoder, column);
    return decode_value(decoder, column, 0);
}

/* Whether the key that was guessed stands at the cursor; its size with the quotes, or 0. */
static inline size_t guess_holds(const struct json_cursor *cursor, const struct column *guess)
{
    size_t left = (size_t)(cursor->end - cursor->at);
    size_t size = guess->guess_size;
#if defined(__SSE2__)
    if (size > 0 && left >= COLUMN_GUESS_BYTES) {
        const __m128i *at = (const __m128i *)(const void *)cursor->at;
        const __m128i *text = (const __m128i *)(const void *)guess->guess_text;
        __m128i low = _mm_cmpeq_epi8(_mm_loadu_si128(at), _mm_load_si128(text));
        __m128i high = _mm_cmpeq_epi8(_mm_loadu_si128(at + 1), _mm_load_si128(text + 1));
        uint64_t same =
            (uint32_t)_mm_movemask_epi8(low) | (uint64_t)(uint32_t)_mm_movemask_epi8(high) << 16;
        uint64_t wanted = (UINT64_C(1) << size) - 1;
        return (same & wanted) == wanted ? size : 0;
    }
#endif
    size = guess->quoted.size;
    return left > size && memcmp(cursor->at, guess->quoted.data, size) == 0 ? size : 0;
}

/* Reads the key at the cursor and finds its column (NULL: none) by the guess or by its name. The
 * cursor ends at the value. */
static inline enum err decode_key(struct decoder *decoder, struct column *parent,
                                  struct column *previous, struct key *key, struct bytes *ret_name,
                                  struct column **ret_column)
{
    struct json_cursor *cursor = &decoder->cursor;
    struct column *guess = previous ? previous->guess_next : parent->guess_first;
    size_t guessed = guess ? guess_holds(cursor, guess) : 0;
    if (guessed > 0) {
        key->text.raw = bytes_from(cursor->at + 1, guessed - 2);
        key->text.escaped = false;
        cursor->at += guessed;
        *ret_name = guess->key;
        *ret_column = guess;
    } else {
        if (json_peek(cursor) != '"')
            return ERR_SYNTAX;
        enum err err = json_string_scan(cursor, &key->text);
        if (err == ERR_OK)
            err = key_text(decoder, &key->text, ret_name);
        if (err != ERR_OK)
            return err;
        *ret_column = schema_child(parent, *ret_name);
        if (previous)
            previous->guess_next = *ret_column ? *ret_column : previous->guess_next;
        else
            parent->guess_first = *ret_column ? *ret_column : parent->guess_first;
    }
    json_space(cursor);
    if (!json_take(cursor, ':'))
        return ERR_SYNTAX;
    json_space(cursor);
    return ERR_OK;
}

/* The fields of a struct whose brace is behind the cursor. *ret_seen: how many had a column. */
static enum err struct_fields(struct decoder *decoder, struct column *parent, uint64_t instance,
                              uint8_t repetition, uint32_t *ret_seen)
{
    struct json_cursor *cursor = &decoder->cursor;
    struct column *previous = NULL;
    bool root = parent->depth == 0;
    *ret_seen = 0;
    for (;;) {
        struct key key = {.instance = instance};
        struct bytes name;
        struct column *column;
        json_space(cursor);
        enum err err = decode_key(decoder, parent, previous, &key, &name, &column);
        if (err == ERR_OK && root && decoder->options.time_field.size > 0 &&
            bytes_equal(name, decoder->options.time_field))
            err = peek_time(decoder, &key, &name);
        if (err != ERR_OK)
            return err;
        if (!column) {
            err = decode_unknown(decoder, parent, &key, name);
        } else if (column->stamp == instance) {
            return ERR_CONFLICT;
        } else {
            column->stamp = instance;
            previous = column;
            ++*ret_seen;
            err = root ? decode_root_field(decoder, column)
                       : decode_value(decoder, column, repetition);
        }
        if (err != ERR_OK)
            return err;
        json_space(cursor);
        if (json_take(cursor, '}'))
            return ERR_OK;
        if (!json_take(cursor, ','))
            return ERR_SYNTAX;
    }
}

static enum err decode_struct(struct decoder *decoder, struct column *column, uint8_t repetition)
{
    struct json_cursor *cursor = &decoder->cursor;
    if (!json_take(cursor, '{'))
        return value_misfit(decoder, column, repetition);
    uint64_t instance = ++decoder->instance_last;
    uint32_t seen = 0;
    json_space(cursor);
    if (!json_take(cursor, '}')) {
        enum err err = struct_fields(decoder, column, instance, repetition, &seen);
        if (err != ERR_OK)
            return err;
    }
    for (uint32_t i = 0; i < column->child_count && seen < column->child_count; i++) {
        struct column *child = column->children[i];
        if (child->stamp == instance)
            continue;
        enum err err = column_null(decoder, child, repetition, column->definition);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static bool take_null(struct json_cursor *cursor)
{
    if (cursor->end - cursor->at < 4 || memcmp(cursor->at, "null", 4) != 0)
        return false;
    cursor->at += 4;
    return true;
}

static enum err decode_value(struct decoder *decoder, struct column *column, uint8_t repetition)
{
    if (json_peek(&decoder->cursor) == 'n')
        return take_null(&decoder->cursor) ? value_null(decoder, column, repetition) : ERR_SYNTAX;
    switch (column->kind) {
    case COLUMN_DOUBLE:
        return decode_double(decoder, column, repetition);
    case COLUMN_STRING:
        return decode_string(decoder, column, repetition);
    case COLUMN_BOOLEAN:
        return decode_boolean(decoder, column, repetition);
    case COLUMN_STRUCT:
        return decode_struct(decoder, column, repetition);
    case COLUMN_LIST:
        return decode_list(decoder, column, repetition);
    case COLUMN_NONE:
        break;
    }
    return ERR_BUG;
}

static void record_begin(struct decoder *decoder, const struct decode_options *options, size_t row)
{
    decoder->options = *options;
    decoder->row = row;
    decoder->record_stamp = ++decoder->instance_last;
    decoder->leaf_count = 0;
    decoder->list_depth = 0;
    decoder->rescued_count = 0;
    decoder->unknown_count = 0;
    decoder->nulls_before = decoder->nulls.count;
    decoder->has_time = false;
    buf_clear(&decoder->rescued);
}

static void record_undo(struct decoder *decoder)
{
    null_names_truncate(&decoder->nulls, decoder->nulls_before);
    const struct schema *schema = decoder->schema;
    for (size_t i = 0; i < schema->column_count; i++)
        if (column_is_leaf(schema->columns[i]))
            leaf_truncate(&schema->columns[i]->leaf, decoder->row);
}

enum err decode_record(struct decoder *decoder, const struct decode_options *options,
                       const uint8_t **at, const uint8_t *end, size_t row)
{
    struct json_cursor *cursor = &decoder->cursor;
    *cursor = (struct json_cursor){*at, end, false};
    record_begin(decoder, options, row);
    json_space(cursor);
    enum err err = json_take(cursor, '{') ? ERR_OK : ERR_SYNTAX;
    json_space(cursor);
    if (err == ERR_OK && !json_take(cursor, '}')) {
        uint32_t seen;
        err = struct_fields(decoder, decoder->schema->root, decoder->record_stamp, 0, &seen);
    }
    if (err == ERR_OK && decoder->rescued.size > 0)
        err = buf_byte(&decoder->rescued, '}');
    if (err != ERR_OK) {
        record_undo(decoder);
        return err == ERR_TOO_LARGE ? ERR_NO_MEMORY : err;
    }
    decoder->rescued_values += decoder->rescued_count;
    *at = cursor->at;
    return ERR_OK;
}

enum err decode_record_unique(struct decoder *decoder, const struct decode_options *options,
                              struct bytes record, size_t row)
{
    struct decode_options unique = *options;
    struct buf text;
    bool repeated;
    unique.unique = true;
    buf_init(&text, 8 * LIMIT_MESSAGE_BYTES_MAX);
    enum err err = json_unique(&text, record, LIMIT_COLUMN_DEPTH + 1, &repeated);
    const uint8_t *at = text.data;
    if (err == ERR_OK)
        err = decode_record(decoder, &unique, &at, text.data + text.size, row);
    buf_fini(&text);
    return err;
}
