/*
 * What is done to a value along a schema: defaults put in, secrets masked, masks undone. The copies
 * are made by jansson, and changed in place after.
 *
 * One walk serves masking and its reverse: at every property whose schema is writeOnly it calls
 * back, and steps down everywhere else. A property that several subschemas reach is seen several
 * times; both callbacks change nothing the second time.
 */
#include "base/limits.h"
#include "codec/json_schema_node.h"

#define MASK                "********"
#define REFERENCE_BYTES_MAX 4200 /* a path, and what stands around it */

struct walk;

/* What becomes of the secret value: the same, another (a new reference), or NULL: it is left out.
 * stored: what stands at this place in the stored value, or NULL. */
typedef json_t *(*secret_visit)(struct walk *walk, json_t *value, const json_t *stored);

struct walk {
    secret_visit on_secret;
    enum err err;
    const char *name; /* of the property that holds the secret */
    struct diag *diag;
};

static void walk_value(struct walk *walk, const struct json_schema_node *node, json_t *value,
                       const json_t *stored);

static enum err defaults_put(const struct json_schema_node *node, json_t *object)
{
    struct map_entry *entry;
    for (size_t at = 0; (entry = map_next(&node->properties, &at));) {
        const struct json_schema_node *member = entry->value;
        const char *name = (const char *)entry->key;
        if (!json_object_get(object, name) && member->default_value &&
            json_object_set_new_nocheck(object, name, json_deep_copy(member->default_value)) != 0)
            return ERR_NO_MEMORY;
        json_t *value = json_object_get(object, name);
        enum err err = json_is_object(value) ? defaults_put(member, value) : ERR_OK;
        if (err != ERR_OK)
            return err;
    }
    for (size_t i = 0; i < node->all_of.count; i++) {
        enum err err = defaults_put(node->all_of.nodes[i], object);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

enum err json_schema_defaults(const struct json_schema *schema, json_t *value)
{
    return json_is_object(value) ? defaults_put(schema->root, value) : ERR_INVALID;
}

bool json_schema_is_reference(const json_t *value)
{
    const char *text = json_string_value(value);
    size_t size = text ? json_string_length(value) : 0;
    size_t prefix = 0;
    if (size > 0 && strncmp(text, "${env:", 6) == 0)
        prefix = 6;
    else if (size > 0 && strncmp(text, "${file:", 7) == 0)
        prefix = 7;
    return prefix > 0 && size > prefix + 1 && size <= REFERENCE_BYTES_MAX &&
           memchr(text, '}', size) == text + size - 1;
}

static bool is_mask(const json_t *value)
{
    return json_is_string(value) && strcmp(json_string_value(value), MASK) == 0;
}

/* Puts what the callback says in the place of a secret. */
static void replace_member(struct walk *walk, json_t *object, const char *name, json_t *value,
                           const json_t *stored)
{
    json_t *instead = walk->on_secret(walk, value, stored);
    if (walk->err != ERR_OK || instead == value)
        return;
    if (!instead)
        json_object_del(object, name);
    else if (json_object_set_new_nocheck(object, name, instead) != 0)
        walk->err = ERR_NO_MEMORY;
}

static void replace_item(struct walk *walk, json_t *array, size_t index, json_t *value,
                         const json_t *stored)
{
    json_t *instead = walk->on_secret(walk, value, stored);
    if (walk->err != ERR_OK || instead == value)
        return;
    if (!instead)
        json_array_remove(array, index);
    else if (json_array_set_new(array, index, instead) != 0)
        walk->err = ERR_NO_MEMORY;
}

static void walk_member(struct walk *walk, const struct json_schema_node *node, json_t *object,
                        const char *name, const json_t *stored)
{
    json_t *value = json_object_get(object, name);
    const json_t *below = json_object_get(stored, name);
    if (!value || walk->err != ERR_OK)
        return;
    walk->name = name;
    if (node->write_only)
        replace_member(walk, object, name, value, below);
    else
        walk_value(walk, node, value, below);
}

static void walk_properties(struct walk *walk, const struct json_schema_node *node, json_t *object,
                            const json_t *stored)
{
    struct map_entry *entry;
    for (size_t at = 0; (entry = map_next(&node->properties, &at));)
        walk_member(walk, entry->value, object, (const char *)entry->key, stored);
}

static void walk_additional(struct walk *walk, const struct json_schema_node *node, json_t *object,
                            const json_t *stored)
{
    const char *name;
    json_t *value;
    void *next;
    if (!node->additional)
        return;
    json_object_foreach_safe(object, next, name, value)
    {
        if (!map_get(&node->properties, bytes_from_text(name)))
            walk_member(walk, node->additional, object, name, stored);
    }
}

/* From the end, as items may be left out. */
static void walk_items(struct walk *walk, const struct json_schema_node *node, json_t *array,
                       const json_t *stored)
{
    for (size_t i = node->items ? json_array_size(array) : 0; i-- > 0 && walk->err == ERR_OK;) {
        json_t *value = json_array_get(array, i);
        if (node->items->write_only)
            replace_item(walk, array, i, value, json_array_get(stored, i));
        else
            walk_value(walk, node->items, value, json_array_get(stored, i));
    }
}

static void walk_list(struct walk *walk, const struct json_schema_list *list, json_t *value,
                      const json_t *stored)
{
    for (size_t i = 0; i < list->count; i++)
        walk_value(walk, list->nodes[i], value, stored);
}

static void walk_value(struct walk *walk, const struct json_schema_node *node, json_t *value,
                       const json_t *stored)
{
    if (json_is_object(value)) {
        walk_properties(walk, node, value, stored);
        walk_additional(walk, node, value, stored);
    } else if (json_is_array(value)) {
        walk_items(walk, node, value, stored);
    } else {
        return;
    }
    walk_list(walk, &node->all_of, value, stored);
    walk_list(walk, &node->any_of, value, stored);
    walk_list(walk, &node->one_of, value, stored);
}

static enum err walk_copy(const struct json_schema *schema, const json_t *value,
                          const json_t *stored, secret_visit on_secret, json_t **ret_value)
{
    struct walk walk = {.on_secret = on_secret};
    *ret_value = NULL;
    if (!json_schema_is_shallow(value, LIMIT_JSON_DEPTH))
        return ERR_TOO_DEEP;
    json_t *copy = json_deep_copy(value);
    if (!copy)
        return ERR_NO_MEMORY;
    walk_value(&walk, schema->root, copy, stored);
    if (walk.err != ERR_OK) {
        json_decref(copy);
        return walk.err;
    }
    *ret_value = copy;
    return ERR_OK;
}

static json_t *mask_secret(struct walk *walk, json_t *value, const json_t *stored)
{
    (void)stored;
    if (json_is_null(value) || json_schema_is_reference(value) || is_mask(value))
        return value;
    json_t *mask = json_string_nocheck(MASK);
    if (!mask)
        walk->err = ERR_NO_MEMORY;
    return mask;
}

static json_t *unmask_secret(struct walk *walk, json_t *value, const json_t *stored)
{
    if (!is_mask(value))
        return value;
    json_t *secret = stored ? json_deep_copy(stored) : NULL;
    if (stored && !secret)
        walk->err = ERR_NO_MEMORY;
    return secret;
}

enum err json_schema_mask(const struct json_schema *schema, const json_t *value,
                          json_t **ret_masked)
{
    return walk_copy(schema, value, NULL, mask_secret, ret_masked);
}

enum err json_schema_unmask(const struct json_schema *schema, const json_t *value,
                            const json_t *stored, json_t **ret_value)
{
    return walk_copy(schema, value, stored, unmask_secret, ret_value);
}

static json_t *refuse_masked(struct walk *walk, json_t *value, const json_t *stored)
{
    (void)stored;
    if (is_mask(value))
        walk->err = diag_set(walk->diag, ERR_INVALID,
                             "%.100s is the mask that stands for a secret: give the secret itself",
                             walk->name ? walk->name : "a value");
    return value;
}

/* Nothing is put in another's place, so that no copy is needed. */
enum err json_schema_refuse_mask(const struct json_schema *schema, const json_t *value,
                                 struct diag *diag)
{
    struct walk walk = {.on_secret = refuse_masked, .diag = diag};
    if (!json_schema_is_shallow(value, LIMIT_JSON_DEPTH))
        return ERR_TOO_DEEP;
    walk_value(&walk, schema->root, json_schema_iterable(value), NULL);
    return walk.err;
}
