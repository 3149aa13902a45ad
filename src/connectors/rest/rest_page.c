#include "connectors/rest/rest_page.h"

#include "base/limits.h"
#include "codec/json.h"
#include "connectors/rest/rest_cursor.h"
#include "connectors/rest/rest_url.h"

#include <strings.h>

/* --- the Link header -------------------------------------------------------------------------- */

/* Whether next is among the space-separated relation types. */
static bool has_next(const char *value, size_t size)
{
    while (size > 0) {
        size_t word = 0;
        while (word < size && value[word] != ' ')
            word++;
        if (word == 4 && strncasecmp(value, "next", 4) == 0)
            return true;
        value += word + (word < size);
        size -= word + (word < size);
    }
    return false;
}

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t");
}

/* One ";name=value": moves *at past it. */
static bool parameter_is_next(const char **at)
{
    const char *name = skip_space(*at + 1);
    size_t name_size = strcspn(name, "=;, \t");
    const char *value = skip_space(name + name_size);
    size_t size = 0;
    if (*value != '=') {
        *at = value;
        return false;
    }
    value = skip_space(value + 1);
    if (*value == '"') {
        value++;
        while (value[size] && value[size] != '"')
            size += value[size] == '\\' && value[size + 1] ? 2 : 1;
        *at = value + size + (value[size] == '"');
    } else {
        size = strcspn(value, ";, \t");
        *at = value + size;
    }
    return name_size == 3 && strncasecmp(name, "rel", 3) == 0 && has_next(value, size);
}

enum err rest_link_next(const char *link, struct buf *out)
{
    for (const char *at = link; (at = strchr(at, '<'));) {
        const char *target = at + 1;
        const char *end = strchr(target, '>');
        bool is_next = false;
        if (!end)
            return ERR_OK;
        at = skip_space(end + 1);
        while (*at == ';') {
            is_next = parameter_is_next(&at) || is_next;
            at = skip_space(at);
        }
        if (is_next)
            return buf_append(out, target, (size_t)(end - target));
    }
    return ERR_OK;
}

/* --- addresses -------------------------------------------------------------------------------- */

static enum err set_number(struct buf *url, const char *name, uint64_t number)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
    return rest_url_set(url, name, bytes_from(text, (size_t)size));
}

static bool is_address(struct bytes position)
{
    return (position.size > 7 && strncasecmp((const char *)position.data, "http://", 7) == 0) ||
           (position.size > 8 && strncasecmp((const char *)position.data, "https://", 8) == 0);
}

static enum err set_position(const struct rest_pagination *paging, struct bytes position,
                             struct buf *out)
{
    enum err err = ERR_OK;
    bool counts = paging->kind == REST_PAGING_PAGE || paging->kind == REST_PAGING_OFFSET;
    if (paging->size_param)
        err = set_number(out, paging->size_param, paging->size);
    if (err != ERR_OK || !paging->param)
        return err;
    if (position.size > 0)
        return rest_url_set(out, paging->param, position);
    return counts ? set_number(out, paging->param, paging->start) : ERR_OK;
}

static enum err set_cursor(const struct rest_config *config, struct bytes cursor, struct buf *out)
{
    struct buf text;
    buf_init(&text, REST_CURSOR_BYTES_MAX);
    enum err err = rest_cursor_text(cursor, &text);
    if (err == ERR_OK)
        err = rest_url_set(out, config->cursor_param, buf_bytes(&text));
    buf_fini(&text);
    return err;
}

enum err rest_page_url(const struct rest_config *config, struct bytes position, struct bytes cursor,
                       struct buf *out)
{
    const struct rest_pagination *paging = &config->pagination;
    buf_clear(out);
    bool follows =
        paging->kind == REST_PAGING_LINK || (paging->kind == REST_PAGING_CURSOR && !paging->param);
    if (follows && position.size > 0)
        return buf_append(out, position.data, position.size);
    enum err err = buf_text(out, config->url);
    if (err == ERR_OK && config->has_cursor && cursor.size > 0)
        err = set_cursor(config, cursor, out);
    return err == ERR_OK ? set_position(paging, position, out) : err;
}

/* --- what follows ----------------------------------------------------------------------------- */

static uint64_t number_of(struct bytes position, uint64_t otherwise)
{
    uint64_t number = 0;
    for (size_t i = 0; i < position.size && number < UINT64_MAX / 100; i++)
        if (position.data[i] >= '0' && position.data[i] <= '9')
            number = number * 10 + (uint64_t)(position.data[i] - '0');
    return position.size > 0 ? number : otherwise;
}

static enum err next_counted(const struct rest_pagination *paging, struct bytes position,
                             const struct rest_page_seen *seen, struct buf *out)
{
    uint64_t number = number_of(position, paging->start);
    bool is_last = seen->records == 0 || (paging->size > 0 && seen->records < paging->size);
    if (is_last)
        return ERR_OK;
    number += paging->kind == REST_PAGING_PAGE ? 1 : seen->records;
    return buf_printf(out, "%llu", (unsigned long long)number);
}

static enum err follow(const struct rest_page_seen *seen, struct buf *reference, struct buf *out,
                       const char **ret_warning)
{
    const char *text = buf_cstr(reference);
    if (!text)
        return ERR_NO_MEMORY;
    enum err err = rest_url_resolve(seen->url, text, out);
    if (err == ERR_INVALID)
        *ret_warning = "the address of the next page is not http or https";
    return err == ERR_INVALID ? ERR_OK : err;
}

static enum err next_linked(const struct rest_page_seen *seen, struct buf *out,
                            const char **ret_warning)
{
    struct buf reference;
    buf_init(&reference, REST_POSITION_BYTES_MAX);
    enum err err = rest_link_next(seen->link, &reference);
    if (err == ERR_OK && reference.size > 0)
        err = follow(seen, &reference, out, ret_warning);
    buf_fini(&reference);
    return err;
}

static bool is_nothing(struct bytes json)
{
    return json.data[0] == 'n' || json.data[0] == 'f' || json.data[0] == '{' ||
           json.data[0] == '[' || bytes_equal_text(json, "\"\"");
}

static enum err next_cursor(const struct rest_pagination *paging, const struct rest_page_seen *seen,
                            struct buf *out, const char **ret_warning)
{
    struct bytes json;
    struct buf text;
    if (seen->text.size == 0 || !rest_path_first(&paging->next, seen->text, &json) ||
        is_nothing(json))
        return ERR_OK;
    buf_init(&text, REST_POSITION_BYTES_MAX);
    enum err err = rest_cursor_text(json, &text);
    if (err == ERR_OK && paging->param)
        err = buf_append(out, text.data, text.size);
    else if (err == ERR_OK)
        err = follow(seen, &text, out, ret_warning);
    buf_fini(&text);
    return err;
}

enum err rest_page_next(const struct rest_config *config, struct bytes position,
                        const struct rest_page_seen *seen, struct buf *ret_position,
                        const char **ret_warning)
{
    const struct rest_pagination *paging = &config->pagination;
    enum err err = ERR_OK;
    buf_clear(ret_position);
    *ret_warning = NULL;
    if (paging->kind == REST_PAGING_PAGE || paging->kind == REST_PAGING_OFFSET)
        err = next_counted(paging, position, seen, ret_position);
    else if (paging->kind == REST_PAGING_LINK)
        err = next_linked(seen, ret_position, ret_warning);
    else if (paging->kind == REST_PAGING_CURSOR)
        err = next_cursor(paging, seen, ret_position, ret_warning);
    if (err != ERR_OK || ret_position->size == 0)
        return err == ERR_TOO_LARGE ? ERR_OK : err;
    if (bytes_equal(buf_bytes(ret_position), position) ||
        (is_address(buf_bytes(ret_position)) &&
         bytes_equal_text(buf_bytes(ret_position), seen->url)))
        *ret_warning = "the next page is the same page again; the poll ends there";
    if (*ret_warning)
        buf_clear(ret_position);
    return ERR_OK;
}
