#include "connectors/config_reader.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>

#define WORDS_MAX_BYTES   200
#define WHOLE_NUMBERS_END 9007199254740992.0 /* beyond, a double skips some */

void config_refuse(struct config_reader *reader, enum err err, const char *sentence)
{
    if (*reader->err == ERR_OK)
        *reader->err = diag_set(reader->diag, err, "%s", sentence);
}

void config_refuse_member(struct config_reader *reader, const char *name, const char *allowed)
{
    char sentence[400];
    char *found = json_dumps(json_object_get(reader->json, name), JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(sentence, sizeof(sentence), "%s%s must be %s, not %.80s", reader->within, name,
             allowed, found ? found : "what it is");
    free(found); /* jansson's own */
    config_refuse(reader, ERR_INVALID, sentence);
}

json_t *config_member(const struct config_reader *reader, const char *name)
{
    json_t *value = json_object_get(reader->json, name);
    return json_is_null(value) ? NULL : value;
}

const char *config_keep(struct config_reader *reader, const char *text, size_t size)
{
    const char *kept = arena_dup(reader->arena, text, size);
    if (!kept)
        config_refuse(reader, ERR_NO_MEMORY, "out of memory while reading the configuration");
    return kept;
}

static bool is_text(const json_t *value, size_t size_max)
{
    size_t size = json_string_length(value);
    const char *text = json_string_value(value);
    return text && size >= 1 && size <= size_max && !memchr(text, '\0', size) &&
           utf8_valid(bytes_from(text, size));
}

const char *config_text(struct config_reader *reader, const char *name, size_t size_max)
{
    const json_t *value = config_member(reader, name);
    if (!value)
        return NULL;
    if (is_text(value, size_max))
        return config_keep(reader, json_string_value(value), json_string_length(value));
    char allowed[80];
    snprintf(allowed, sizeof(allowed), "a text of 1 to %zu bytes without NUL", size_max);
    config_refuse_member(reader, name, allowed);
    return NULL;
}

const char *config_secret(struct config_reader *reader, const char *name, size_t size_max)
{
    const json_t *value = config_member(reader, name);
    if (!value)
        return NULL;
    if (is_text(value, size_max))
        return config_keep(reader, json_string_value(value), json_string_length(value));
    char sentence[160];
    snprintf(sentence, sizeof(sentence), "%s%s must be a text of 1 to %zu bytes without NUL",
             reader->within, name, size_max);
    config_refuse(reader, ERR_INVALID, sentence);
    return NULL;
}

/* 1883.0 is one too, as JSON Schema has it. */
static bool whole_number(const json_t *value, uint64_t *ret_number)
{
    double real = json_number_value(value);
    if (!json_is_number(value) || !(real >= 0 && real < WHOLE_NUMBERS_END))
        return false;
    *ret_number = json_is_integer(value) ? (uint64_t)json_integer_value(value) : (uint64_t)real;
    return json_is_integer(value) || (double)*ret_number == real;
}

uint64_t config_number(struct config_reader *reader, const char *name, uint64_t min, uint64_t max,
                       uint64_t otherwise)
{
    const json_t *value = config_member(reader, name);
    if (!value)
        return otherwise;
    uint64_t number;
    if (whole_number(value, &number) && number >= min && number <= max)
        return number;
    char allowed[80];
    snprintf(allowed, sizeof(allowed), "a whole number from %llu to %llu", (unsigned long long)min,
             (unsigned long long)max);
    config_refuse_member(reader, name, allowed);
    return otherwise;
}

bool config_flag(struct config_reader *reader, const char *name, bool otherwise)
{
    const json_t *value = config_member(reader, name);
    if (!value)
        return otherwise;
    if (!json_is_boolean(value))
        config_refuse_member(reader, name, "true or false");
    return json_is_true(value);
}

int config_word(struct config_reader *reader, const char *name, const char *const *words,
                int otherwise)
{
    const json_t *value = config_member(reader, name);
    char allowed[WORDS_MAX_BYTES] = "";
    if (!value)
        return otherwise;
    for (int i = 0; words[i]; i++) {
        if (json_is_string(value) && strcmp(json_string_value(value), words[i]) == 0)
            return i;
        size_t used = strlen(allowed);
        const char *between = i == 0 ? "" : words[i + 1] ? ", " : " or ";
        snprintf(allowed + used, sizeof(allowed) - used, "%s%s", between, words[i]);
    }
    config_refuse_member(reader, name, allowed);
    return otherwise;
}

bool config_reader_inside(struct config_reader *reader, const char *name, const char *within,
                          struct config_reader *ret_inside)
{
    const json_t *value = config_member(reader, name);
    if (value && !json_is_object(value))
        config_refuse_member(reader, name, "an object");
    *ret_inside = *reader;
    ret_inside->json = value;
    ret_inside->within = within;
    return json_is_object(value);
}
