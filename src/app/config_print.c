#include "app/config_print.h"

#include "app/config_sources.h"
#include "app/config_table.h"
#include "base/alloc.h"

#define VALUE_BYTES_MAX (CONFIG_LIST_ITEMS_MAX * (CONFIG_VALUE_BYTES_MAX + 1))
#define MASK            "********"

static const char *const origin_words[] = {"default", "file", "environment", "command line"};

static const char *shown_text(const struct config_variable *variable, struct buf *text)
{
    const char *raw = buf_cstr(text);
    char *copy = raw ? mem_strdup(raw) : NULL;
    if (!copy)
        return NULL;
    buf_clear(text);
    enum err err = variable->show(copy, text);
    mem_free(copy);
    return err ? NULL : buf_cstr(text);
}

/* The value as text, masked; NULL when there is no memory. */
static const char *shown(const struct config_variable *variable, const struct config *config,
                         struct buf *text)
{
    buf_clear(text);
    config_table_get(variable, config, text);
    if (text->size == 0 && variable->offset == offsetof(struct config, object_store_url))
        buf_text(text, config->store_url); /* what the others make of it */
    if (variable->secret && text->size > 0)
        return MASK;
    if (variable->show)
        return shown_text(variable, text);
    return buf_cstr(text);
}

static void table_row(const struct config *config, size_t index, struct buf *text, struct buf *out)
{
    const struct config_variable *variable = &config_table[index];
    const char *value = shown(variable, config, text);
    if (!value) {
        out->err = ERR_NO_MEMORY;
        return;
    }
    buf_printf(out, "%-27s %-38s %s", variable->name, *value ? value : "-",
               origin_words[config->origins[index]]);
    if (config->origins[index] == CONFIG_FROM_FILE)
        buf_printf(out, " (%s line %u)", config->path, config->lines[index]);
    buf_byte(out, '\n');
}

static int on_json(const char *text, size_t size, void *ctx)
{
    return buf_append(ctx, text, size) == ERR_OK ? 0 : -1;
}

/* Not json_dumps: it ignores some failures of its own buffer, ours remembers them. */
static void append_json(const json_t *node, size_t flags, struct buf *out)
{
    if (json_dump_callback(node, on_json, out, flags) != 0 && out->err == ERR_OK)
        out->err = ERR_NO_MEMORY;
}

static void table_source(const json_t *source, struct buf *out)
{
    buf_printf(out, "  %s (%s%s) ", json_string_value(json_object_get(source, "name")),
               json_string_value(json_object_get(source, "type_name")),
               json_is_true(json_object_get(source, "enabled")) ? "" : ", disabled");
    append_json(json_object_get(source, "config"), JSON_COMPACT, out);
    buf_byte(out, '\n');
}

enum err config_print_table(const struct config *config, struct buf *out)
{
    struct buf text;
    buf_init(&text, VALUE_BYTES_MAX);
    buf_printf(out, "%-27s %-38s %s\n", "VARIABLE", "VALUE", "FROM");
    for (size_t i = 0; i < config_table_count; i++)
        table_row(config, i, &text, out);
    buf_fini(&text);
    buf_printf(out, "\nObject store: %s%s%s\n", config->store_url,
               config->store_endpoint ? " at " : "",
               config->store_endpoint ? config->store_endpoint : "");
    json_t *sources = config_sources_masked(config->sources);
    if (!sources)
        return ERR_NO_MEMORY;
    if (json_array_size(sources) > 0)
        buf_printf(out, "\nSources of %s:\n", config->path);
    for (size_t i = 0; i < json_array_size(sources); i++)
        table_source(json_array_get(sources, i), out);
    json_decref(sources);
    return out->err;
}

static int json_value(json_t *values, const struct config *config, size_t index, struct buf *text)
{
    const struct config_variable *variable = &config_table[index];
    const char *value = shown(variable, config, text);
    json_t *typed;
    if (!value)
        return -1;
    if (variable->kind == CONFIG_INTEGER || variable->kind == CONFIG_BYTES) {
        uint64_t number;
        memcpy(&number, (const char *)config + variable->offset, sizeof(number));
        typed = json_integer((json_int_t)number);
    } else if (variable->kind == CONFIG_BOOLEAN) {
        typed = json_boolean(strcmp(value, "true") == 0);
    } else {
        typed = json_string(value);
    }
    json_t *entry =
        json_pack("{s:o, s:s}", "value", typed, "from", origin_words[config->origins[index]]);
    int failed = 0;
    if (config->origins[index] == CONFIG_FROM_FILE)
        failed = json_object_set_new(entry, "line", json_integer(config->lines[index]));
    return failed | json_object_set_new(values, variable->name, entry);
}

enum err config_print_json(const struct config *config, struct buf *out)
{
    struct buf text;
    json_t *values = json_object();
    int failed = 0;
    buf_init(&text, VALUE_BYTES_MAX);
    for (size_t i = 0; i < config_table_count; i++)
        failed |= json_value(values, config, i, &text);
    buf_fini(&text);
    json_t *root =
        json_pack("{s:s?, s:o, s:{s:s, s:s?}, s:o}", "file", config->path, "values", values,
                  "object_store", "url", config->store_url, "endpoint", config->store_endpoint,
                  "sources", config_sources_masked(config->sources));
    if (!root || failed)
        out->err = ERR_NO_MEMORY;
    else
        append_json(root, JSON_INDENT(2), out);
    json_decref(root);
    buf_byte(out, '\n');
    return out->err;
}

enum err config_print_markdown(struct buf *out)
{
    buf_text(out, "| variable | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < config_table_count; i++) {
        const struct config_variable *variable = &config_table[i];
        buf_printf(out, "| `%s` | %s%s%s | ", variable->name, *variable->fallback ? "`" : "",
                   *variable->fallback ? variable->fallback : "none",
                   *variable->fallback ? "`" : "");
        config_table_allowed(variable, out);
        buf_printf(out, " | %s |\n", variable->help);
    }
    return out->err;
}
