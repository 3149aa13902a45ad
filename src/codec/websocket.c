#include "codec/websocket.h"

#include "codec/base64.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

/* --- the upgrade -------------------------------------------------------------------------------
 */

enum err websocket_request(struct buf *out, const char *host, uint16_t port, bool is_tls,
                           const char *path, const uint8_t key[WEBSOCKET_KEY_BYTES])
{
    bool is_address_6 = strchr(host, ':') != NULL;
    buf_printf(out, "GET %s HTTP/1.1\r\nHost: %s%s%s", path, is_address_6 ? "[" : "", host,
               is_address_6 ? "]" : "");
    if (port != (is_tls ? 443 : 80))
        buf_printf(out, ":%u", port);
    buf_text(out, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
    base64_append(out, bytes_from(key, WEBSOCKET_KEY_BYTES));
    return buf_text(out, "\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n");
}

/* What Sec-WebSocket-Accept has to be (§4.2.2). */
static enum err accept_expected(const uint8_t key[WEBSOCKET_KEY_BYTES], struct buf *ret_text)
{
    struct buf text;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    buf_init(&text, 100);
    base64_append(&text, bytes_from(key, WEBSOCKET_KEY_BYTES));
    buf_text(&text, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    enum err err = text.err;
    if (err == ERR_OK && EVP_Digest(text.data, text.size, digest, &size, EVP_sha1(), NULL) != 1)
        err = ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = base64_append(ret_text, bytes_from(digest, size));
    buf_fini(&text);
    return err;
}

/* The next line without its end; false: there is none, or its end is not there. */
static bool line_next(struct bytes *in, struct bytes *ret_line)
{
    const uint8_t *end = in->size > 0 ? memchr(in->data, '\n', in->size) : NULL;
    if (!end)
        return false;
    size_t size = (size_t)(end - in->data);
    *ret_line = bytes_from(in->data, size > 0 && end[-1] == '\r' ? size - 1 : size);
    in->data += size + 1;
    in->size -= size + 1;
    return true;
}

static struct bytes trim(struct bytes text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t'))
        text.size--;
    return text;
}

static bool equal_any_case(struct bytes text, const char *word)
{
    return text.size == strlen(word) && strncasecmp((const char *)text.data, word, text.size) == 0;
}

/* Whether a comma-separated list has the word. */
static bool list_has(struct bytes list, const char *word)
{
    while (list.size > 0) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t size = comma ? (size_t)(comma - list.data) : list.size;
        if (equal_any_case(trim(bytes_from(list.data, size)), word))
            return true;
        size += comma != NULL;
        list.data += size;
        list.size -= size;
    }
    return false;
}

struct answer {
    bool upgrades;
    bool connects;
    struct bytes accept;
    struct bytes protocol;
    struct bytes extensions;
    struct bytes location;
};

static void header_take(struct answer *answer, struct bytes line)
{
    const uint8_t *colon = line.size > 0 ? memchr(line.data, ':', line.size) : NULL;
    if (!colon)
        return;
    size_t size = (size_t)(colon - line.data);
    struct bytes name = bytes_from(line.data, size);
    struct bytes value = trim(bytes_from(colon + 1, line.size - size - 1));
    if (equal_any_case(name, "Upgrade"))
        answer->upgrades = list_has(value, "websocket");
    else if (equal_any_case(name, "Connection"))
        answer->connects = answer->connects || list_has(value, "upgrade");
    else if (equal_any_case(name, "Sec-WebSocket-Accept"))
        answer->accept = value;
    else if (equal_any_case(name, "Sec-WebSocket-Protocol"))
        answer->protocol = value;
    else if (equal_any_case(name, "Sec-WebSocket-Extensions"))
        answer->extensions = value;
    else if (equal_any_case(name, "Location"))
        answer->location = value;
}

/* At most 100 printable bytes of what the other side wrote. */
static const char *quote(struct bytes text, char room[101])
{
    size_t size = text.size < 100 ? text.size : 100;
    for (size_t i = 0; i < size; i++)
        room[i] = (char)(text.data[i] >= ' ' && text.data[i] < 0x7f ? text.data[i] : '?');
    room[size] = 0;
    return room;
}

static enum err status_refused(unsigned status, const struct answer *answer, struct diag *diag)
{
    char room[101];
    switch (status) {
    case 401:
    case 403:
        return diag_set(diag, ERR_AUTH,
                        "it answered the WebSocket upgrade with HTTP %u: it wants credentials that "
                        "WebSocket cannot give here, or this client is not allowed",
                        status);
    case 404:
        return diag_set(diag, ERR_REFUSED,
                        "it answered the WebSocket upgrade with HTTP 404: correct the path in "
                        "websocket");
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
        return diag_set(diag, ERR_BUSY, "it answered the WebSocket upgrade with HTTP %u", status);
    default:
        break;
    }
    if (status / 100 == 3 && answer->location.size > 0)
        return diag_set(diag, ERR_REFUSED,
                        "it answered the WebSocket upgrade with HTTP %u: connect to %s instead",
                        status, quote(answer->location, room));
    return diag_set(diag, ERR_REFUSED,
                    "it answered the WebSocket upgrade with HTTP %u; is this a WebSocket port, and "
                    "the path in websocket right?",
                    status);
}

static enum err upgrade_check(const struct answer *answer, const uint8_t key[WEBSOCKET_KEY_BYTES],
                              struct diag *diag)
{
    char room[101];
    struct buf expected;
    if (!answer->upgrades || !answer->connects)
        return diag_set(diag, ERR_PROTOCOL, "it did not upgrade to WebSocket (RFC 6455 §4.1)");
    if (answer->extensions.size > 0)
        return diag_set(diag, ERR_PROTOCOL, "it chose a WebSocket extension nobody asked for: %s",
                        quote(answer->extensions, room));
    if (answer->protocol.size > 0 && !equal_any_case(answer->protocol, "mqtt"))
        return diag_set(diag, ERR_PROTOCOL, "its WebSocket does not speak mqtt but %s",
                        quote(answer->protocol, room));
    buf_init(&expected, 100);
    enum err err = accept_expected(key, &expected);
    if (err == ERR_OK && !bytes_equal(buf_bytes(&expected), answer->accept))
        err = diag_set(diag, ERR_PROTOCOL,
                       "its Sec-WebSocket-Accept is wrong: something between answers in its place");
    buf_fini(&expected);
    return err;
}

/* "HTTP/1.1 101 …" */
static bool status_read(struct bytes line, unsigned *ret_status)
{
    if (line.size < 12 || memcmp(line.data, "HTTP/1.", 7) != 0 || line.data[8] != ' ')
        return false;
    *ret_status = 0;
    for (int i = 9; i < 12; i++) {
        if (line.data[i] < '0' || line.data[i] > '9')
            return false;
        *ret_status = *ret_status * 10 + (unsigned)(line.data[i] - '0');
    }
    return true;
}

enum err websocket_answer(struct bytes in, const uint8_t key[WEBSOCKET_KEY_BYTES], size_t *ret_size,
                          struct diag *diag)
{
    static const char word[] = "HTTP/1.";
    size_t known = in.size < 7 ? in.size : 7;
    if (known > 0 && memcmp(in.data, word, known) != 0)
        return diag_set(diag, ERR_PROTOCOL,
                        "what answers there is no HTTP; is websocket meant for this port?");
    struct answer answer = {0};
    struct bytes rest = in;
    struct bytes line;
    unsigned status = 0;
    if (!line_next(&rest, &line))
        return ERR_AGAIN;
    if (!status_read(line, &status))
        return diag_set(diag, ERR_PROTOCOL, "its HTTP answer has no status");
    for (;;) {
        if (!line_next(&rest, &line))
            return ERR_AGAIN;
        if (line.size == 0)
            break;
        header_take(&answer, line);
    }
    *ret_size = in.size - rest.size;
    if (status != 101)
        return status_refused(status, &answer, diag);
    return upgrade_check(&answer, key, diag);
}

/* --- frames ------------------------------------------------------------------------------------
 */

enum err websocket_frame(struct buf *out, enum websocket_opcode opcode, struct bytes payload,
                         const uint8_t mask[WEBSOCKET_MASK_BYTES])
{
    enum err err = buf_reserve(out, payload.size + 14);
    if (err != ERR_OK)
        return err;
    uint8_t *to = out->data + out->size;
    *to++ = (uint8_t)(0x80u | opcode);
    if (payload.size < 126) {
        *to++ = (uint8_t)(0x80u | payload.size);
    } else if (payload.size <= UINT16_MAX) {
        *to++ = 0x80u | 126;
        *to++ = (uint8_t)(payload.size >> 8);
        *to++ = (uint8_t)payload.size;
    } else {
        *to++ = 0x80u | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            *to++ = (uint8_t)((uint64_t)payload.size >> shift);
    }
    memcpy(to, mask, WEBSOCKET_MASK_BYTES);
    to += WEBSOCKET_MASK_BYTES;
    for (size_t i = 0; i < payload.size; i++)
        to[i] = payload.data[i] ^ mask[i & 3];
    out->size = (size_t)(to - out->data) + payload.size;
    return ERR_OK;
}

static enum err broken(struct diag *diag, const char *what)
{
    return diag_set(diag, ERR_PROTOCOL, "it broke WebSocket's rules: %s", what);
}

static bool is_control(uint8_t opcode)
{
    return opcode >= 8;
}

static enum err opcode_check(const struct websocket_reader *reader, struct diag *diag)
{
    switch (reader->opcode) {
    case WEBSOCKET_CONTINUATION:
        return reader->in_message ? ERR_OK
                                  : broken(diag, "a continuation of nothing (RFC 6455 §5.4)");
    case WEBSOCKET_BINARY:
        return reader->in_message
                   ? broken(diag, "a message within another's fragments (RFC 6455 §5.4)")
                   : ERR_OK;
    case WEBSOCKET_TEXT:
        return broken(diag, "a text frame, where MQTT allows binary ones only (MQTT 5 §6)");
    case WEBSOCKET_CLOSE:
    case WEBSOCKET_PING:
    case WEBSOCKET_PONG:
        return reader->is_final ? ERR_OK : broken(diag, "a control frame in parts (RFC 6455 §5.5)");
    default:
        return broken(diag, "an opcode that means nothing (RFC 6455 §5.2)");
    }
}

/* How long the header is, as far as its first two bytes tell. */
static uint8_t header_size(const struct websocket_reader *reader)
{
    if (reader->header_size < 2)
        return 2;
    uint8_t size = reader->header[1] & 0x7f;
    return size == 126 ? 4 : size == 127 ? 10 : 2;
}

static enum err header_read(struct websocket_reader *reader, struct diag *diag)
{
    const uint8_t *header = reader->header;
    uint64_t size = header[1] & 0x7f;
    reader->is_final = header[0] & 0x80;
    reader->opcode = header[0] & 0x0f;
    if (header[0] & 0x70)
        return broken(diag, "reserved bits that nobody agreed on (RFC 6455 §5.2)");
    if (header[1] & 0x80)
        return broken(diag, "a masked frame, which a server must not send (RFC 6455 §5.1)");
    if (size == 126) {
        size = (uint64_t)header[2] << 8 | header[3];
    } else if (size == 127) {
        size = 0;
        for (int i = 2; i < 10; i++)
            size = size << 8 | header[i];
    }
    if (size >> 63)
        return broken(diag, "a length of 2^63 and more (RFC 6455 §5.2)");
    if (is_control(reader->opcode) && size > WEBSOCKET_CONTROL_BYTES_MAX)
        return broken(diag, "a control frame over 125 bytes (RFC 6455 §5.5)");
    enum err err = opcode_check(reader, diag);
    if (err != ERR_OK)
        return err;
    if (!is_control(reader->opcode))
        reader->in_message = !reader->is_final;
    reader->left = size;
    reader->in_payload = true;
    reader->control_size = 0;
    return ERR_OK;
}

static struct bytes take(struct bytes *in, uint64_t size_max)
{
    size_t size = in->size < size_max ? in->size : (size_t)size_max;
    struct bytes taken = bytes_from(in->data, size);
    in->data += size;
    in->size -= size;
    return taken;
}

static void frame_end(struct websocket_reader *reader)
{
    reader->in_payload = false;
    reader->header_size = 0;
    reader->is_closed = reader->opcode == WEBSOCKET_CLOSE;
}

/* True: *ret_event is set. */
static bool payload_read(struct websocket_reader *reader, struct bytes *in,
                         struct websocket_event *ret_event)
{
    struct bytes piece = take(in, reader->left);
    reader->left -= piece.size;
    if (!is_control(reader->opcode)) {
        *ret_event = (struct websocket_event){WEBSOCKET_BINARY, piece};
        if (reader->left == 0)
            frame_end(reader);
        return piece.size > 0;
    }
    if (piece.size > 0)
        memcpy(reader->control + reader->control_size, piece.data, piece.size);
    reader->control_size = (uint8_t)(reader->control_size + piece.size);
    if (reader->left > 0)
        return false;
    *ret_event = (struct websocket_event){(enum websocket_opcode)reader->opcode,
                                          bytes_from(reader->control, reader->control_size)};
    frame_end(reader);
    return true;
}

enum err websocket_read(struct websocket_reader *reader, struct bytes *in,
                        struct websocket_event *ret_event, struct diag *diag)
{
    for (;;) {
        if (reader->is_closed)
            (void)take(in, UINT64_MAX);
        if (reader->in_payload && payload_read(reader, in, ret_event))
            return ERR_OK;
        if (reader->in_payload || reader->is_closed) {
            if (in->size == 0)
                return ERR_AGAIN;
            continue;
        }
        struct bytes piece = take(in, (uint64_t)header_size(reader) - reader->header_size);
        if (piece.size == 0)
            return ERR_AGAIN;
        memcpy(reader->header + reader->header_size, piece.data, piece.size);
        reader->header_size = (uint8_t)(reader->header_size + piece.size);
        if (reader->header_size < 2 || reader->header_size < header_size(reader))
            continue;
        enum err err = header_read(reader, diag);
        if (err != ERR_OK)
            return err;
    }
}
