/*
 * JSON Schema to nodes: one table of keywords, each with what reads it. A keyword that is in no row
 * is refused, so that no schema checks less than it says; only annotations may be ignored.
 */
#include "base/alloc.h"
#include "base/limits.h"
#include "base/nearest.h"
#include "codec/json_schema_node.h"

#include <math.h>

#define SCHEMA_BYTES_MAX (64 * MIB)

/* A pattern that needs more steps or memory for one text is too costly. A million steps are some
 * 20 ms. */
#define PATTERN_STEPS_MAX 1000000
#define PATTERN_DEPTH_MAX 100000
#define PATTERN_KIB_MAX   16384

struct compiler {
    struct json_schema *schema;
    struct diag *diag;
    const struct json_schema_place *place; /* of the keyword being read */
    unsigned depth;
};

typedef enum err (*keyword_read)(struct compiler *compiler, struct json_schema_node *node,
                                 const json_t *value, size_t offset);

struct keyword {
    const char *name;
    keyword_read read; /* NULL: an annotation */
    size_t offset;     /* of the node's member it fills, where read needs that */
};

static enum err refuse(struct compiler *compiler, const char *sentence)
{
    struct buf pointer;
    buf_init(&pointer, 64 * KIB);
    json_schema_pointer(&pointer, compiler->place);
    const char *text = buf_cstr(&pointer);
    diag_set(compiler->diag, ERR_INVALID, "schema: %.200s %s", text && *text ? text : "the root",
             sentence);
    buf_fini(&pointer);
    return ERR_INVALID;
}

static void *member_at(struct json_schema_node *node, size_t offset)
{
    return (char *)node + offset;
}

static enum err compile_node(struct compiler *compiler, const json_t *json,
                             struct json_schema_node **ret_node);

/* Reads a subschema that stands below the keyword at name or index. */
static enum err compile_below(struct compiler *compiler, const char *name, size_t index,
                              const json_t *json, struct json_schema_node **ret_node)
{
    const struct json_schema_place *above = compiler->place;
    struct json_schema_place place = json_schema_at(above, name, index);
    compiler->place = &place;
    enum err err = compile_node(compiler, json, ret_node);
    compiler->place = above;
    return err;
}

static enum err read_any(struct compiler *compiler, struct json_schema_node *node,
                         const json_t *value, size_t offset)
{
    (void)compiler;
    *(const json_t **)member_at(node, offset) = value;
    return ERR_OK;
}

static enum err read_flag(struct compiler *compiler, struct json_schema_node *node,
                          const json_t *value, size_t offset)
{
    if (!json_is_boolean(value))
        return refuse(compiler, "must be true or false");
    *(bool *)member_at(node, offset) = json_is_true(value);
    return ERR_OK;
}

static enum err read_number(struct compiler *compiler, struct json_schema_node *node,
                            const json_t *value, size_t offset)
{
    if (!json_is_number(value))
        return refuse(compiler, "must be a number");
    return read_any(compiler, node, value, offset);
}

static enum err read_step(struct compiler *compiler, struct json_schema_node *node,
                          const json_t *value, size_t offset)
{
    if (!json_is_number(value) || json_number_value(value) <= 0)
        return refuse(compiler, "must be a number above 0");
    return read_any(compiler, node, value, offset);
}

/* 2.0 is a count, too. What is beyond size_t bounds nothing, or everything. */
static enum err read_count(struct compiler *compiler, struct json_schema_node *node,
                           const json_t *value, size_t offset)
{
    double count = json_number_value(value);
    if (!json_is_number(value) || count < 0 || count != floor(count))
        return refuse(compiler, "must be a whole number from 0");
    *(size_t *)member_at(node, offset) = count < 9e18 ? (size_t)count : SIZE_MAX;
    return ERR_OK;
}

static unsigned type_bit(const json_t *word)
{
    const char *text = json_string_value(word);
    for (unsigned bit = 0; text && bit < JSON_SCHEMA_TYPE_COUNT; bit++)
        if (strcmp(text, json_schema_type_word(bit)) == 0)
            return 1U << bit;
    return 0;
}

static enum err read_type(struct compiler *compiler, struct json_schema_node *node,
                          const json_t *value, size_t offset)
{
    (void)offset;
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count == 0)
        return refuse(compiler, "must name a type");
    for (size_t i = 0; i < count; i++) {
        unsigned bit = type_bit(json_is_array(value) ? json_array_get(value, i) : value);
        if (bit == 0)
            return refuse(compiler, "must be null, boolean, object, array, number, string or "
                                    "integer, or an array of these");
        node->types |= bit;
    }
    return ERR_OK;
}

static enum err read_enum(struct compiler *compiler, struct json_schema_node *node,
                          const json_t *value, size_t offset)
{
    if (!json_is_array(value))
        return refuse(compiler, "must be an array");
    return read_any(compiler, node, value, offset);
}

static bool is_names(const json_t *value)
{
    size_t index;
    json_t *name;
    if (!json_is_array(value))
        return false;
    json_array_foreach(value, index, name)
    {
        if (!json_is_string(name))
            return false;
    }
    return true;
}

static enum err read_names(struct compiler *compiler, struct json_schema_node *node,
                           const json_t *value, size_t offset)
{
    if (!is_names(value))
        return refuse(compiler, "must be an array of property names");
    return read_any(compiler, node, value, offset);
}

static enum err read_dependent(struct compiler *compiler, struct json_schema_node *node,
                               const json_t *value, size_t offset)
{
    const char *name;
    json_t *names;
    if (!json_is_object(value))
        return refuse(compiler, "must be an object of arrays of property names");
    json_object_foreach(json_schema_iterable(value), name, names)
    {
        if (!is_names(names))
            return refuse(compiler, "must be an object of arrays of property names");
    }
    return read_any(compiler, node, value, offset);
}

static enum err read_schema(struct compiler *compiler, struct json_schema_node *node,
                            const json_t *value, size_t offset)
{
    return compile_node(compiler, value, member_at(node, offset));
}

static enum err read_schemas(struct compiler *compiler, struct json_schema_node *node,
                             const json_t *value, size_t offset)
{
    struct json_schema_list *list = member_at(node, offset);
    size_t count = json_array_size(value);
    if (count == 0)
        return refuse(compiler, "must be an array of at least one schema");
    list->nodes = arena_zalloc(&compiler->schema->arena, count * sizeof(struct json_schema_node *));
    if (!list->nodes)
        return ERR_NO_MEMORY;
    for (; list->count < count; list->count++) {
        enum err err = compile_below(compiler, NULL, list->count,
                                     json_array_get(value, list->count), &list->nodes[list->count]);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err read_properties(struct compiler *compiler, struct json_schema_node *node,
                                const json_t *value, size_t offset)
{
    (void)offset;
    const char *name;
    json_t *member;
    if (!json_is_object(value))
        return refuse(compiler, "must be an object of schemas");
    json_object_foreach(json_schema_iterable(value), name, member)
    {
        struct json_schema_node *child;
        enum err err = compile_below(compiler, name, 0, member, &child);
        if (err == ERR_OK)
            err = map_put(&node->properties, bytes_from_text(name), child);
        if (err == ERR_OK && child->write_only)
            err = map_put(&compiler->schema->secrets, bytes_from_text(name), child);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err read_format(struct compiler *compiler, struct json_schema_node *node,
                            const json_t *value, size_t offset)
{
    (void)offset;
    const char *name = json_string_value(value);
    node->format = name ? json_schema_format_find(name) : JSON_SCHEMA_FORMAT_NONE;
    if (node->format == JSON_SCHEMA_FORMAT_NONE)
        return refuse(compiler, "must be uri, hostname, ipv4 or ipv6: others are not checked");
    return ERR_OK;
}

/* PCRE2 knows \p{L}, ECMA-262 \p{Letter} as well. Writes the pattern with the long names of the
 * general categories made short. */
static void pattern_translate(struct buf *out, struct bytes text)
{
    static const char *const names[][2] = {{"{Letter}", "{L}"},
                                           {"{Uppercase_Letter}", "{Lu}"},
                                           {"{Lowercase_Letter}", "{Ll}"},
                                           {"{Titlecase_Letter}", "{Lt}"},
                                           {"{Modifier_Letter}", "{Lm}"},
                                           {"{Other_Letter}", "{Lo}"},
                                           {"{Mark}", "{M}"},
                                           {"{Number}", "{N}"},
                                           {"{Decimal_Number}", "{Nd}"},
                                           {"{digit}", "{Nd}"},
                                           {"{Punctuation}", "{P}"},
                                           {"{punct}", "{P}"},
                                           {"{Symbol}", "{S}"},
                                           {"{Separator}", "{Z}"},
                                           {"{Space_Separator}", "{Zs}"},
                                           {"{Other}", "{C}"},
                                           {"{Control}", "{Cc}"},
                                           {"{cntrl}", "{Cc}"}};
    for (size_t i = 0; i < text.size; i++) {
        buf_byte(out, text.data[i]);
        if (text.data[i] != '\\' || ++i == text.size)
            continue;
        buf_byte(out, text.data[i]);
        if (text.data[i] != 'p' && text.data[i] != 'P')
            continue;
        for (size_t j = 0; j < sizeof(names) / sizeof(names[0]); j++) {
            size_t size = strlen(names[j][0]);
            if (text.size - i > size && memcmp(text.data + i + 1, names[j][0], size) == 0) {
                buf_text(out, names[j][1]);
                i += size;
                break;
            }
        }
    }
}

static enum err pattern_compile(struct compiler *compiler, struct json_schema_node *node,
                                struct bytes text)
{
    pcre2_compile_context *context = pcre2_compile_context_create(compiler->schema->memory);
    if (!context)
        return ERR_NO_MEMORY;
    /* What ECMA-262 says of escapes, empty classes, back references and $. */
    const uint32_t options = PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | PCRE2_ALLOW_EMPTY_CLASS |
                             PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C | PCRE2_ALT_BSUX;
    pcre2_set_compile_extra_options(context, PCRE2_EXTRA_ALT_BSUX);
    pcre2_set_parens_nest_limit(context, 100);
    pcre2_set_newline(context, PCRE2_NEWLINE_ANYCRLF);
    int code = 0;
    PCRE2_SIZE offset = 0;
    node->pattern = pcre2_compile(text.data, text.size, options, &code, &offset, context);
    pcre2_compile_context_free(context);
    if (node->pattern)
        return ERR_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED)
        return ERR_NO_MEMORY;
    PCRE2_UCHAR reason[128] = {0};
    char sentence[200];
    pcre2_get_error_message(code, reason, sizeof(reason));
    snprintf(sentence, sizeof(sentence), "is no regular expression: %s (at byte %zu)",
             (const char *)reason, (size_t)offset);
    return refuse(compiler, sentence);
}

static enum err read_pattern(struct compiler *compiler, struct json_schema_node *node,
                             const json_t *value, size_t offset)
{
    (void)offset;
    struct buf translated;
    if (!json_is_string(value))
        return refuse(compiler, "must be a string");
    node->pattern_text = json_string_value(value);
    buf_init(&translated, 64 * KIB);
    pattern_translate(&translated, bytes_from(node->pattern_text, json_string_length(value)));
    enum err err = translated.err == ERR_TOO_LARGE ? refuse(compiler, "is over 64 KiB long")
                   : translated.err != ERR_OK
                       ? translated.err
                       : pattern_compile(compiler, node, buf_bytes(&translated));
    buf_fini(&translated);
    return err;
}

#define AT(member) offsetof(struct json_schema_node, member)

static const struct keyword keywords[] = {
    {"type", read_type, 0},
    {"enum", read_enum, AT(enum_values)},
    {"const", read_any, AT(const_value)},
    {"properties", read_properties, 0},
    {"required", read_names, AT(required)},
    {"additionalProperties", read_schema, AT(additional)},
    {"items", read_schema, AT(items)},
    {"minItems", read_count, AT(min_items)},
    {"maxItems", read_count, AT(max_items)},
    {"uniqueItems", read_flag, AT(unique_items)},
    {"allOf", read_schemas, AT(all_of)},
    {"anyOf", read_schemas, AT(any_of)},
    {"oneOf", read_schemas, AT(one_of)},
    {"not", read_schema, AT(refused)},
    {"minimum", read_number, AT(minimum)},
    {"maximum", read_number, AT(maximum)},
    {"exclusiveMinimum", read_number, AT(exclusive_minimum)},
    {"exclusiveMaximum", read_number, AT(exclusive_maximum)},
    {"multipleOf", read_step, AT(multiple_of)},
    {"minLength", read_count, AT(min_length)},
    {"maxLength", read_count, AT(max_length)},
    {"minProperties", read_count, AT(min_properties)},
    {"maxProperties", read_count, AT(max_properties)},
    {"dependentRequired", read_dependent, AT(dependent_required)},
    {"pattern", read_pattern, 0},
    {"format", read_format, 0},
    {"default", read_any, AT(default_value)},
    {"writeOnly", read_flag, AT(write_only)},
    {"title", NULL, 0},
    {"description", NULL, 0},
    {"examples", NULL, 0},
    {"deprecated", NULL, 0},
    {"readOnly", NULL, 0},
    {"contentEncoding", NULL, 0},
    {"contentMediaType", NULL, 0},
    {"contentSchema", NULL, 0},
    {"$schema", NULL, 0},
    {"$id", NULL, 0},
    {"$comment", NULL, 0},
};

#define KEYWORD_COUNT (sizeof(keywords) / sizeof(keywords[0]))

static enum err refuse_keyword(struct compiler *compiler, const char *name)
{
    struct nearest nearest = {0};
    char sentence[200];
    for (size_t i = 0; i < KEYWORD_COUNT; i++)
        nearest_offer(&nearest, name, keywords[i].name);
    if (nearest.word)
        snprintf(sentence, sizeof(sentence),
                 "is a keyword that is not supported here; did you mean %s?", nearest.word);
    else
        snprintf(sentence, sizeof(sentence), "is a keyword that is not supported here%s",
                 name[0] == '$' ? "" : " (an annotation's name begins with x-)");
    return refuse(compiler, sentence);
}

static enum err compile_keyword(struct compiler *compiler, struct json_schema_node *node,
                                const char *name, const json_t *value)
{
    const struct json_schema_place *above = compiler->place;
    struct json_schema_place place = json_schema_at(above, name, 0);
    size_t i = 0;
    while (i < KEYWORD_COUNT && strcmp(keywords[i].name, name) != 0)
        i++;
    enum err err = ERR_OK;
    compiler->place = &place;
    if (i == KEYWORD_COUNT && strncmp(name, "x-", 2) != 0)
        err = refuse_keyword(compiler, name);
    else if (i < KEYWORD_COUNT && keywords[i].read)
        err = keywords[i].read(compiler, node, value, keywords[i].offset);
    compiler->place = above;
    return err;
}

static struct json_schema_node *node_new(struct json_schema *schema)
{
    struct json_schema_node *node = arena_zalloc(&schema->arena, sizeof(*node));
    if (!node)
        return NULL;
    node->max_length = node->max_items = node->max_properties = SIZE_MAX;
    map_init(&node->properties);
    node->made_before = schema->nodes;
    return schema->nodes = node;
}

static bool any_write_only(const struct json_schema_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->nodes[i]->write_only)
            return true;
    return false;
}

static enum err compile_members(struct compiler *compiler, struct json_schema_node *node,
                                const json_t *json)
{
    const char *name;
    json_t *value;
    if (compiler->depth == LIMIT_SCHEMA_DEPTH)
        return refuse(compiler, "is nested too deeply");
    compiler->depth++;
    json_object_foreach(json_schema_iterable(json), name, value)
    {
        enum err err = compile_keyword(compiler, node, name, value);
        if (err != ERR_OK)
            return err;
    }
    compiler->depth--;
    node->write_only |= any_write_only(&node->all_of) || any_write_only(&node->any_of) ||
                        any_write_only(&node->one_of) ||
                        (node->refused && node->refused->write_only);
    return ERR_OK;
}

static enum err compile_node(struct compiler *compiler, const json_t *json,
                             struct json_schema_node **ret_node)
{
    if (!json_is_object(json) && !json_is_boolean(json))
        return refuse(compiler, "must be a schema: an object, true or false");
    struct json_schema_node *node = node_new(compiler->schema);
    if (!node)
        return ERR_NO_MEMORY;
    *ret_node = node;
    node->refuses_all = json_is_false(json);
    return json_is_object(json) ? compile_members(compiler, node, json) : ERR_OK;
}

static void *pattern_alloc(size_t size, void *ctx)
{
    (void)ctx;
    return mem_alloc(size);
}

static void pattern_free(void *block, void *ctx)
{
    (void)ctx;
    mem_free(block);
}

static enum err limits_make(struct json_schema *schema)
{
    schema->memory = pcre2_general_context_create(pattern_alloc, pattern_free, NULL);
    if (!schema->memory)
        return ERR_NO_MEMORY;
    schema->limits = pcre2_match_context_create(schema->memory);
    if (!schema->limits)
        return ERR_NO_MEMORY;
    pcre2_set_match_limit(schema->limits, PATTERN_STEPS_MAX);
    pcre2_set_depth_limit(schema->limits, PATTERN_DEPTH_MAX);
    pcre2_set_heap_limit(schema->limits, PATTERN_KIB_MAX);
    return ERR_OK;
}

enum err json_schema_compile(const json_t *json, struct json_schema **ret_schema, struct diag *diag)
{
    struct json_schema *schema = mem_zalloc(1, sizeof(*schema));
    struct json_schema_place root = {0};
    struct compiler compiler = {.schema = schema, .diag = diag, .place = &root};
    *ret_schema = NULL;
    if (!schema)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory while compiling a schema");
    arena_init(&schema->arena, SCHEMA_BYTES_MAX);
    map_init(&schema->secrets);
    enum err err = limits_make(schema);
    if (err == ERR_OK && json && !json_schema_is_shallow(json, LIMIT_JSON_DEPTH))
        err = refuse(&compiler, "is nested too deeply");
    if (err == ERR_OK)
        err = compile_node(&compiler, json, &schema->root);
    if (err == ERR_OK) {
        *ret_schema = schema;
        return ERR_OK;
    }
    json_schema_free(schema);
    return err == ERR_NO_MEMORY ? diag_set(diag, err, "out of memory while compiling a schema")
                                : err;
}

void json_schema_free(struct json_schema *schema)
{
    if (!schema)
        return;
    for (struct json_schema_node *node = schema->nodes; node; node = node->made_before) {
        pcre2_code_free(node->pattern);
        map_fini(&node->properties);
    }
    map_fini(&schema->secrets);
    pcre2_match_context_free(schema->limits);
    pcre2_general_context_free(schema->memory);
    arena_fini(&schema->arena);
    mem_free(schema);
}
