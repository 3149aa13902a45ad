#include "connectors/mqtt/mqtt_user_properties.h"

#include "base/alloc.h"

#include <stdlib.h>

#define PAIR_JSON_MIN 3 /* quotes and a comma: what a property adds to the text at least */

struct pair {
    struct bytes name;
    struct bytes value;
    const struct pair *next; /* of the same name */
    bool again;              /* not the first of its name */
};

/* How many there are, and how many of the first ones could fit size_max: their names count only
 * when they are all told, because a name that comes again stands once. */
static void pairs_count(const struct mqtt_properties *properties, size_t size_max, bool names_count,
                        struct mqtt_user_properties *ret_properties)
{
    struct bytes name;
    struct bytes value;
    size_t size = 0;
    *ret_properties = (struct mqtt_user_properties){0};
    for (size_t offset = 0; mqtt_user_property_next(properties, &offset, &name, &value);) {
        size += value.size + PAIR_JSON_MIN + (names_count ? name.size + PAIR_JSON_MIN : 0);
        ret_properties->count++;
        ret_properties->kept += size <= size_max;
    }
}

/* By name, those of one name in their order. */
static int pairs_compare(const void *left, const void *right)
{
    const struct pair *a = *(const struct pair *const *)left;
    const struct pair *b = *(const struct pair *const *)right;
    size_t size = a->name.size < b->name.size ? a->name.size : b->name.size;
    int order = size > 0 ? memcmp(a->name.data, b->name.data, size) : 0;
    if (order == 0)
        order = (a->name.size > b->name.size) - (a->name.size < b->name.size);
    return order != 0 ? order : (a > b) - (a < b);
}

static void pairs_read(const struct mqtt_properties *properties, struct pair *pairs,
                       struct pair **order, size_t count)
{
    size_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        order[i] = &pairs[i];
        (void)mqtt_user_property_next(properties, &offset, &pairs[i].name, &pairs[i].value);
    }
    /* Sorted, not hashed: names that were chosen to collide cost no more than others. */
    qsort(order, count, sizeof(struct pair *), pairs_compare);
    for (size_t i = 1; i < count; i++) {
        order[i]->again = bytes_equal(order[i - 1]->name, order[i]->name);
        if (order[i]->again)
            order[i - 1]->next = order[i];
    }
}

static void pair_write(struct buf *json, const struct pair *pair)
{
    bool many = pair->next != NULL;
    buf_json_string(json, pair->name);
    buf_text(json, many ? ":[" : ":");
    buf_json_string(json, pair->value);
    while ((pair = pair->next)) {
        buf_byte(json, ',');
        buf_json_string(json, pair->value);
    }
    if (many)
        buf_byte(json, ']');
}

/* The first count of them. ERR_TOO_LARGE. */
static enum err pairs_write(struct buf *json, const struct mqtt_properties *properties,
                            size_t count)
{
    struct pair *pairs = mem_zalloc(count, sizeof(*pairs));
    struct pair **order = mem_zalloc(count, sizeof(struct pair *));
    enum err err = pairs && order ? ERR_OK : ERR_NO_MEMORY;
    buf_clear(json);
    buf_byte(json, '{');
    if (err == ERR_OK)
        pairs_read(properties, pairs, order, count);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        if (pairs[i].again)
            continue;
        if (i > 0)
            buf_byte(json, ',');
        pair_write(json, &pairs[i]);
        err = json->err == ERR_OK && json->size >= MQTT_USER_JSON_BYTES_MAX ? ERR_TOO_LARGE
                                                                            : json->err;
    }
    mem_free(order);
    mem_free(pairs);
    return err == ERR_OK ? buf_byte(json, '}') : err;
}

enum err mqtt_user_properties_write(struct buf *json, const struct mqtt_properties *properties,
                                    struct mqtt_user_properties *ret_properties)
{
    buf_clear(json);
    pairs_count(properties, MQTT_USER_JSON_BYTES_MAX, false, ret_properties);
    if (ret_properties->count == 0)
        return ERR_OK;
    if (ret_properties->kept == ret_properties->count) {
        enum err err = pairs_write(json, properties, ret_properties->count);
        if (err != ERR_TOO_LARGE)
            return err;
    }
    /* Escapes make a byte six at most, so these fit. */
    pairs_count(properties, MQTT_USER_KEPT_BYTES, true, ret_properties);
    if (ret_properties->kept == 0) {
        buf_clear(json);
        return ERR_OK;
    }
    return pairs_write(json, properties, ret_properties->kept);
}
