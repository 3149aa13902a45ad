#include "base/alloc.h"
#include "base/hash.h"
#include "codec/json_schema_node.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* The bounds of int64 as doubles, both exact: the lower is in, the upper is out. */
#define INT64_LOW  (-9223372036854775808.0)
#define INT64_HIGH 9223372036854775808.0

static bool is_whole(const json_t *value)
{
    return json_is_integer(value) || (json_is_real(value) && isfinite(json_real_value(value)) &&
                                      json_real_value(value) == floor(json_real_value(value)));
}

unsigned json_schema_types_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return JSON_SCHEMA_OBJECT;
    case JSON_ARRAY:
        return JSON_SCHEMA_ARRAY;
    case JSON_STRING:
        return JSON_SCHEMA_STRING;
    case JSON_INTEGER:
    case JSON_REAL:
        return JSON_SCHEMA_NUMBER | (is_whole(value) ? JSON_SCHEMA_INTEGER : 0U);
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_SCHEMA_BOOLEAN;
    case JSON_NULL:
        return JSON_SCHEMA_NULL;
    }
    return 0;
}

/* A double may not be cast to where it does not fit, an integer may lose bits as a double. */
static int compare_mixed(json_int_t integer, double real)
{
    if (real >= INT64_HIGH)
        return -1;
    if (real < INT64_LOW)
        return 1;
    json_int_t whole = (json_int_t)floor(real);
    if (integer != whole)
        return integer < whole ? -1 : 1;
    return real > floor(real) ? -1 : 0;
}

int json_schema_compare(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b)) {
        json_int_t x = json_integer_value(a);
        json_int_t y = json_integer_value(b);
        return (x > y) - (x < y);
    }
    if (json_is_integer(a))
        return compare_mixed(json_integer_value(a), json_real_value(b));
    if (json_is_integer(b))
        return -compare_mixed(json_integer_value(b), json_real_value(a));
    double x = json_real_value(a);
    double y = json_real_value(b);
    return (x > y) - (x < y);
}

bool json_schema_is_multiple(const json_t *number, const json_t *of)
{
    if (json_is_integer(number) && json_is_integer(of))
        return json_integer_value(number) % json_integer_value(of) == 0;
    double value = json_number_value(number);
    double step = json_number_value(of);
    double quotient = value / step;
    if (!isfinite(quotient))
        return fmod(value, step) == 0;
    /* 0.0075 is a multiple of 0.0001, though their doubles are not. */
    return fabs(quotient - nearbyint(quotient)) <= 4 * DBL_EPSILON * fabs(quotient);
}

static bool objects_equal(const json_t *a, const json_t *b)
{
    if (json_object_size(a) != json_object_size(b))
        return false;
    const char *name;
    json_t *member;
    json_object_foreach(json_schema_iterable(a), name, member)
    {
        const json_t *other = json_object_get(b, name);
        if (!other || !json_schema_equal(member, other))
            return false;
    }
    return true;
}

static bool arrays_equal(const json_t *a, const json_t *b)
{
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!json_schema_equal(json_array_get(a, i), json_array_get(b, i)))
            return false;
    return true;
}

bool json_schema_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_schema_compare(a, b) == 0;
    if (json_typeof(a) != json_typeof(b))
        return false;
    if (json_is_object(a))
        return objects_equal(a, b);
    if (json_is_array(a))
        return arrays_equal(a, b);
    if (json_is_string(a))
        return bytes_equal(bytes_from(json_string_value(a), json_string_length(a)),
                           bytes_from(json_string_value(b), json_string_length(b)));
    return true; /* null, true, false */
}

bool json_schema_is_shallow(const json_t *value, unsigned levels)
{
    const char *name;
    json_t *member;
    size_t index;
    if (!json_is_object(value) && !json_is_array(value))
        return true;
    if (levels == 0)
        return false;
    json_object_foreach(json_schema_iterable(value), name, member)
    {
        if (!json_schema_is_shallow(member, levels - 1))
            return false;
    }
    json_array_foreach(value, index, member)
    {
        if (!json_schema_is_shallow(member, levels - 1))
            return false;
    }
    return true;
}

static uint64_t hash_of(const json_t *value);

/* The sum over the members, so that their order does not matter. */
static uint64_t object_hash(const json_t *object)
{
    uint64_t sum = json_object_size(object);
    const char *name;
    json_t *member;
    json_object_foreach(json_schema_iterable(object), name, member)
    {
        sum += hash_bytes_seeded(bytes_from_text(name), hash_of(member));
    }
    return hash_bytes(bytes_from(&sum, sizeof(sum)));
}

static uint64_t array_hash(const json_t *array)
{
    uint64_t hash = json_array_size(array);
    for (size_t i = 0; i < json_array_size(array); i++) {
        uint64_t item = hash_of(json_array_get(array, i));
        hash = hash_bytes_seeded(bytes_from(&item, sizeof(item)), hash);
    }
    return hash;
}

/* Equal values have equal hashes. */
static uint64_t hash_of(const json_t *value)
{
    if (json_is_object(value))
        return object_hash(value);
    if (json_is_array(value))
        return array_hash(value);
    if (json_is_string(value))
        return hash_bytes(bytes_from(json_string_value(value), json_string_length(value)));
    if (json_is_number(value)) {
        double number = json_number_value(value) + 0.0; /* -0 becomes 0 */
        return hash_bytes_seeded(bytes_from(&number, sizeof(number)), 1);
    }
    return json_typeof(value);
}

struct twin {
    uint64_t hash;
    size_t index;
};

static int twin_order(const void *left, const void *right)
{
    const struct twin *a = left;
    const struct twin *b = right;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

enum err json_schema_find_twin(const json_t *array, size_t *ret_first, size_t *ret_second)
{
    size_t count = json_array_size(array);
    if (count < 2)
        return ERR_NOT_FOUND;
    struct twin *twins = mem_zalloc(count, sizeof(*twins));
    if (!twins)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < count; i++)
        twins[i] = (struct twin){hash_of(json_array_get(array, i)), i};
    qsort(twins, count, sizeof(*twins), twin_order);
    enum err err = ERR_NOT_FOUND;
    for (size_t i = 0; i + 1 < count && err != ERR_OK; i++)
        for (size_t j = i + 1; j < count && twins[j].hash == twins[i].hash && err != ERR_OK; j++)
            if (json_schema_equal(json_array_get(array, twins[i].index),
                                  json_array_get(array, twins[j].index))) {
                *ret_first = twins[i].index;
                *ret_second = twins[j].index;
                err = ERR_OK;
            }
    mem_free(twins);
    return err;
}

size_t json_schema_code_points(struct bytes text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++)
        count += (text.data[i] & 0xc0) != 0x80;
    return count;
}

int json_schema_match(const struct json_schema *schema, const struct json_schema_node *node,
                      struct bytes text)
{
    pcre2_match_data *data = pcre2_match_data_create(1, schema->memory);
    if (!data)
        return PCRE2_ERROR_NOMEMORY;
    int answer = pcre2_match(node->pattern, text.data, text.size, 0, 0, data, schema->limits);
    pcre2_match_data_free(data);
    return answer;
}
