#pragma once
/*
 * What a JSON Schema compiles to; for the files of codec/json_schema alone. Nodes live in the
 * schema's arena; they borrow texts and values from the schema they were made from, and are
 * immutable once compiled. A node's subschemas are a tree (there is no $ref), at most
 * LIMIT_SCHEMA_DEPTH deep, so whoever walks a value along a schema is bounded by that.
 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"
#include "codec/json_schema.h"
#include "codec/json_schema_format.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Bits of json_schema_node.types. */
enum json_schema_type {
    JSON_SCHEMA_NULL = 1,
    JSON_SCHEMA_BOOLEAN = 2,
    JSON_SCHEMA_OBJECT = 4,
    JSON_SCHEMA_ARRAY = 8,
    JSON_SCHEMA_NUMBER = 16,
    JSON_SCHEMA_STRING = 32,
    JSON_SCHEMA_INTEGER = 64,
};

#define JSON_SCHEMA_TYPE_COUNT 7

struct json_schema_list {
    struct json_schema_node **nodes;
    size_t count;
};

struct json_schema_node {
    struct json_schema_node *made_before; /* all nodes of a schema, for freeing */
    bool refuses_all;                     /* the schema `false` */
    bool write_only;                      /* here or in a subschema for the same value */
    bool unique_items;
    unsigned types; /* 0: any */
    enum json_schema_format format;
    const json_t *enum_values; /* NULL: absent, as with all that follow */
    const json_t *const_value;
    const json_t *default_value;
    const json_t *required;
    const json_t *dependent_required;
    const json_t *minimum;
    const json_t *maximum;
    const json_t *exclusive_minimum;
    const json_t *exclusive_maximum;
    const json_t *multiple_of;
    size_t min_length; /* 0: absent */
    size_t min_items;
    size_t min_properties;
    size_t max_length; /* SIZE_MAX: absent */
    size_t max_items;
    size_t max_properties;
    const char *pattern_text;
    pcre2_code *pattern;
    struct map properties; /* of nodes */
    struct json_schema_node *additional;
    struct json_schema_node *items;
    struct json_schema_node *refused; /* not */
    struct json_schema_list all_of;
    struct json_schema_list any_of;
    struct json_schema_list one_of;
};

struct json_schema {
    struct arena arena;
    struct json_schema_node *root;
    struct json_schema_node *nodes;
    struct map secrets; /* names of writeOnly properties, wherever they stand */
    pcre2_general_context *memory;
    pcre2_match_context *limits; /* read only while matching */
};

/* Where one is in a value or a schema; on the stack of whoever walks. */
struct json_schema_place {
    const struct json_schema_place *parent; /* NULL: the root */
    const char *name;                       /* NULL: an array's item */
    size_t index;
    unsigned depth;
    bool secret; /* messages may not show the value */
};

static inline struct json_schema_place json_schema_at(const struct json_schema_place *parent,
                                                      const char *name, size_t index)
{
    return (struct json_schema_place){parent, name, index, parent->depth + 1, parent->secret};
}

/* The sentences (json_schema_text.c). Names and texts are cut at some 100 bytes. */
struct bytes json_schema_cut(struct bytes text, size_t size_max); /* whole characters only */
void json_schema_name_text(struct buf *out, const char *name);
void json_schema_pointer(struct buf *out, const struct json_schema_place *place);
/* "tls.ca_file", "topics[0]", "the value" for the root. */
void json_schema_subject(struct buf *out, const struct json_schema_place *place);
/* "an integer or null" */
void json_schema_types_text(struct buf *out, unsigned types);
/* A scalar as JSON, else "an object", "an array". */
void json_schema_value_text(struct buf *out, const json_t *value);
/* `"a", "b" or 3`, at most some of them. */
void json_schema_values_text(struct buf *out, const json_t *array);
/* What a schema wants, in a few words: "a string", "an object with kind \"page\"". */
void json_schema_wish_text(struct buf *out, const struct json_schema_node *node);
void json_schema_wishes_text(struct buf *out, const struct json_schema_list *list);
/* The bit's JSON Schema word ("integer") or NULL; bit is below JSON_SCHEMA_TYPE_COUNT. */
const char *json_schema_type_word(unsigned bit);

/* For json_object_foreach, which reads only and yet takes no const. */
static inline json_t *json_schema_iterable(const json_t *object)
{
    union {
        const json_t *in;
        json_t *out;
    } pointer = {object};
    return pointer.out;
}

/* Values as JSON Schema compares them (json_schema_value.c): 1 and 1.0 are equal. */
unsigned json_schema_types_of(const json_t *value); /* a whole number is INTEGER and NUMBER */
bool json_schema_equal(const json_t *a, const json_t *b);
/* Less than, equal to or greater than 0, exactly. Both are numbers. */
int json_schema_compare(const json_t *a, const json_t *b);
bool json_schema_is_multiple(const json_t *number, const json_t *of);
/* Whether nothing nests deeper than levels. */
bool json_schema_is_shallow(const json_t *value, unsigned levels);
/* Finds two equal items: *ret_first < *ret_second. ERR_OK: found, ERR_NOT_FOUND, ERR_NO_MEMORY. */
enum err json_schema_find_twin(const json_t *array, size_t *ret_first,
                               size_t *ret_second) ERR_MUST_USE;
size_t json_schema_code_points(struct bytes text);
/* PCRE2's answer: at least 0 for a match, or an error. */
int json_schema_match(const struct json_schema *schema, const struct json_schema_node *node,
                      struct bytes text);
