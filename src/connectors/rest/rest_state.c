#include "connectors/rest/rest_state.h"

#include "base/hash.h"
#include "base/limits.h"
#include "connectors/rest/rest_page.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

void rest_state_init(struct rest_state *state)
{
    *state = (struct rest_state){0};
    buf_init(&state->resume, REST_POSITION_BYTES_MAX);
}

void rest_state_fini(struct rest_state *state)
{
    buf_fini(&state->resume);
}

static uint64_t mix(uint64_t hash, const char *text)
{
    return hash_bytes_seeded(text ? bytes_from_text(text) : (struct bytes){0}, hash * 31 + 1);
}

static uint64_t mix_number(uint64_t hash, uint64_t number)
{
    return hash_bytes_seeded(bytes_from(&number, sizeof(number)), hash * 31 + 1);
}

/* What the cursor belongs to: the server's resource, and the field. Not the parameters or headers:
 * a new token must not begin everything again. */
static uint64_t cursor_owner(const struct rest_config *config)
{
    return mix(mix(mix(1, config->source), config->cursor_field_text), config->cursor_param);
}

static uint64_t resume_owner(const struct rest_config *config)
{
    const struct rest_pagination *paging = &config->pagination;
    uint64_t hash = mix(mix_number(cursor_owner(config), paging->kind), paging->param);
    return mix_number(mix(mix(hash, config->url), paging->size_param), paging->size);
}

uint64_t rest_state_request(const struct rest_config *config, struct bytes url)
{
    uint64_t hash = hash_bytes_seeded(url, config->is_post);
    for (size_t i = 0; i < config->header_count; i++)
        hash = mix(hash, config->headers[i].line);
    hash = mix_number(hash, config->common.format);
    hash = mix(mix(hash, config->data_path_text), config->cursor_field_text);
    hash = mix(mix(hash, config->common.dataset), config->oauth2.client_id);
    return mix(mix_number(hash, config->common.dataset_levels), config->auth_header);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static bool owner_is(const json_t *object, const char *name, uint64_t owner)
{
    char text[20];
    const char *found = json_string_value(json_object_get(object, name));
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)owner);
    return found && strcmp(found, text) == 0;
}

static uint64_t owner_read(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? strtoull(text, NULL, 16) : 0;
}

static void text_read(const json_t *object, const char *name, char *ret_text, size_t size)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text && strlen(text) < size)
        snprintf(ret_text, size, "%s", text);
}

static void edge_read(const char *text, struct rest_cursor *ret_cursor)
{
    char digits[17] = {0};
    ret_cursor->edge_count = 0;
    for (; text && strlen(text) >= 16 && ret_cursor->edge_count < REST_CURSOR_EDGE_MAX;
         text += 16) {
        memcpy(digits, text, 16);
        ret_cursor->edge[ret_cursor->edge_count++] = strtoull(digits, NULL, 16);
    }
}

/* The scalar's own JSON text, kept as a text: numbers stay as they were written. */
static void cursor_read(const json_t *object, const char *name, const char *edge_name,
                        struct rest_cursor *ret_cursor)
{
    const json_t *value = json_object_get(object, name);
    struct bytes text = bytes_from(json_string_value(value), json_string_length(value));
    rest_cursor_offer(ret_cursor, text, text);
    edge_read(json_string_value(json_object_get(object, edge_name)), ret_cursor);
}

enum err rest_state_read(struct rest_state *state, const struct rest_config *config,
                         struct bytes text)
{
    json_t *object = json_loadb((const char *)text.data, text.size, 0, NULL);
    enum err err = ERR_OK;
    if (owner_is(object, "cursor_of", cursor_owner(config)))
        cursor_read(object, "cursor", "edge", &state->cursor);
    state->validators_of = owner_read(object, "validators_of");
    text_read(object, "etag", state->etag, sizeof(state->etag));
    text_read(object, "last_modified", state->last_modified, sizeof(state->last_modified));
    const json_t *resume = json_object_get(object, "resume");
    if (owner_is(object, "resume_of", resume_owner(config)) && json_is_string(resume)) {
        cursor_read(object, "resume_cursor", "resume_edge", &state->resume_cursor);
        err = buf_append(&state->resume, json_string_value(resume), json_string_length(resume));
    }
    json_decref(object);
    return err;
}

static void member(struct buf *out, const char *name, struct bytes text)
{
    buf_byte(out, out->size > 1 ? ',' : ' ');
    buf_json_string(out, bytes_from_text(name));
    buf_byte(out, ':');
    buf_json_string(out, text);
}

static void owner_write(struct buf *out, const char *name, uint64_t owner)
{
    char text[20];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)owner);
    member(out, name, bytes_from_text(text));
}

static void cursor_write(struct buf *out, const char *name, const char *edge_name,
                         const struct rest_cursor *cursor)
{
    char text[16 * REST_CURSOR_EDGE_MAX + 1] = "";
    for (uint32_t i = 0; i < cursor->edge_count; i++)
        snprintf(text + (size_t)16 * i, 17, "%016llx", (unsigned long long)cursor->edge[i]);
    member(out, name, bytes_from(cursor->json, cursor->size));
    member(out, edge_name, bytes_from_text(text));
}

enum err rest_state_write(const struct rest_state *state, const struct rest_config *config,
                          struct buf *out)
{
    buf_byte(out, '{');
    if (state->cursor.size > 0) {
        cursor_write(out, "cursor", "edge", &state->cursor);
        owner_write(out, "cursor_of", cursor_owner(config));
    }
    if (state->etag[0] || state->last_modified[0]) {
        member(out, "etag", bytes_from_text(state->etag));
        member(out, "last_modified", bytes_from_text(state->last_modified));
        owner_write(out, "validators_of", state->validators_of);
    }
    if (state->resume.size > 0) {
        member(out, "resume", buf_bytes(&state->resume));
        cursor_write(out, "resume_cursor", "resume_edge", &state->resume_cursor);
        owner_write(out, "resume_of", resume_owner(config));
    }
    return buf_byte(out, '}');
}
