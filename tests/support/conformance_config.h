#pragma once
/*
 * Configurations for the conformance suite, made of what a connector's schema shows. The program
 * includes cmocka before.
 */
#include "connectors/registry.h"
#include "sources/secrets.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A port where nobody listens: it was free a moment ago. */
static inline int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(probe >= 0);
    assert_int_equal(bind(probe, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(probe, (struct sockaddr *)&address, &size), 0);
    close(probe);
    return ntohs(address.sin_port);
}

/* A value that the property's schema shows to people; NULL: none. */
static inline json_t *example_of(const json_t *property)
{
    const json_t *value = json_array_get(json_object_get(property, "examples"), 0);
    if (!value)
        value = json_object_get(property, "default");
    if (!value)
        value = json_array_get(json_object_get(property, "enum"), 0);
    return value ? json_deep_copy(value) : NULL;
}

/* Nothing of a test leaves the machine. */
static inline void stay_at_home(json_t *config, const json_t *properties)
{
    const char *name;
    json_t *value;
    void *next;
    json_object_foreach_safe(config, next, name, value)
    {
        if (!json_is_string(value))
            continue;
        if (strstr(json_string_value(value), "://"))
            json_object_set_new(config, name, json_sprintf("http://127.0.0.1:%d/x", free_port()));
        else if (strcmp(json_string_value(value), "localhost") == 0)
            json_string_set(value, "127.0.0.1");
    }
    if (json_object_get(properties, "port"))
        json_object_set_new(config, "port", json_integer(free_port()));
}

static const json_t *properties_of(const struct connector *connector)
{
    return json_object_get(registry_schema(connector), "properties");
}

/* The members it needs, and no other. */
static inline json_t *plain_config(const struct connector *connector)
{
    json_t *config = json_object();
    size_t index;
    const json_t *required;
    json_array_foreach(json_object_get(registry_schema(connector), "required"), index, required)
    {
        const char *name = json_string_value(required);
        json_t *value = example_of(json_object_get(properties_of(connector), name));
        if (!value)
            fail_msg("%s: the schema shows no example of %s, which is required", connector->name,
                     name);
        json_object_set_new(config, name, value);
    }
    stay_at_home(config, properties_of(connector));
    return config;
}

struct told {
    unsigned count;
    char path[200];
    char keyword[40];
    char message[600];
};

static inline void on_error(void *ctx, const char *path, const char *keyword, const char *message)
{
    struct told *told = ctx;
    if (told->count++ > 0)
        return;
    snprintf(told->path, sizeof(told->path), "%s", path);
    snprintf(told->keyword, sizeof(told->keyword), "%s", keyword);
    snprintf(told->message, sizeof(told->message), "%s", message);
}

static inline enum err validate(const struct connector *connector, const json_t *config,
                                struct told *told)
{
    *told = (struct told){0};
    return json_schema_validate(registry_validator(connector), config, on_error, told);
}

static inline void assert_valid(const struct connector *connector, const json_t *config)
{
    struct told told;
    struct diag diag = {0};
    if (validate(connector, config, &told) != ERR_OK)
        fail_msg("%s: %s: %s", connector->name, told.path, told.message);
    if (secrets_check(connector, config, &diag) != ERR_OK)
        fail_msg("%s: %s", connector->name, diag.text);
}
