#include "sources/secrets.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/json_schema.h"
#include "connectors/registry.h"
#include "sources/config_mend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_BYTES_MAX (64 * KIB)

/* The name inside "${kind:name}", or NULL. */
static char *reference_name(const char *text, const char *kind)
{
    size_t size = strlen(text);
    size_t prefix = strlen(kind);
    if (size < prefix + 2 || strncmp(text, kind, prefix) != 0 || text[size - 1] != '}')
        return NULL;
    char *name = mem_strdup(text + prefix);
    if (name)
        name[size - prefix - 1] = '\0';
    return name;
}

/* A pipe or a device would keep the loop waiting, for ever. */
static FILE *regular_open(const char *path)
{
    struct stat stat;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return NULL;
    FILE *file = NULL;
    if (fstat(descriptor, &stat) == 0 && !S_ISREG(stat.st_mode))
        errno = EINVAL;
    else
        file = fdopen(descriptor, "r");
    if (!file)
        close(descriptor);
    return file;
}

static json_t *file_value(const char *path, const char *property, struct diag *diag)
{
    FILE *file = regular_open(path);
    if (!file) {
        (void)diag_set(diag, ERR_NOT_FOUND, "%s: cannot read the secret file %s: %s", property,
                       path, err_errno_text(errno));
        return NULL;
    }
    char *text = mem_alloc(SECRET_BYTES_MAX + 1);
    size_t size = text ? fread(text, 1, SECRET_BYTES_MAX + 1, file) : 0;
    bool failed = !text || ferror(file);
    fclose(file);
    json_t *value = NULL;
    if (failed || size > SECRET_BYTES_MAX) {
        (void)diag_set(diag, ERR_INVALID, "%s: the secret file %s cannot be read or is over 64 KiB",
                       property, path);
    } else {
        while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
            size--;
        value = json_stringn(text, size);
        if (!value)
            (void)diag_set(diag, ERR_INVALID, "%s: the secret file %s is not UTF-8 text", property,
                           path);
    }
    mem_free(text);
    return value;
}

static json_t *environment_value(const char *name, const char *property, struct diag *diag)
{
    const char *text = getenv(name);
    json_t *value = text ? json_string(text) : NULL;
    if (!value)
        (void)diag_set(diag, ERR_NOT_FOUND,
                       "%s: the environment variable %s is not set (or not UTF-8)", property, name);
    return value;
}

/* The value of a reference, a new reference to the string itself if it is none, NULL on failure. */
static json_t *string_resolve(const json_t *string, const char *property, struct diag *diag)
{
    const char *text = json_string_value(string);
    json_t *value = NULL;
    bool is_reference = json_schema_is_reference(string);
    char *file = is_reference ? reference_name(text, "${file:") : NULL;
    char *variable = file || !is_reference ? NULL : reference_name(text, "${env:");
    if (file)
        value = file_value(file, property, diag);
    else if (variable)
        value = environment_value(variable, property, diag);
    else if (!is_reference)
        value = json_copy((json_t *)(uintptr_t)string);
    mem_free(file);
    mem_free(variable);
    return value;
}

static json_t *resolve(const json_t *from, const char *property, struct diag *diag)
{
    if (json_is_string(from))
        return string_resolve(from, property, diag);
    json_t *to = NULL;
    if (json_is_object(from)) {
        void *at = json_object_iter((json_t *)(uintptr_t)from);
        to = json_object();
        for (; to && at; at = json_object_iter_next((json_t *)(uintptr_t)from, at)) {
            const char *key = json_object_iter_key(at);
            json_t *value = resolve(json_object_iter_value(at), key, diag);
            if (!value || json_object_set_new(to, key, value) != 0) {
                json_decref(to);
                return NULL;
            }
        }
        return to;
    }
    if (json_is_array(from)) {
        to = json_array();
        for (size_t i = 0; to && i < json_array_size(from); i++) {
            json_t *value = resolve(json_array_get(from, i), property, diag);
            if (!value || json_array_append_new(to, value) != 0) {
                json_decref(to);
                return NULL;
            }
        }
        return to;
    }
    return json_deep_copy(from);
}

static bool has_reference(const json_t *value)
{
    const char *name;
    const json_t *member;
    size_t index;
    json_object_foreach((json_t *)(uintptr_t)value, name,
                        member) if (has_reference(member)) return true;
    json_array_foreach(value, index, member) if (has_reference(member)) return true;
    return json_schema_is_reference(value);
}

static void on_schema_error(void *ctx, const char *path, const char *keyword, const char *message)
{
    struct diag *diag = ctx;
    (void)keyword;
    (void)diag_set(diag, ERR_INVALID, "%s, by its reference: %s", path[0] ? path + 1 : "config",
                   message);
}

/* Of the texts themselves the schema was asked when they were stored. */
static enum err values_check(const struct connector *connector, const json_t *resolved,
                             struct diag *diag)
{
    const struct json_schema *validator = registry_validator(connector);
    return validator ? json_schema_validate_secret(validator, resolved, on_schema_error, diag)
                     : ERR_OK;
}

/* Its first bytes, as a quotation may be cut too; a short one may stand anywhere by chance, and
 * goes only where it is quoted. */
static void text_hide(const char *value, char *text)
{
    char start[16];
    snprintf(start, sizeof(start), strlen(value) < 4 ? "\"%.8s\"" : "%.8s", value);
    char *shown = value[0] ? strstr(text, start) : NULL;
    if (shown)
        snprintf(shown, strlen(shown) + 1, "…");
}

/* Cuts text where it begins to show the value, as it is or as JSON has it. */
static void value_hide(const json_t *value, char *text)
{
    char *quoted = json_dumps(value, JSON_ENCODE_ANY);
    if (quoted)
        text_hide(quoted, text);
    else
        text[0] = '\0';
    free(quoted); /* jansson's own */
    text_hide(json_string_value(value), text);
}

static void values_hide(const json_t *config, const json_t *resolved, char *text)
{
    const char *name;
    const json_t *member;
    size_t index;
    json_object_foreach((json_t *)(uintptr_t)config, name, member)
        values_hide(member, json_object_get(resolved, name), text);
    json_array_foreach(config, index, member)
        values_hide(member, json_array_get(resolved, index), text);
    if (json_schema_is_reference(config) && json_is_string(resolved))
        value_hide(resolved, text);
}

void secrets_hide(const json_t *config, const json_t *resolved, struct diag *diag)
{
    values_hide(config, resolved, diag->text);
}

enum err secrets_resolve(const struct connector *connector, const json_t *config,
                         json_t **ret_config, struct diag *diag)
{
    json_t *resolved = resolve(config, "config", diag);
    if (!resolved)
        return diag->text[0] ? ERR_NOT_FOUND : ERR_NO_MEMORY;
    enum err err = has_reference(config) ? values_check(connector, resolved, diag) : ERR_OK;
    if (err == ERR_OK)
        *ret_config = resolved;
    else
        json_decref(resolved);
    return err;
}

/* Takes the copy over. */
static enum err filled_check(const struct connector *connector, json_t *take_config,
                             struct diag *diag)
{
    enum err err = take_config ? ERR_OK : ERR_NO_MEMORY;
    if (take_config && connector->ops.check) {
        config_mend_empty(connector, take_config);
        err = connector->ops.check(take_config, diag);
    }
    json_decref(take_config);
    return err;
}

enum err secrets_check(const struct connector *connector, const json_t *config, struct diag *diag)
{
    json_t *resolved;
    struct diag why = {0};
    if (!has_reference(config))
        return filled_check(connector, json_deep_copy(config), diag);
    enum err err = secrets_resolve(connector, config, &resolved, &why);
    if (err == ERR_NOT_FOUND)
        return ERR_OK;
    if (err != ERR_OK)
        return diag_set(diag, err, "%s", why.text);
    err = filled_check(connector, json_incref(resolved), diag);
    if (err != ERR_OK && diag)
        secrets_hide(config, resolved, diag);
    json_decref(resolved);
    return err;
}
