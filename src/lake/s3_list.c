#include "lake/s3_list.h"

#include "base/limits.h"
#include "codec/sigv4.h"
#include "codec/timestamp.h"

#include <stdio.h>

#define QUERY_MAX_BYTES (16 * KIB)
#define NAME_MAX_BYTES  (8 * KIB)
#define PAGES_MAX       (STORE_LIST_MAX / 100)

/* --- the little XML that stores answer with --- */

/* The content of the first <name> in xml from *at on; *at goes behind it. */
static bool xml_element(struct bytes xml, const char *name, size_t *at, struct bytes *ret_content)
{
    char tag[40];
    int length = snprintf(tag, sizeof(tag), "</%s>", name);
    if (*at >= xml.size)
        return false;
    /* "<name>" is the end tag without its slash */
    char open[40];
    snprintf(open, sizeof(open), "<%s>", name);
    size_t open_size = (size_t)length - 1;
    const uint8_t *begin = memmem(xml.data + *at, xml.size - *at, open, open_size);
    if (!begin)
        return false;
    begin += open_size;
    const uint8_t *end = memmem(begin, xml.size - (size_t)(begin - xml.data), tag, (size_t)length);
    if (!end)
        return false;
    *ret_content = bytes_from(begin, (size_t)(end - begin));
    *at = (size_t)(end - xml.data) + (size_t)length;
    return true;
}

static bool xml_child(struct bytes xml, const char *name, struct bytes *ret_content)
{
    size_t at = 0;
    return xml_element(xml, name, &at, ret_content);
}

/* The size of the entity at the front of text, 0: none that we know. */
static size_t xml_entity(struct bytes text, uint8_t *ret_byte)
{
    static const struct {
        const char *name;
        uint8_t byte;
    } entities[] = {{"&amp;", '&'},   {"&lt;", '<'},  {"&gt;", '>'},   {"&quot;", '"'},
                    {"&apos;", '\''}, {"&#34;", '"'}, {"&#39;", '\''}, {"&#43;", '+'}};
    for (size_t i = 0; i < sizeof(entities) / sizeof(entities[0]); i++) {
        size_t size = strlen(entities[i].name);
        if (text.size >= size && memcmp(text.data, entities[i].name, size) == 0) {
            *ret_byte = entities[i].byte;
            return size;
        }
    }
    return 0;
}

static int hex_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static enum err text_decode(struct bytes text, bool url_encoded, struct buf *out)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        size_t entity =
            byte == '&' ? xml_entity(bytes_from(text.data + i, text.size - i), &byte) : 0;
        if (entity > 0) {
            i += entity - 1;
        } else if (url_encoded && byte == '+') {
            byte = ' ';
        } else if (url_encoded && byte == '%' && text.size - i > 2 &&
                   hex_value(text.data[i + 1]) >= 0 && hex_value(text.data[i + 2]) >= 0) {
            byte = (uint8_t)(hex_value(text.data[i + 1]) << 4 | hex_value(text.data[i + 2]));
            i += 2;
        }
        buf_byte(out, byte);
    }
    return out->err;
}

/* --- a page --- */

struct page {
    const char *prefix;
    bool url_encoded;
    struct buf name;
    enum err (*on_entry)(void *ctx, const struct store_entry *entry);
    void *ctx;
};

static uint64_t size_parse(struct bytes text)
{
    uint64_t size = 0;
    for (size_t i = 0; i < text.size && i < 19 && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        size = size * 10 + (uint64_t)(text.data[i] - '0');
    return size;
}

static enum err entry_tell(struct page *page, struct bytes encoded, struct store_entry *entry)
{
    size_t prefix = strlen(page->prefix);
    buf_clear(&page->name);
    enum err err = text_decode(encoded, page->url_encoded, &page->name);
    if (err != ERR_OK)
        return err == ERR_NO_MEMORY ? err : ERR_PROTOCOL;
    if (page->name.size < prefix || memcmp(page->name.data, page->prefix, prefix) != 0)
        return ERR_PROTOCOL;
    size_t size = page->name.size - prefix;
    size -= entry->is_folder && size > 0;
    if (size == 0)
        return ERR_OK; /* the prefix itself, as some tools make it */
    entry->name = bytes_from(page->name.data + prefix, size);
    return page->on_entry(page->ctx, entry);
}

static enum err object_tell(struct page *page, struct bytes xml)
{
    struct store_entry entry = {0};
    struct bytes key;
    struct bytes text;
    if (!xml_child(xml, "Key", &key))
        return ERR_PROTOCOL;
    if (xml_child(xml, "Size", &text))
        entry.size_bytes = size_parse(text);
    if (xml_child(xml, "LastModified", &text))
        (void)timestamp_parse(text, &entry.modified_us);
    return entry_tell(page, key, &entry);
}

static enum err folder_tell(struct page *page, struct bytes xml)
{
    struct store_entry entry = {.is_folder = true};
    struct bytes prefix;
    return xml_child(xml, "Prefix", &prefix) ? entry_tell(page, prefix, &entry) : ERR_PROTOCOL;
}

static enum err page_each(struct page *page, struct bytes xml, const char *name, size_t *count,
                          enum err (*tell)(struct page *page, struct bytes xml))
{
    struct bytes element;
    size_t at = 0;
    enum err err = ERR_OK;
    while (err == ERR_OK && xml_element(xml, name, &at, &element))
        err = ++*count > STORE_LIST_MAX ? ERR_TOO_MANY : tell(page, element);
    return err;
}

enum err s3_list_page(struct bytes xml, const char *prefix,
                      enum err (*on_entry)(void *ctx, const struct store_entry *entry), void *ctx,
                      size_t *count, struct buf *ret_token)
{
    struct bytes text;
    struct page page = {.prefix = prefix, .on_entry = on_entry, .ctx = ctx};
    buf_clear(ret_token);
    if (!memmem(xml.data, xml.size, "ListBucketResult", 16))
        return ERR_PROTOCOL;
    page.url_encoded = xml_child(xml, "EncodingType", &text) && bytes_equal_text(text, "url");
    buf_init(&page.name, NAME_MAX_BYTES);
    enum err err = page_each(&page, xml, "Contents", count, object_tell);
    if (err == ERR_OK)
        err = page_each(&page, xml, "CommonPrefixes", count, folder_tell);
    buf_fini(&page.name);
    bool more = xml_child(xml, "IsTruncated", &text) && bytes_equal_text(text, "true");
    if (err == ERR_OK && more)
        err = xml_child(xml, "NextContinuationToken", &text) && text.size > 0
                  ? text_decode(text, false, ret_token)
                  : ERR_PROTOCOL;
    return err;
}

/* --- all pages --- */

static enum err on_body(void *ctx, struct bytes bytes)
{
    return buf_append(ctx, bytes.data, bytes.size);
}

static enum err query_make(const char *prefix, const struct buf *token, struct buf *query)
{
    enum err err = ERR_OK;
    buf_clear(query);
    if (token->size > 0) {
        buf_text(query, "continuation-token=");
        err = sigv4_encode_query(buf_bytes(token), query);
        buf_byte(query, '&');
    }
    buf_text(query, "delimiter=%2F&encoding-type=url&list-type=2&max-keys=1000&prefix=");
    if (err == ERR_OK)
        err = sigv4_encode_query(bytes_from_text(prefix), query);
    return err != ERR_OK ? err : query->err;
}

static enum err page_get(struct s3 *s3, const char *query, struct buf *body, struct diag *diag)
{
    struct http_response response;
    struct s3_call call = {.method = "GET", .query = query, .on_body = on_body, .ctx = body};
    buf_clear(body);
    http_response_init(&response);
    enum err err = s3_perform(s3, &call, &response, diag);
    if (err == ERR_OK)
        err = s3_error(s3, &call, &response, diag);
    char code[S3_CODE_SIZE];
    s3_error_code(&response, code);
    if (err == ERR_NOT_FOUND && strcmp(code, "NoSuchBucket") != 0)
        err = ERR_REFUSED; /* some stores say so of credentials that they do not know */
    http_response_fini(&response);
    return err;
}

/* ERR_NOT_FOUND: there is no bucket yet. */
static enum err pages_get(struct s3 *s3, const char *prefix,
                          enum err (*on_entry)(void *ctx, const struct store_entry *entry),
                          void *ctx, struct buf *token, struct diag *diag)
{
    struct buf query;
    struct buf body;
    size_t count = 0;
    enum err err = ERR_OK;
    buf_init(&query, QUERY_MAX_BYTES);
    buf_init(&body, S3_LIST_PAGE_BYTES);
    for (int pages = 0; err == ERR_OK && (pages == 0 || token->size > 0); pages++) {
        err = pages < PAGES_MAX ? query_make(prefix, token, &query) : ERR_TOO_MANY;
        const char *text = err == ERR_OK ? buf_cstr(&query) : NULL;
        if (err == ERR_OK)
            err = text ? page_get(s3, text, &body, diag) : ERR_NO_MEMORY;
        if (err == ERR_OK)
            err = s3_list_page(buf_bytes(&body), prefix, on_entry, ctx, &count, token);
    }
    buf_fini(&body);
    buf_fini(&query);
    return err;
}

enum err s3_list(struct s3 *s3, const char *prefix,
                 enum err (*on_entry)(void *ctx, const struct store_entry *entry), void *ctx,
                 struct diag *diag)
{
    struct buf token;
    struct diag ours = {0};
    buf_init(&token, NAME_MAX_BYTES);
    enum err err = pages_get(s3, prefix, on_entry, ctx, &token, &ours);
    buf_fini(&token);
    if (err == ERR_OK || err == ERR_NOT_FOUND)
        return ERR_OK;
    return diag_set(diag, err, "cannot list %.200s: %s", prefix,
                    ours.text[0] ? ours.text : err_text(err));
}
