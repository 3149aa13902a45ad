#include "connectors/coap/coap_core_links.h"

/* To behind the link that begins at `at`: a comma outside of quotes ends it. */
static size_t link_end(struct bytes text, size_t at)
{
    bool in_quotes = false;
    for (; at < text.size; at++) {
        uint8_t c = text.data[at];
        if (in_quotes && c == '\\')
            at++;
        else if (c == '"')
            in_quotes = !in_quotes;
        else if (c == ',' && !in_quotes)
            return at + 1;
    }
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

void coap_core_links_each(struct bytes text, bool (*on_path)(void *ctx, struct bytes path),
                          void *ctx)
{
    for (size_t at = 0; at < text.size;) {
        if (text.data[at] != '<') { /* white space, or what should not be there */
            at++;
            continue;
        }
        const uint8_t *start = text.data + at + 1;
        const uint8_t *end = memchr(start, '>', text.size - at - 1);
        if (!end)
            return;
        struct bytes target = bytes_from(start, (size_t)(end - start));
        bool is_own = target.size > 1 && target.data[0] == '/' && target.data[1] != '/';
        if (is_own && !on_path(ctx, path_of(target)))
            return;
        at = link_end(text, (size_t)(end - text.data) + 1);
    }
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
