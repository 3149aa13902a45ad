#include "app/config_sources.h"

#include "app/config_yaml.h"
#include "base/map.h"
#include "base/nearest.h"
#include "codec/json_schema.h"
#include "connectors/registry.h"
#include "sources/secrets.h"

#include <strings.h>

#define NAME_BYTES_MAX 255
#define MASK_DEPTH_MAX 64

static const char *const members[] = {"name", "type_name", "config", "enabled", "created_by"};

static bool is_member(const char *key)
{
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        if (strcmp(key, members[i]) == 0)
            return true;
    }
    return false;
}

static void report_unknown(const char *key, const char *where, size_t index, struct buf *problems)
{
    struct nearest nearest = {0};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        nearest_offer(&nearest, key, members[i]);
    buf_printf(problems, "%s: sources[%zu] has the unknown key \"%.100s\"", where, index, key);
    if (nearest.word)
        buf_printf(problems, "; did you mean \"%s\"?\n", nearest.word);
    else
        buf_text(problems, "; allowed are name, type_name, config, enabled, created_by\n");
}

/* A text that must be there and not empty; NULL and a problem when it is not. */
static const char *text_member(const json_t *source, const char *key, const char *where,
                               size_t index, struct buf *problems)
{
    const json_t *value = json_object_get(source, key);
    const char *text = json_string_value(value);
    if (text && *text && strlen(text) <= NAME_BYTES_MAX)
        return text;
    buf_printf(problems, "%s: sources[%zu].%s %s\n", where, index, key,
               value ? "is not a text of 1 to 255 bytes" : "is missing");
    return NULL;
}

static void check_type(const char *type, const char *where, size_t index, struct buf *problems)
{
    if (registry_find(type))
        return;
    buf_printf(problems, "%s: sources[%zu].type_name \"%.100s\" is no type of source; there are",
               where, index, type);
    for (size_t i = 0; i < registry_count(); i++)
        buf_printf(problems, "%s \"%s\"", i ? "," : "", registry_at(i)->name);
    buf_byte(problems, '\n');
}

static void check_values(const json_t *source, const char *where, size_t index,
                         struct buf *problems)
{
    const json_t *config = json_object_get(source, "config");
    const json_t *enabled = json_object_get(source, "enabled");
    const json_t *created_by = json_object_get(source, "created_by");
    if (!json_is_object(config))
        buf_printf(problems, "%s: sources[%zu].config %s\n", where, index,
                   config ? "is not a mapping" : "is missing");
    if (enabled && !json_is_boolean(enabled))
        buf_printf(problems, "%s: sources[%zu].enabled is not true or false\n", where, index);
    if (created_by && !json_is_string(created_by))
        buf_printf(problems, "%s: sources[%zu].created_by is not a text\n", where, index);
}

/* What the type itself says of a config. */
static void check_config(const char *type, const json_t *config, const char *where, size_t index,
                         struct buf *problems)
{
    const struct connector *connector = registry_find(type);
    struct diag diag = {0};
    if (!connector || !json_is_object(config))
        return;
    enum err err = secrets_check(connector, config, &diag);
    if (err != ERR_OK)
        buf_printf(problems, "%s: sources[%zu].config: %s\n", where, index,
                   diag.text[0] ? diag.text : err_text(err));
}

/* seen has "<type>\n<name>" of all sources so far. */
static enum err check_twice(struct map *seen, const json_t *source, const char *where, size_t index,
                            struct buf *problems)
{
    const char *name = json_string_value(json_object_get(source, "name"));
    const char *type = json_string_value(json_object_get(source, "type_name"));
    struct buf key;
    if (!name || !type)
        return ERR_OK;
    buf_init(&key, CONFIG_YAML_BYTES_MAX * 2);
    enum err err = buf_printf(&key, "%s\n%s", type, name);
    if (err == ERR_OK && map_get(seen, buf_bytes(&key)))
        buf_printf(problems, "%s: sources[%zu] has the name and type of another one\n", where,
                   index);
    else if (err == ERR_OK)
        err = map_put(seen, buf_bytes(&key), seen);
    buf_fini(&key);
    return err;
}

static void check_source(json_t *source, const char *where, size_t index, struct buf *problems)
{
    if (!json_is_object(source)) {
        buf_printf(problems, "%s: sources[%zu] is not a mapping with name, type_name and config\n",
                   where, index);
        return;
    }
    const char *key;
    json_t *value;
    json_object_foreach(source, key, value)
    {
        if (!is_member(key))
            report_unknown(key, where, index, problems);
    }
    text_member(source, "name", where, index, problems);
    const char *type = text_member(source, "type_name", where, index, problems);
    if (type)
        check_type(type, where, index, problems);
    check_values(source, where, index, problems);
    if (type)
        check_config(type, json_object_get(source, "config"), where, index, problems);
}

/* Adds a copy with what may lack filled in. */
static enum err add_source(json_t *sources, const json_t *source)
{
    json_t *copy = config_yaml_copy(source);
    int failed = !copy;
    if (json_is_object(copy) && !json_object_get(copy, "enabled"))
        failed |= json_object_set_new(copy, "enabled", json_true());
    if (json_is_object(copy) && !json_object_get(copy, "created_by"))
        failed |= json_object_set_new(copy, "created_by", json_string("config"));
    if (failed) {
        json_decref(copy);
        return ERR_NO_MEMORY;
    }
    return json_array_append_new(sources, copy) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

enum err config_sources_add(struct config *config, const json_t *node, const char *where,
                            struct buf *problems)
{
    if (json_is_null(node))
        return ERR_OK;
    if (!json_is_array(node)) {
        buf_printf(problems, "%s: sources is not a list\n", where);
        return ERR_OK;
    }
    if (json_array_size(node) > CONFIG_SOURCES_MAX) {
        buf_printf(problems, "%s: sources has more than %d items\n", where, CONFIG_SOURCES_MAX);
        return ERR_OK;
    }
    struct map seen;
    enum err err = ERR_OK;
    map_init(&seen);
    for (size_t i = 0; i < json_array_size(config->sources) && err == ERR_OK; i++)
        err = check_twice(&seen, json_array_get(config->sources, i), where, i, problems);
    for (size_t i = 0; i < json_array_size(node) && err == ERR_OK; i++) {
        json_t *source = json_array_get(node, i);
        check_source(source, where, i, problems);
        err = check_twice(&seen, source, where, i, problems);
        if (err == ERR_OK)
            err = add_source(config->sources, source);
    }
    map_fini(&seen);
    return err;
}

static bool is_secret(const char *key)
{
    static const char *const words[] = {"password",      "secret",  "token", "psk_key",
                                        "authorization", "api_key", "cookie"};
    static const char *const harmless[] = {"token_url", "api_key_header"};
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        if (strcasecmp(key, harmless[i]) == 0)
            return false;
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasestr(key, words[i]))
            return true;
    }
    return false;
}

static int mask(json_t *node, int depth)
{
    const char *key;
    json_t *value;
    void *next;
    size_t index;
    int failed = depth > MASK_DEPTH_MAX ? -1 : 0;
    if (failed)
        return failed;
    json_array_foreach(node, index, value) failed |= mask(value, depth + 1);
    json_object_foreach_safe(node, next, key, value)
    {
        if (is_secret(key) && !json_schema_is_reference(value))
            failed |= json_object_set_new(node, key, json_string("********"));
        else
            failed |= mask(value, depth + 1);
    }
    return failed;
}

json_t *config_sources_masked(const json_t *sources)
{
    json_t *copy = config_yaml_copy(sources);
    if (copy && mask(copy, 0) != 0) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}
