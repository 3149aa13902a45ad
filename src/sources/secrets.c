#include "sources/secrets.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static json_t *file_value(const char *path, const char *property, struct diag *diag)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        (void)diag_set(diag, ERR_NOT_FOUND, "%s: cannot read the secret file %s: %s", property,
                       path, strerror(errno));
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
    char *file = reference_name(text, "${file:");
    char *variable = file ? NULL : reference_name(text, "${env:");
    if (file)
        value = file_value(file, property, diag);
    else if (variable)
        value = environment_value(variable, property, diag);
    else
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

enum err secrets_resolve(const json_t *config, json_t **ret_config, struct diag *diag)
{
    json_t *resolved = resolve(config, "config", diag);
    if (!resolved)
        return diag && diag->text[0] ? ERR_INVALID : ERR_NO_MEMORY;
    *ret_config = resolved;
    return ERR_OK;
}
