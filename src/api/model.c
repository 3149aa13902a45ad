#include "api/model.h"

#include "api/query.h"

static void add(struct api_invalid *invalid, const char *name, const char *message,
                const char *type)
{
    api_invalid_add(invalid, "body", bytes_from_text(name), message, type, (struct bytes){0});
}

const char *model_text(const json_t *body, const char *name, const char *absent,
                       struct api_invalid *invalid)
{
    const json_t *value = json_object_get(body, name);
    if (!value && absent)
        return absent;
    if (!value)
        add(invalid, name, "Field required", "missing");
    else if (!json_is_string(value))
        add(invalid, name, "Input should be a valid string", "string_type");
    else if (strlen(json_string_value(value)) != json_string_length(value))
        add(invalid, name, "Value error, a NUL character cannot be stored", "value_error");
    else
        return json_string_value(value);
    return "";
}

const json_t *model_object(const json_t *body, const char *name, struct api_invalid *invalid)
{
    const json_t *value = json_object_get(body, name);
    if (json_is_object(value))
        return value;
    if (!value)
        add(invalid, name, "Field required", "missing");
    else
        add(invalid, name, "Input should be a valid dictionary", "dict_type");
    return NULL;
}

/* 0, 1, 0.0, 1.0 and the words count as booleans. */
bool model_boolean(const json_t *body, const char *name, bool absent, struct api_invalid *invalid)
{
    const json_t *value = json_object_get(body, name);
    bool result = absent;
    if (!value)
        return absent;
    if (json_is_boolean(value))
        return json_is_true(value);
    if (json_is_number(value) && (json_number_value(value) == 0 || json_number_value(value) == 1))
        return json_number_value(value) == 1;
    if (json_is_string(value) &&
        api_boolean_parse(bytes_from(json_string_value(value), json_string_length(value)), &result))
        return result;
    if (json_is_string(value) || json_is_number(value))
        add(invalid, name, "Input should be a valid boolean, unable to interpret input",
            "bool_parsing");
    else
        add(invalid, name, "Input should be a valid boolean", "bool_type");
    return absent;
}

bool model_has(const json_t *body, const char *name)
{
    const json_t *value = json_object_get(body, name);
    return value && !json_is_null(value);
}
