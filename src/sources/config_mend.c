#include "sources/config_mend.h"

#include "connectors/registry.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MAX  8
#define DIGITS_MAX 15
#define REAL_MAX   9007199254740992.0 /* beyond, a double skips whole numbers */

static bool type_is(const json_t *schema, const char *name)
{
    const json_t *type = json_object_get(schema, "type");
    const char *text = json_string_value(type);
    for (size_t i = 0; i < json_array_size(type) && !text; i++)
        if (strcmp(json_string_value(json_array_get(type, i)), name) == 0)
            return true;
    return text && strcmp(text, name) == 0;
}

static bool is_required(const json_t *schema, const char *name)
{
    const json_t *required = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(required); i++)
        if (strcmp(json_string_value(json_array_get(required, i)), name) == 0)
            return true;
    return false;
}

static bool may_be_empty(const json_t *schema)
{
    return !json_is_true(json_object_get(schema, "writeOnly")) ||
           json_integer_value(json_object_get(schema, "minLength")) == 0;
}

/* NULL: as it is. */
static json_t *number_of(const json_t *value)
{
    const char *text = json_string_value(value);
    double real = json_real_value(value);
    if (text && text[0] && strlen(text) <= DIGITS_MAX && text[strspn(text, "0123456789")] == '\0')
        return json_integer(strtoll(text, NULL, 10));
    if (json_is_real(value) && real > -REAL_MAX && real < REAL_MAX)
        return json_integer((json_int_t)real);
    return NULL;
}

static json_t *boolean_of(const json_t *value)
{
    const char *text = json_string_value(value);
    json_int_t number = json_integer_value(value);
    if (text && (strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0))
        return json_boolean(strcasecmp(text, "true") == 0);
    if (json_is_integer(value) && (number == 0 || number == 1))
        return json_boolean(number == 1);
    return NULL;
}

static json_t *typed(const json_t *schema, const json_t *value)
{
    if (json_is_string(value) && type_is(schema, "string"))
        return NULL;
    if (type_is(schema, "integer"))
        return number_of(value);
    return type_is(schema, "boolean") ? boolean_of(value) : NULL;
}

static void mend(const json_t *schema, json_t *config, bool types, int depth)
{
    const char *name;
    json_t *value;
    void *next;
    json_object_foreach_safe(config, next, name, value)
    {
        const json_t *property = json_object_get(json_object_get(schema, "properties"), name);
        bool empty = json_is_string(value) && json_string_length(value) == 0;
        json_t *better = types ? typed(property, value) : NULL;
        if (better)
            (void)json_object_set_new(config, name, better); /* no memory: as it was */
        else if (empty && property && (types || type_is(property, "string")) &&
                 may_be_empty(property) && !is_required(schema, name))
            json_object_del(config, name);
        else if (json_is_object(value) && depth < DEPTH_MAX)
            mend(property, value, types, depth + 1);
    }
}

void config_mend_empty(const struct connector *connector, json_t *config)
{
    mend(registry_schema(connector), config, false, 0);
}

void config_mend(const struct connector *connector, json_t *config)
{
    mend(registry_schema(connector), config, true, 0);
}
