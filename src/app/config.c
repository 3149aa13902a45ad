#include "app/config.h"

#include "app/config_rules.h"
#include "app/config_sources.h"
#include "app/config_table.h"
#include "app/config_yaml.h"
#include "base/alloc.h"
#include "base/nearest.h"
#include "os/machine.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#define DEFAULT_PATH    "./ingestor.yaml"
#define SHOWN_BYTES_MAX 200

struct loader {
    const struct config_input *input;
    struct config *config;
    struct buf *problems;
};

/* A value as it came, with what is needed to speak of it. */
struct candidate {
    size_t index;
    const char *spelled; /* the name as the person wrote it */
    const char *place;   /* "the environment", "ingestor.yaml line 3" */
    enum config_origin origin;
    uint32_t line;
};

static void report(struct loader *loader, const struct candidate *candidate, const char *text,
                   const char *why)
{
    const struct config_variable *variable = &config_table[candidate->index];
    const char *shown = variable->secret || variable->show ? "********" : text;
    buf_printf(loader->problems, "%s: \"%.*s\" (%s) %s\n", candidate->spelled, SHOWN_BYTES_MAX,
               shown, candidate->place, why);
}

static enum err settle(struct loader *loader, const struct candidate *candidate, const char *text,
                       enum err err, const struct diag *diag)
{
    if (err == ERR_NO_MEMORY)
        return err;
    if (err) {
        report(loader, candidate, text, diag->text);
        return ERR_OK;
    }
    loader->config->origins[candidate->index] = (uint8_t)candidate->origin;
    loader->config->lines[candidate->index] = candidate->line;
    return ERR_OK;
}

static enum err take_text(struct loader *loader, const struct candidate *candidate,
                          const char *text)
{
    struct diag diag = {0};
    enum err err = config_table_set(&config_table[candidate->index], loader->config, text, &diag);
    return settle(loader, candidate, text, err, &diag);
}

static enum err set_defaults(struct config *config, const struct config_input *input)
{
    for (size_t i = 0; i < config_table_count; i++) {
        const struct config_variable *variable = &config_table[i];
        if (variable->kind == CONFIG_BYTES && *variable->fallback == '\0')
            continue;
        enum err err = config_table_set(variable, config, variable->fallback, NULL);
        if (err)
            return err;
    }
    uint64_t memory =
        input->machine_memory_bytes ? input->machine_memory_bytes : machine_memory_bytes(input->fs);
    config->memory_limit_bytes = memory / 2 > 0 ? memory / 2 : 1;
    config->sources = json_array();
    return config->sources ? ERR_OK : ERR_NO_MEMORY;
}

/* The file */

/* Where a text is wanted, a number or truth is refused: YAML has by then changed how it was written
 * (0012, 1e3, yes). */
static enum err take_scalar(struct loader *loader, const struct candidate *candidate,
                            const json_t *value)
{
    enum config_kind kind = config_table[candidate->index].kind;
    bool wants_text = kind == CONFIG_TEXT || kind == CONFIG_LIST || kind == CONFIG_WORD;
    char text[32];
    if (json_is_string(value) && *json_string_value(value) == '\0' && kind != CONFIG_TEXT)
        report(loader, candidate, "", "is empty");
    else if (json_is_string(value))
        return take_text(loader, candidate, json_string_value(value));
    else if (json_is_integer(value) && !wants_text) {
        snprintf(text, sizeof(text), "%" PRId64, (int64_t)json_integer_value(value));
        return take_text(loader, candidate, text);
    } else if (json_is_boolean(value) && kind == CONFIG_BOOLEAN) {
        return take_text(loader, candidate, json_is_true(value) ? "true" : "false");
    } else {
        struct buf why;
        buf_init(&why, SHOWN_BYTES_MAX);
        buf_text(&why, "is not a ");
        config_table_allowed(&config_table[candidate->index], &why);
        if (wants_text && (json_is_number(value) || json_is_boolean(value)))
            buf_text(&why, "; write it in quotes");
        const char *sentence = buf_cstr(&why);
        static const char *const kinds[] = {"a mapping", "a list", "a text", "a whole number",
                                            "a number",  "true",   "false",  "nothing"};
        snprintf(text, sizeof(text), "%.15g", json_real_value(value));
        report(loader, candidate,
               json_is_real(value) && !wants_text ? text : kinds[json_typeof(value)],
               sentence ? sentence : "is ill-typed");
        buf_fini(&why);
    }
    return ERR_OK;
}

static enum err take_list(struct loader *loader, const struct candidate *candidate,
                          const json_t *value)
{
    const char *items[CONFIG_LIST_ITEMS_MAX];
    size_t count = json_array_size(value);
    for (size_t i = 0; i < count && i < CONFIG_LIST_ITEMS_MAX; i++) {
        items[i] = json_string_value(json_array_get(value, i));
        if (!items[i]) {
            report(loader, candidate, "a list", "holds something that is not a text");
            return ERR_OK;
        }
    }
    struct diag diag = {0};
    enum err err =
        config_table_set_list(&config_table[candidate->index], loader->config, items, count, &diag);
    return settle(loader, candidate, "a list", err, &diag);
}

static void report_unknown(struct loader *loader, const char *what, const char *unknown,
                           const char *place, void (*spell)(const struct config_variable *, char *))
{
    char best[CONFIG_NAME_BYTES_MAX] = "";
    struct nearest nearest = {0};
    for (size_t i = 0; i < config_table_count; i++) {
        struct nearest before = nearest;
        nearest_offer(&nearest, unknown, config_table[i].name);
        if (nearest.word != before.word)
            spell(&config_table[i], best);
    }
    buf_printf(loader->problems, "%s: unknown %s \"%.100s\"", place, what, unknown);
    if (nearest.word)
        buf_printf(loader->problems, "; did you mean \"%s\"?\n", best);
    else
        buf_printf(loader->problems, "; `ingestor config` shows all that there are\n");
}

static enum err take_member(struct loader *loader, const char *key, const json_t *value,
                            const json_t *lines)
{
    char place[PATH_MAX + 32];
    char expected[CONFIG_NAME_BYTES_MAX] = "";
    uint32_t line = (uint32_t)json_integer_value(json_object_get(lines, key));
    snprintf(place, sizeof(place), "%s line %u", loader->config->path, line);
    if (strcmp(key, "sources") == 0)
        return config_sources_add(loader->config, value, place, loader->problems);
    size_t index = config_table_find(key);
    if (index != SIZE_MAX)
        config_table_key(&config_table[index], expected);
    if (index == SIZE_MAX ||
        (strcmp(key, expected) != 0 && strcmp(key, config_table[index].name) != 0)) {
        report_unknown(loader, "key", key, place, config_table_key);
        return ERR_OK;
    }
    if (loader->config->origins[index] == CONFIG_FROM_FILE) {
        buf_printf(loader->problems, "%s: %s is there twice, once as %s\n", place, key,
                   strcmp(key, expected) == 0 ? config_table[index].name : expected);
        return ERR_OK;
    }
    struct candidate candidate = {index, key, place, CONFIG_FROM_FILE, line};
    if (json_is_array(value) && config_table[index].kind == CONFIG_LIST)
        return take_list(loader, &candidate, value);
    return take_scalar(loader, &candidate, value);
}

static enum err take_root(struct loader *loader, const json_t *root, const json_t *lines)
{
    const char *key;
    json_t *value;
    if (json_is_null(root))
        return ERR_OK; /* only comments and --- */
    if (!json_is_object(root)) {
        buf_printf(loader->problems, "%s: is not a mapping of keys to values\n",
                   loader->config->path);
        return ERR_OK;
    }
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        enum err err = take_member(loader, key, value, lines);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* ret_text is allocated. */
static enum err read_file(const struct fs *fs, const char *path, uint8_t **ret_text,
                          size_t *ret_size, struct diag *diag)
{
    struct fs_file *file = NULL;
    enum err err = fs_open(fs, path, FS_READ, &file, diag);
    if (err)
        return err;
    *ret_text = mem_alloc(CONFIG_YAML_BYTES_MAX + 1);
    if (!*ret_text)
        err = ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = fs_read(fs, file, 0, *ret_text, CONFIG_YAML_BYTES_MAX + 1, ret_size, diag);
    fs_close(fs, file);
    return err;
}

static enum err parse_file(struct loader *loader, const uint8_t *text, size_t size,
                           struct diag *diag)
{
    json_t *root = NULL;
    json_t *lines = NULL;
    enum err err = config_yaml_parse(bytes_from(text, size), &root, &lines, diag);
    if (err == ERR_OK)
        err = take_root(loader, root, lines);
    json_decref(root);
    json_decref(lines);
    return err;
}

static enum err take_file(struct loader *loader)
{
    const char *path = loader->input->path ? loader->input->path : DEFAULT_PATH;
    uint8_t *text = NULL;
    size_t size = 0;
    struct diag diag = {0};
    enum err err = read_file(loader->input->fs, path, &text, &size, &diag);
    if (err == ERR_NOT_FOUND && !loader->input->path)
        return ERR_OK;
    loader->config->path = mem_strdup(path);
    if (!loader->config->path)
        err = ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = parse_file(loader, text, size, &diag);
    mem_free(text);
    if (err == ERR_OK || err == ERR_NO_MEMORY)
        return err;
    buf_printf(loader->problems, "%s: %s\n", path, diag.text[0] ? diag.text : err_text(err));
    return ERR_OK;
}

/* The environment */

/* The value of NAME=value; NULL when the name is another. */
static const char *value_of(const char *entry, const char *name)
{
    size_t size = strlen(name);
    return strncmp(entry, name, size) == 0 && entry[size] == '=' ? entry + size + 1 : NULL;
}

/* An empty variable is an unset one: compose files and charts pass them on so. */
static enum err take_environment(struct loader *loader)
{
    for (size_t i = 0; i < config_table_count && loader->input->environment; i++) {
        const char *text = NULL;
        for (size_t j = 0; loader->input->environment[j] && !text; j++)
            text = value_of(loader->input->environment[j], config_table[i].name);
        if (!text || *text == '\0')
            continue;
        struct candidate candidate = {i, config_table[i].name, "the environment",
                                      CONFIG_FROM_ENVIRONMENT, 0};
        enum err err = take_text(loader, &candidate, text);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* The command line */

static enum err take_options(struct loader *loader)
{
    for (size_t i = 0; i < loader->input->option_count; i++) {
        const struct config_option *option = &loader->input->options[i];
        size_t index = config_table_find(option->name);
        if (index == SIZE_MAX) {
            report_unknown(loader, "option", option->name, "command line", config_table_option);
            continue;
        }
        struct candidate candidate = {index, option->name, "the command line",
                                      CONFIG_FROM_COMMAND_LINE, 0};
        enum err err = take_text(loader, &candidate, option->value);
        if (err)
            return err;
    }
    return ERR_OK;
}

static enum err load(struct loader *loader)
{
    enum err err = set_defaults(loader->config, loader->input);
    if (err == ERR_OK)
        err = take_file(loader);
    if (err == ERR_OK)
        err = take_environment(loader);
    if (err == ERR_OK)
        err = take_options(loader);
    if (err == ERR_OK)
        err = config_rules_derive(loader->config, loader->problems);
    return err;
}

enum err config_load(const struct config_input *input, struct config **ret_config,
                     struct buf *problems)
{
    *ret_config = NULL;
    struct config *config = mem_zalloc(1, sizeof(*config));
    if (!config)
        return ERR_NO_MEMORY;
    struct loader loader = {input, config, problems};
    enum err err = load(&loader);
    if (err == ERR_OK && (problems->size > 0 || problems->err))
        err = ERR_INVALID;
    if (err) {
        config_free(config);
        return err;
    }
    *ret_config = config;
    return ERR_OK;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    config_table_free(config);
    config_rules_free(config);
    json_decref(config->sources);
    mem_free(config->path);
    mem_free(config);
}
