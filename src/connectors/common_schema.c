#include "connectors/common_schema.h"

#include "base/limits.h"

_Static_assert(LIMIT_MESSAGE_BYTES_MAX == 50331648, "common_schema_text says it");
_Static_assert(LIMIT_MESSAGE_BYTES_DEFAULT == 16777216, "common_schema_text says it");
_Static_assert(LIMIT_COLUMNS_PER_DATASET == 2000, "common_schema_text says it");

const char common_schema_text[] =
    "{\"properties\":{"
    "\"format\":{\"enum\":[\"auto\",\"json\",\"cbor\",\"senml\",\"text\",\"csv\",\"msgpack\",null],"
    "\"default\":\"auto\",\"title\":\"Format\","
    "\"description\":\"How payloads are read; auto looks at each\"},"
    "\"timestamp_field\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":255,"
    "\"title\":\"Timestamp field\","
    "\"description\":\"The field with the time of the reading; timestamp when not set\"},"
    "\"sensor_id_field\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":255,"
    "\"title\":\"Sensor id field\","
    "\"description\":\"The field that names the device; sensor_id or sensorId when not set\"},"
    "\"dataset\":{\"type\":[\"string\",\"null\"],\"minLength\":1,\"maxLength\":1000,"
    "\"title\":\"Dataset template\","
    "\"description\":\"{source}, {topic}, {topic[n]} (n from 0) and other text\","
    "\"examples\":[\"{source}_{topic[2]}\"]},"
    "\"dataset_levels\":{\"type\":[\"integer\",\"null\"],\"minimum\":1,\"maximum\":1000,"
    "\"title\":\"Dataset levels\","
    "\"description\":\"How many leading topic levels name the dataset\"},"
    "\"columns\":{\"type\":[\"object\",\"null\"],\"maxProperties\":2000,"
    "\"additionalProperties\":{\"enum\":[\"DOUBLE\",\"BOOLEAN\",\"STRING\"]},"
    "\"title\":\"Column types\",\"description\":\"Pinned before the first value comes\","
    "\"examples\":[{\"serial_number\":\"STRING\"}]},"
    "\"dedupe_key\":{\"type\":[\"object\",\"null\"],\"additionalProperties\":false,"
    "\"required\":[\"field\",\"window_seconds\"],\"title\":\"Deduplication\","
    "\"description\":\"Records that repeat a field's value within the window are dropped\","
    "\"properties\":{"
    "\"field\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":255,\"title\":\"Field\"},"
    "\"window_seconds\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":86400,"
    "\"title\":\"Window (s)\"}}},"
    "\"max_message_bytes\":{\"type\":[\"integer\",\"null\"],\"minimum\":1,\"maximum\":50331648,"
    "\"default\":16777216,\"title\":\"Largest message (bytes)\","
    "\"description\":\"Larger ones go to the dead letters\"}"
    "}}";

static enum err text_load(const char *text, const char *name, json_t **ret_json, struct diag *diag)
{
    json_error_t error = {0};
    *ret_json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(*ret_json))
        return ERR_OK;
    /* Without memory jansson gives up without a word; whatever it refuses, it has words for. */
    if (!*ret_json && error.text[0] == 0)
        return ERR_NO_MEMORY;
    return diag_set(diag, ERR_INVALID, "connector %.100s: its config_schema is no JSON object: %s",
                    name, *ret_json ? "it is another value" : error.text);
}

/* Adds the common properties that the schema has not. */
static enum err properties_merge(json_t *schema, json_t *common)
{
    json_t *own = json_object_get(schema, "properties");
    if (!own && json_object_set_new(schema, "properties", own = json_object()) != 0)
        return ERR_NO_MEMORY;
    if (!json_is_object(own))
        return ERR_OK; /* the compiler says what is wrong with it */
    const char *name;
    json_t *property;
    json_object_foreach(json_object_get(common, "properties"), name, property)
    {
        if (!json_object_get(own, name) && json_object_set(own, name, property) != 0)
            return ERR_NO_MEMORY; /* which json_object_update_missing would not tell */
    }
    return ERR_OK;
}

static enum err schema_merge(const struct connector *connector, json_t **ret_schema,
                             struct diag *diag)
{
    json_t *common = NULL;
    enum err err = text_load(connector->config_schema, connector->name, ret_schema, diag);
    if (err == ERR_OK)
        err = text_load(common_schema_text, "(all)", &common, diag);
    if (err == ERR_OK)
        err = properties_merge(*ret_schema, common);
    json_decref(common);
    return err;
}

enum err common_schema_make(const struct connector *connector, json_t **ret_schema,
                            struct json_schema **ret_validator, struct diag *diag)
{
    struct diag detail = {0};
    *ret_validator = NULL;
    enum err err = schema_merge(connector, ret_schema, diag);
    if (err == ERR_OK)
        err = json_schema_compile(*ret_schema, ret_validator, &detail);
    if (err == ERR_OK)
        return ERR_OK;
    json_decref(*ret_schema);
    *ret_schema = NULL;
    if (err == ERR_NO_MEMORY)
        return diag_set(diag, err, "connector %.100s: out of memory while reading its schema",
                        connector->name);
    return diag_set(diag, err, "connector %.100s: %s", connector->name, detail.text);
}
