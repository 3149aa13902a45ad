#include "connectors/coap/coap_core_links.h"

#include "codec/utf8.h"
#include "connectors/coap/coap_config.h"

#include <ctype.h>

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* To behind the link whose target ends at `at`: a comma outside of quotes ends it. *whole is made
 * false when no link goes on so. */
static size_t link_end(struct bytes text, size_t at, bool *whole)
{
    bool in_quotes = false;
    while (at < text.size && is_space(text.data[at]))
        at++;
    if (at < text.size && text.data[at] != ';' && text.data[at] != ',')
        *whole = false;
    for (; at < text.size; at++) {
        uint8_t c = text.data[at];
        if (in_quotes && c == '\\')
            at++;
        else if (c == '"')
            in_quotes = !in_quotes;
        else if (c == ',' && !in_quotes)
            return at + 1;
    }
    *whole = *whole && !in_quotes;
    return text.size;
}

static struct bytes path_of(struct bytes target)
{
    while (target.size > 0 && target.data[0] == '/') {
        target.data++;
        target.size--;
    }
    return target;
}

bool coap_core_links_each(struct bytes text, bool (*on_path)(void *ctx, struct bytes path),
                          void *ctx)
{
    bool whole = true;
    for (size_t at = 0; at < text.size;) {
        if (text.data[at] != '<') {
            whole = whole && is_space(text.data[at]);
            at++;
            continue;
        }
        const uint8_t *start = text.data + at + 1;
        const uint8_t *end = memchr(start, '>', text.size - at - 1);
        if (!end)
            return false;
        struct bytes target = bytes_from(start, (size_t)(end - start));
        bool is_own = target.size > 1 && target.data[0] == '/' && target.data[1] != '/';
        if (is_own && !on_path(ctx, path_of(target)))
            return false;
        at = link_end(text, (size_t)(end - text.data) + 1, &whole);
    }
    return whole;
}

static bool is_escape(struct bytes path, size_t at)
{
    const uint8_t *digits = path.data + at + 1;
    return path.size - at > 2 && isxdigit(digits[0]) && isxdigit(digits[1]) &&
           (digits[0] != '0' || digits[1] != '0');
}

bool coap_core_links_usable(struct bytes path)
{
    size_t part = 0, parts = 1;
    for (size_t i = 0; i < path.size; i++) {
        uint8_t c = path.data[i];
        bool ends = c == '/' || c == '&' || c == '?';
        part = ends ? 0 : part + 1;
        parts += ends;
        if (c <= ' ' || c == '#' || c == 0x7f || (c == '%' && !is_escape(path, i)) ||
            part > COAP_SEGMENT_BYTES_MAX || parts > COAP_SEGMENTS_MAX)
            return false;
    }
    return path.size > 0 && path.size <= COAP_PATH_BYTES_MAX && utf8_valid(path);
}

bool coap_core_links_match(const char *pattern, struct bytes path)
{
    const char *after_star = NULL;
    size_t at = 0, retry = 0;
    while (at < path.size) {
        if (*pattern == '*') {
            after_star = ++pattern;
            retry = at;
        } else if (*pattern && (uint8_t)*pattern == path.data[at]) {
            pattern++;
            at++;
        } else if (after_star) {
            pattern = after_star;
            at = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}
