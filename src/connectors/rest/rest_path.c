#include "connectors/rest/rest_path.h"

#include "base/limits.h"
#include "codec/json.h"

#define NAME_BYTES_MAX 1000

/* --- parsing ---------------------------------------------------------------------------------- */

struct parser {
    struct rest_path *path;
    struct arena *arena;
    struct diag *diag;
    const char *text;
};

static enum err refuse(const struct parser *parser, const char *why)
{
    return diag_set(
        parser->diag, ERR_INVALID,
        "the path \"%.100s\" %s; write data.items, a[*].b or a JSON Pointer /data/items",
        parser->text, why);
}

/* Whole numbers without leading zeros; more digits than fit are no index. */
static bool index_read(const char *text, size_t size, uint64_t *ret_index)
{
    if (size == 0 || size > 18 || (size > 1 && text[0] == '0'))
        return false;
    *ret_index = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *ret_index = *ret_index * 10 + (uint64_t)(text[i] - '0');
    }
    return true;
}

static enum err step_add(struct parser *parser, const char *name, size_t size, bool every)
{
    struct rest_path *path = parser->path;
    if (path->count >= REST_PATH_STEPS_MAX)
        return refuse(parser, "has more than 32 steps");
    if (size > NAME_BYTES_MAX)
        return refuse(parser, "has a name of more than 1000 bytes");
    struct rest_path_step *step = &path->steps[path->count];
    *step = (struct rest_path_step){.every = every};
    step->is_index = index_read(name, size, &step->index);
    step->name = bytes_from(arena_dup(parser->arena, name, size), size);
    if (!step->name.data)
        return diag_set(parser->diag, ERR_NO_MEMORY, "out of memory for a path");
    path->count++;
    return ERR_OK;
}

/* /a~1b/0: ~1 is a slash, ~0 a tilde (RFC 6901). */
static enum err parse_pointer(struct parser *parser)
{
    char name[NAME_BYTES_MAX];
    const char *at = parser->text;
    while (*at == '/') {
        size_t size = 0;
        for (at++; *at && *at != '/'; at++) {
            if (size >= sizeof(name))
                return refuse(parser, "has a name of more than 1000 bytes");
            if (*at == '~' && at[1] != '0' && at[1] != '1')
                return refuse(parser, "has a ~ without 0 or 1 after it");
            name[size++] = *at != '~' ? *at : *++at == '0' ? '~' : '/';
        }
        enum err err = step_add(parser, name, size, false);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* [*], [], [0], ['name'], ["name"] */
static enum err parse_bracket(struct parser *parser, const char **at)
{
    const char *start = *at + 1;
    char quote = *start == '\'' || *start == '"' ? *start : '\0';
    const char *end = quote ? strchr(start + 1, quote) : strchr(start, ']');
    if (!end || (quote && end[1] != ']'))
        return refuse(parser, "has a bracket that is not closed");
    *at = end + (quote ? 2 : 1);
    if (quote)
        return step_add(parser, start + 1, (size_t)(end - start - 1), false);
    size_t size = (size_t)(end - start);
    uint64_t index;
    if (size == 0 || (size == 1 && *start == '*'))
        return step_add(parser, "*", 1, true);
    if (!index_read(start, size, &index))
        return refuse(parser, "has brackets around what is neither a number nor *");
    return step_add(parser, start, size, false);
}

static enum err parse_dotted(struct parser *parser)
{
    const char *at = parser->text;
    enum err err = ERR_OK;
    if (at[0] == '$' && (at[1] == '\0' || at[1] == '.' || at[1] == '['))
        at += at[1] == '.' ? 2 : 1;
    while (*at && err == ERR_OK) {
        size_t size = strcspn(at, ".[");
        if (size > 0)
            err = step_add(parser, at, size, size == 1 && *at == '*');
        else if (*at == '.')
            return refuse(parser, "has an empty name");
        at += size;
        while (*at == '[' && err == ERR_OK)
            err = parse_bracket(parser, &at);
        if (err == ERR_OK && *at == '.' && *++at == '\0')
            return refuse(parser, "ends with a dot");
    }
    return err;
}

enum err rest_path_parse(struct rest_path *path, const char *text, struct arena *arena,
                         struct diag *diag)
{
    *path = (struct rest_path){0};
    if (!text || !*text)
        return ERR_OK;
    struct parser parser = {path, arena, diag, text};
    path->steps = arena_zalloc(arena, REST_PATH_STEPS_MAX * sizeof(struct rest_path_step));
    if (!path->steps)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory for a path");
    return *text == '/' ? parse_pointer(&parser) : parse_dotted(&parser);
}

/* --- walking ---------------------------------------------------------------------------------- */

struct walk {
    const struct rest_path *path;
    rest_path_fn on_match;
    void *ctx;
    bool matched;
};

static struct json_cursor cursor_at(struct bytes value)
{
    return (struct json_cursor){value.data, value.data + value.size, false};
}

static bool name_is(struct json_string key, struct bytes name)
{
    if (!key.escaped)
        return bytes_equal(key.raw, name);
    uint8_t text[6 * NAME_BYTES_MAX];
    if (key.raw.size > sizeof(text))
        return false;
    return bytes_equal(bytes_from(text, json_unescape(key.raw, text)), name);
}

/* A member's key, up to its value. False at the object's end. */
static bool member_next(struct json_cursor *cursor, struct json_string *ret_key)
{
    json_space(cursor);
    if (!json_take(cursor, '{') && !json_take(cursor, ','))
        return false;
    json_space(cursor);
    if (json_peek(cursor) != '"' || json_string_scan(cursor, ret_key) != ERR_OK)
        return false;
    json_space(cursor);
    return json_take(cursor, ':');
}

static bool member_find(struct bytes object, struct bytes name, struct bytes *ret_value)
{
    struct json_cursor cursor = cursor_at(object);
    struct json_string key;
    struct bytes value;
    bool found = false;
    while (member_next(&cursor, &key) && json_skip(&cursor, LIMIT_JSON_DEPTH, &value) == ERR_OK) {
        if (name_is(key, name)) {
            *ret_value = value;
            found = true;
        }
    }
    return found;
}

/* False at the array's end. */
static bool element_next(struct json_cursor *cursor, struct bytes *ret_value)
{
    json_space(cursor);
    if (json_take(cursor, '[')) {
        json_space(cursor);
        if (json_peek(cursor) == ']')
            return false;
    } else if (!json_take(cursor, ',')) {
        return false;
    }
    return json_skip(cursor, LIMIT_JSON_DEPTH, ret_value) == ERR_OK;
}

static bool element_find(struct bytes array, uint64_t index, struct bytes *ret_value)
{
    struct json_cursor cursor = cursor_at(array);
    while (element_next(&cursor, ret_value))
        if (index-- == 0)
            return true;
    return false;
}

static enum err walk_from(struct walk *walk, struct bytes value, uint32_t depth);

static enum err walk_every(struct walk *walk, struct bytes value, uint32_t depth)
{
    struct json_cursor cursor = cursor_at(value);
    struct json_string key;
    struct bytes inner;
    enum err err = ERR_OK;
    if (value.data[0] != '[' && value.data[0] != '{')
        return ERR_OK;
    struct json_cursor ahead = {cursor.at + 1, cursor.end, false};
    json_space(&ahead);
    if (json_peek(&ahead) == ']' || json_peek(&ahead) == '}')
        walk->matched = true; /* over nothing */
    while (err == ERR_OK) {
        bool more = value.data[0] == '['
                        ? element_next(&cursor, &inner)
                        : member_next(&cursor, &key) &&
                              json_skip(&cursor, LIMIT_JSON_DEPTH, &inner) == ERR_OK;
        if (!more)
            break;
        err = walk_from(walk, inner, depth + 1);
    }
    return err;
}

static enum err walk_from(struct walk *walk, struct bytes value, uint32_t depth)
{
    struct bytes inner;
    if (depth == walk->path->count) {
        walk->matched = true;
        return walk->on_match(walk->ctx, value);
    }
    const struct rest_path_step *step = &walk->path->steps[depth];
    if (step->every)
        return walk_every(walk, value, depth);
    bool found = value.data[0] == '{' ? member_find(value, step->name, &inner)
                                      : value.data[0] == '[' && step->is_index &&
                                            element_find(value, step->index, &inner);
    return found ? walk_from(walk, inner, depth + 1) : ERR_OK;
}

enum err rest_path_walk(const struct rest_path *path, struct bytes text, rest_path_fn on_match,
                        void *ctx, bool *ret_matched)
{
    struct walk walk = {path, on_match, ctx, false};
    struct json_cursor cursor = cursor_at(text);
    struct bytes value;
    enum err err = json_skip(&cursor, LIMIT_JSON_DEPTH, &value);
    if (err == ERR_OK)
        err = walk_from(&walk, value, 0);
    *ret_matched = walk.matched;
    return err;
}

static enum err first_found(void *ctx, struct bytes value)
{
    *(struct bytes *)ctx = value;
    return ERR_EXISTS; /* ends the walk */
}

bool rest_path_first(const struct rest_path *path, struct bytes text, struct bytes *ret_value)
{
    bool matched;
    return rest_path_walk(path, text, first_found, ret_value, &matched) == ERR_EXISTS;
}
