#include "app/config_yaml.h"

/*
 * Recursive descent over libyaml's events. Depth is bounded, so the recursion is. An alias becomes
 * a deep copy of the node it names, and its node count is charged again: the billion laughs end at
 * CONFIG_YAML_NODES_MAX. An anchor is known only when its node is complete, so no node can hold
 * itself.
 */
#include "base/alloc.h"
#include "base/map.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#define SCALAR_NUMBER_BYTES_MAX 64

struct anchor {
    json_t *node;
    size_t node_count;
};

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the one being looked at */
    struct map anchors; /* name -> struct anchor */
    json_t *lines;
    size_t node_count;
    struct diag *diag;
};

static enum err read_node(struct reader *reader, int depth, json_t **ret_node);

static size_t event_line(const struct reader *reader)
{
    return reader->event.start_mark.line + 1;
}

static enum err no_memory(struct reader *reader)
{
    return diag_set(reader->diag, ERR_NO_MEMORY, "out of memory while reading YAML");
}

static enum err next_event(struct reader *reader)
{
    yaml_event_delete(&reader->event);
    if (yaml_parser_parse(&reader->parser, &reader->event))
        return ERR_OK;
    memset(&reader->event, 0, sizeof(reader->event));
    if (reader->parser.error == YAML_MEMORY_ERROR)
        return no_memory(reader);
    return diag_set(reader->diag, ERR_SYNTAX, "line %zu: %s",
                    (size_t)reader->parser.problem_mark.line + 1,
                    reader->parser.problem ? reader->parser.problem : "not YAML");
}

static enum err charge(struct reader *reader, size_t node_count)
{
    reader->node_count += node_count;
    if (reader->node_count > CONFIG_YAML_NODES_MAX)
        return diag_set(reader->diag, ERR_TOO_MANY,
                        "line %zu: more than %d values, aliases counted as what they stand for",
                        event_line(reader), CONFIG_YAML_NODES_MAX);
    return ERR_OK;
}

/* Decimal, no leading zeros: 010 is 8 to YAML 1.1 and 10 to 1.2, so here it stays text. */
static bool is_integer(const char *text)
{
    const char *digits = *text == '-' || *text == '+' ? text + 1 : text;
    size_t count = strspn(digits, "0123456789");
    return count > 0 && digits[count] == '\0' && (count == 1 || digits[0] != '0');
}

static bool is_float(const char *text)
{
    const char *at = *text == '-' || *text == '+' ? text + 1 : text;
    size_t whole = strspn(at, "0123456789");
    size_t fraction = 0;
    if (whole > 1 && *at == '0')
        return false;
    at += whole;
    if (*at == '.') {
        fraction = strspn(at + 1, "0123456789");
        at += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '-' || *at == '+';
        size_t exponent = strspn(at, "0123456789");
        if (exponent == 0)
            return false;
        at += exponent;
    }
    return *at == '\0';
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++) {
        if (strcmp(text, *words) == 0)
            return true;
    }
    return false;
}

static enum err number_node(struct reader *reader, const char *text, json_t **ret_node)
{
    errno = 0;
    if (is_integer(text)) {
        long long value = strtoll(text, NULL, 10);
        if (errno == ERANGE)
            return diag_set(reader->diag, ERR_SYNTAX, "line %zu: the number %.64s is too large",
                            event_line(reader), text);
        *ret_node = json_integer(value);
    } else {
        double value = strtod(text, NULL);
        if (!(value - value == 0.0))
            return diag_set(reader->diag, ERR_SYNTAX, "line %zu: the number %.64s is too large",
                            event_line(reader), text);
        *ret_node = json_real(value);
    }
    return *ret_node ? ERR_OK : no_memory(reader);
}

static enum err plain_node(struct reader *reader, const char *text, size_t size, json_t **ret_node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    if (is_one_of(text, nulls))
        *ret_node = json_null();
    else if (is_one_of(text, trues))
        *ret_node = json_true();
    else if (is_one_of(text, falses))
        *ret_node = json_false();
    else if (size <= SCALAR_NUMBER_BYTES_MAX && (is_integer(text) || is_float(text)))
        return number_node(reader, text, ret_node);
    else
        *ret_node = json_stringn(text, size);
    return *ret_node ? ERR_OK : no_memory(reader);
}

static enum err check_tag(struct reader *reader, const yaml_char_t *tag, const char *allowed)
{
    if (!tag || strcmp((const char *)tag, "!") == 0 || strcmp((const char *)tag, allowed) == 0)
        return ERR_OK;
    return diag_set(reader->diag, ERR_SYNTAX, "line %zu: the tag %.100s is not supported here",
                    event_line(reader), (const char *)tag);
}

static enum err check_text(struct reader *reader, const char *text, size_t size)
{
    if (memchr(text, '\0', size))
        return diag_set(reader->diag, ERR_SYNTAX, "line %zu: a text may not hold a NUL byte",
                        event_line(reader));
    return ERR_OK;
}

static enum err read_scalar(struct reader *reader, json_t **ret_node)
{
    const char *text = (const char *)reader->event.data.scalar.value;
    size_t size = reader->event.data.scalar.length;
    enum err err = check_tag(reader, reader->event.data.scalar.tag, YAML_STR_TAG);
    if (err == ERR_OK)
        err = check_text(reader, text, size);
    if (err)
        return err;
    if (reader->event.data.scalar.plain_implicit)
        return plain_node(reader, text, size, ret_node);
    *ret_node = json_stringn(text, size);
    return *ret_node ? ERR_OK : no_memory(reader);
}

static enum err read_sequence(struct reader *reader, int depth, json_t **ret_node)
{
    enum err err = check_tag(reader, reader->event.data.sequence_start.tag, YAML_SEQ_TAG);
    json_t *array = json_array();
    if (!array && err == ERR_OK)
        err = no_memory(reader);
    while (err == ERR_OK && (err = next_event(reader)) == ERR_OK &&
           reader->event.type != YAML_SEQUENCE_END_EVENT) {
        json_t *item = NULL;
        err = read_node(reader, depth + 1, &item);
        if (err == ERR_OK && json_array_append_new(array, item) != 0)
            err = no_memory(reader);
    }
    if (err) {
        json_decref(array);
        return err;
    }
    *ret_node = array;
    return ERR_OK;
}

/* The event is a key: copies it, or says why it cannot be one. */
static enum err read_key(struct reader *reader, const json_t *object, char **ret_key)
{
    if (reader->event.type != YAML_SCALAR_EVENT)
        return diag_set(reader->diag, ERR_SYNTAX, "line %zu: a key must be text",
                        event_line(reader));
    const char *text = (const char *)reader->event.data.scalar.value;
    enum err err = check_text(reader, text, reader->event.data.scalar.length);
    if (err)
        return err;
    if (strcmp(text, "<<") == 0 && reader->event.data.scalar.plain_implicit)
        return diag_set(reader->diag, ERR_SYNTAX,
                        "line %zu: merge keys (<<) are not supported, write the keys out",
                        event_line(reader));
    if (json_object_get(object, text))
        return diag_set(reader->diag, ERR_SYNTAX, "line %zu: the key \"%.100s\" is there twice",
                        event_line(reader), text);
    *ret_key = mem_strdup(text);
    return *ret_key ? ERR_OK : no_memory(reader);
}

static enum err read_member(struct reader *reader, int depth, json_t *object)
{
    char *key = NULL;
    json_t *value = NULL;
    size_t line = event_line(reader);
    enum err err = charge(reader, 1);
    if (err == ERR_OK)
        err = read_key(reader, object, &key);
    if (err == ERR_OK)
        err = next_event(reader);
    if (err == ERR_OK)
        err = read_node(reader, depth + 1, &value);
    /* json_object_set_new refuses keys that are not UTF-8; libyaml has checked that. */
    if (err == ERR_OK && json_object_set_new(object, key, value) != 0)
        err = no_memory(reader);
    if (err == ERR_OK && depth == 0 &&
        json_object_set_new(reader->lines, key, json_integer((json_int_t)line)) != 0)
        err = no_memory(reader);
    mem_free(key);
    return err;
}

static enum err read_mapping(struct reader *reader, int depth, json_t **ret_node)
{
    enum err err = check_tag(reader, reader->event.data.mapping_start.tag, YAML_MAP_TAG);
    json_t *object = json_object();
    if (!object && err == ERR_OK)
        err = no_memory(reader);
    while (err == ERR_OK && (err = next_event(reader)) == ERR_OK &&
           reader->event.type != YAML_MAPPING_END_EVENT)
        err = read_member(reader, depth, object);
    if (err) {
        json_decref(object);
        return err;
    }
    *ret_node = object;
    return ERR_OK;
}

json_t *config_yaml_copy(const json_t *node)
{
    json_t *copy = json_deep_copy(node);
    if (copy && !json_equal(copy, node)) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static enum err read_alias(struct reader *reader, json_t **ret_node)
{
    const char *name = (const char *)reader->event.data.alias.anchor;
    const struct anchor *anchor = map_get(&reader->anchors, bytes_from_text(name));
    if (!anchor)
        return diag_set(reader->diag, ERR_SYNTAX, "line %zu: nothing is anchored as \"%.100s\"",
                        event_line(reader), name);
    enum err err = charge(reader, anchor->node_count);
    if (err)
        return err;
    *ret_node = config_yaml_copy(anchor->node);
    return *ret_node ? ERR_OK : no_memory(reader);
}

static void anchor_free(struct anchor *anchor)
{
    if (anchor)
        json_decref(anchor->node);
    mem_free(anchor);
}

static enum err remember_anchor(struct reader *reader, const char *name, json_t *node,
                                size_t node_count)
{
    struct anchor *anchor = mem_zalloc(1, sizeof(*anchor));
    if (!anchor)
        return no_memory(reader);
    *anchor = (struct anchor){json_incref(node), node_count};
    struct anchor *old = map_get(&reader->anchors, bytes_from_text(name));
    if (map_put(&reader->anchors, bytes_from_text(name), anchor) != ERR_OK) {
        anchor_free(anchor);
        return no_memory(reader);
    }
    anchor_free(old);
    return ERR_OK;
}

static const char *event_anchor(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return (const char *)event->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return (const char *)event->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT:
        return (const char *)event->data.mapping_start.anchor;
    default:
        return NULL;
    }
}

static enum err read_content(struct reader *reader, int depth, json_t **ret_node)
{
    switch (reader->event.type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(reader, ret_node);
    case YAML_SEQUENCE_START_EVENT:
        return read_sequence(reader, depth, ret_node);
    case YAML_MAPPING_START_EVENT:
        return read_mapping(reader, depth, ret_node);
    default:
        return diag_set(reader->diag, ERR_SYNTAX, "line %zu: a value is missing",
                        event_line(reader));
    }
}

/* The event is the node's first; afterwards it is its last. */
static enum err read_node(struct reader *reader, int depth, json_t **ret_node)
{
    *ret_node = NULL;
    if (reader->event.type == YAML_ALIAS_EVENT)
        return read_alias(reader, ret_node);
    if (depth >= CONFIG_YAML_DEPTH_MAX)
        return diag_set(reader->diag, ERR_TOO_DEEP, "line %zu: nested deeper than %d levels",
                        event_line(reader), CONFIG_YAML_DEPTH_MAX);
    size_t count_before = reader->node_count;
    const char *anchor = event_anchor(&reader->event);
    char *name = anchor ? mem_strdup(anchor) : NULL;
    enum err err = anchor && !name ? no_memory(reader) : charge(reader, 1);
    if (err == ERR_OK)
        err = read_content(reader, depth, ret_node);
    if (err == ERR_OK && name)
        err = remember_anchor(reader, name, *ret_node, reader->node_count - count_before);
    if (err) {
        json_decref(*ret_node);
        *ret_node = NULL;
    }
    mem_free(name);
    return err;
}

static enum err read_document(struct reader *reader, json_t **ret_root)
{
    enum err err = next_event(reader); /* stream start */
    if (err == ERR_OK)
        err = next_event(reader);
    if (err)
        return err;
    if (reader->event.type == YAML_STREAM_END_EVENT) {
        *ret_root = json_object();
        return *ret_root ? ERR_OK : no_memory(reader);
    }
    err = next_event(reader); /* past document start */
    if (err == ERR_OK)
        err = read_node(reader, 0, ret_root);
    if (err == ERR_OK)
        err = next_event(reader); /* document end */
    if (err == ERR_OK)
        err = next_event(reader);
    if (err == ERR_OK && reader->event.type != YAML_STREAM_END_EVENT)
        err = diag_set(reader->diag, ERR_SYNTAX, "line %zu: a second document begins here",
                       event_line(reader));
    return err;
}

static void reader_fini(struct reader *reader)
{
    size_t cursor = 0;
    for (struct map_entry *entry; (entry = map_next(&reader->anchors, &cursor));)
        anchor_free(entry->value);
    map_fini(&reader->anchors);
    yaml_event_delete(&reader->event);
    yaml_parser_delete(&reader->parser);
}

enum err config_yaml_parse(struct bytes text, json_t **ret_root, json_t **ret_lines,
                           struct diag *diag)
{
    *ret_root = *ret_lines = NULL;
    if (text.size > CONFIG_YAML_BYTES_MAX)
        return diag_set(diag, ERR_TOO_LARGE, "larger than %d bytes", CONFIG_YAML_BYTES_MAX);
    struct reader reader = {.diag = diag};
    if (!yaml_parser_initialize(&reader.parser))
        return no_memory(&reader);
    yaml_parser_set_input_string(&reader.parser, text.data, text.size);
    map_init(&reader.anchors);
    reader.lines = json_object();
    enum err err = reader.lines ? read_document(&reader, ret_root) : no_memory(&reader);
    reader_fini(&reader);
    if (err) {
        json_decref(*ret_root);
        json_decref(reader.lines);
        *ret_root = NULL;
        return err;
    }
    *ret_lines = reader.lines;
    return ERR_OK;
}
