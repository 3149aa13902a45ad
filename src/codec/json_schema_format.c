#include "codec/json_schema_format.h"

#include "codec/idna.h"

#include <arpa/inet.h>
#include <strings.h>

struct format {
    const char *name;
    const char *wish;
    bool (*holds)(struct bytes text);
    enum err (*check)(struct bytes text); /* for what holds: may need memory; NULL: nothing more */
};

static bool is_letter(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* c, or one of those in set; never NUL. */
static bool is_one_of(uint8_t c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

static struct bytes from(struct bytes text, size_t at)
{
    return bytes_from(text.data + at, text.size - at);
}

static struct bytes until(struct bytes text, size_t at)
{
    return bytes_from(text.data, at);
}

/* Where the first of the characters in set stands, or the size. */
static size_t find_one_of(struct bytes text, const char *set)
{
    size_t i = 0;
    while (i < text.size && !is_one_of(text.data[i], set))
        i++;
    return i;
}

/* inet_pton wants a C string; no address is longer. */
static bool is_address(int family, struct bytes text)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t address[16];
    if (text.size >= sizeof(copy) || (text.size > 0 && memchr(text.data, 0, text.size)))
        return false;
    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    return inet_pton(family, copy, address) == 1;
}

static bool is_ipv4(struct bytes text)
{
    return is_address(AF_INET, text);
}

static bool is_ipv6(struct bytes text)
{
    return is_address(AF_INET6, text);
}

static bool is_label(struct bytes label)
{
    if (label.size == 0 || label.size > 63)
        return false;
    for (size_t i = 0; i < label.size; i++)
        if (!is_letter(label.data[i]) && !is_digit(label.data[i]) && label.data[i] != '-')
            return false;
    return label.data[0] != '-' && label.data[label.size - 1] != '-';
}

/* Takes the label before the next dot off the text; false when there was none left. */
static bool next_label(struct bytes *text, struct bytes *ret_label)
{
    if (!text->data)
        return false;
    size_t dot = find_one_of(*text, ".");
    *ret_label = until(*text, dot);
    *text = dot < text->size ? from(*text, dot + 1) : (struct bytes){0};
    return true;
}

static bool is_hostname(struct bytes text)
{
    struct bytes label;
    if (text.size == 0 || text.size > 253)
        return false;
    while (next_label(&text, &label))
        if (!is_label(label))
            return false;
    return true;
}

static enum err check_hostname(struct bytes text)
{
    struct bytes label;
    enum err err = ERR_OK;
    while (err == ERR_OK && next_label(&text, &label))
        if (label.size >= 4 && strncasecmp((const char *)label.data, "xn--", 4) == 0)
            err = idna_label_check(from(label, 4));
    return err;
}

/* Only unreserved characters, sub-delims, percent-encodings and those in extra (RFC 3986 §2). */
static bool is_encoded(struct bytes text, const char *extra)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '%') {
            if (text.size - i < 3 || !is_hex(text.data[i + 1]) || !is_hex(text.data[i + 2]))
                return false;
            i += 2;
        } else if (!is_letter(c) && !is_digit(c) && !is_one_of(c, "-._~!$&'()*+,;=") &&
                   !is_one_of(c, extra)) {
            return false;
        }
    }
    return true;
}

static bool is_scheme(struct bytes text)
{
    if (text.size == 0 || !is_letter(text.data[0]))
        return false;
    for (size_t i = 1; i < text.size; i++)
        if (!is_letter(text.data[i]) && !is_digit(text.data[i]) && !is_one_of(text.data[i], "+-."))
            return false;
    return true;
}

/* "v1.something" (RFC 3986 §3.2.2) */
static bool is_future_address(struct bytes text)
{
    size_t dot = find_one_of(text, ".");
    if (text.size < 4 || (text.data[0] | 0x20) != 'v' || dot < 2 || dot + 1 >= text.size)
        return false;
    for (size_t i = 1; i < dot; i++)
        if (!is_hex(text.data[i]))
            return false;
    return find_one_of(text, "%") == text.size && is_encoded(from(text, dot + 1), ":");
}

static bool is_port(struct bytes text)
{
    if (text.size == 0)
        return true;
    for (size_t i = 1; i < text.size; i++)
        if (!is_digit(text.data[i]))
            return false;
    return text.data[0] == ':';
}

static bool is_authority(struct bytes text)
{
    size_t at = find_one_of(text, "@");
    if (at < text.size) {
        if (!is_encoded(until(text, at), ":"))
            return false;
        text = from(text, at + 1);
    }
    if (text.size > 0 && text.data[0] == '[') {
        size_t end = find_one_of(text, "]");
        if (end == text.size)
            return false;
        struct bytes address = bytes_from(text.data + 1, end - 1);
        return (is_ipv6(address) || is_future_address(address)) && is_port(from(text, end + 1));
    }
    size_t colon = find_one_of(text, ":");
    return is_encoded(until(text, colon), "") && is_port(from(text, colon));
}

static bool is_uri(struct bytes text)
{
    size_t colon = find_one_of(text, ":");
    if (colon == text.size || !is_scheme(until(text, colon)))
        return false;
    text = from(text, colon + 1);
    size_t hash = find_one_of(text, "#");
    if (hash < text.size && !is_encoded(from(text, hash + 1), ":@/?"))
        return false;
    text = until(text, hash);
    size_t question = find_one_of(text, "?");
    if (question < text.size && !is_encoded(from(text, question + 1), ":@/?"))
        return false;
    text = until(text, question);
    if (text.size >= 2 && text.data[0] == '/' && text.data[1] == '/') {
        text = from(text, 2);
        size_t slash = find_one_of(text, "/");
        if (!is_authority(until(text, slash)))
            return false;
        text = from(text, slash);
    }
    return is_encoded(text, ":@/");
}

static const struct format formats[JSON_SCHEMA_FORMAT_COUNT] = {
    [JSON_SCHEMA_FORMAT_URI] = {"uri", "a URI such as https://example.org/path", is_uri, NULL},
    [JSON_SCHEMA_FORMAT_HOSTNAME] = {"hostname", "a host name such as broker.example.org",
                                     is_hostname, check_hostname},
    [JSON_SCHEMA_FORMAT_IPV4] = {"ipv4", "an IPv4 address such as 192.0.2.1", is_ipv4, NULL},
    [JSON_SCHEMA_FORMAT_IPV6] = {"ipv6", "an IPv6 address such as 2001:db8::1", is_ipv6, NULL},
};

enum json_schema_format json_schema_format_find(const char *name)
{
    for (size_t i = JSON_SCHEMA_FORMAT_URI; i < JSON_SCHEMA_FORMAT_COUNT; i++)
        if (strcmp(formats[i].name, name) == 0)
            return (enum json_schema_format)i;
    return JSON_SCHEMA_FORMAT_NONE;
}

const char *json_schema_format_wish(enum json_schema_format format)
{
    return formats[format].wish;
}

enum err json_schema_format_check(enum json_schema_format format, struct bytes text)
{
    if (!formats[format].holds(text))
        return ERR_INVALID;
    return formats[format].check ? formats[format].check(text) : ERR_OK;
}
