#include "metadata/change_text.h"

#include "codec/base64.h"
#include "codec/compression.h"

/* The form of the text, its first character: another one for another dictionary, or what an older
 * text says would be read wrongly. */
#define TEXT_FORM '1'

/* What most changes have, as they have it: the fields of ours at the end, which are in each. */
#define NO_SAMPLES "\0\0\0\0\0\0\0\0\x08\0\0"
#define SAMPLE     "\0\0\0\0\0\0\0\0\x08\0\x01"
static const char dictionary[] =
    "\x09\0\0\0sensor_id" NO_SAMPLES "\x08\0\0\0location" NO_SAMPLES "\x03\0\0\0qos" NO_SAMPLES
    "\x06\0\0\0retain" NO_SAMPLES "\x05\0\0\0topic" SAMPLE "\x06\0\0\0broker" SAMPLE
    "\x12\0\0\0original_source_id" SAMPLE "\x0c\0\0\0resource_uri" SAMPLE
    "\x09\0\0\0coap_code" SAMPLE "\x0e\0\0\0content_format" SAMPLE "\x0a\0\0\0source_url" SAMPLE
    "\x0b\0\0\0http_status" NO_SAMPLES "\x0f\0\0\0fetch_timestamp" SAMPLE "\x06\0\0\0method" SAMPLE
    "\x0b\0\0\0temperature" NO_SAMPLES "\x06\0\0\0remote" SAMPLE "\x09\0\x31\x32\x37.0.0.1"
    "\x0c\0\0\0content_type" SAMPLE "\x10\0application/json"
    "\x0c\0\0\0ingestion_id" SAMPLE "\x0b\0\0\0source_type" SAMPLE "\x09\0http_push\x04\0mqtt"
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
    "\x09\0\0\0timestamp" SAMPLE " \0"
    "2026-11-30T00:00:00.000000+00:00"
    "\x13\0\0\0ingestion_timestamp\0\0\0\0\0\0\0\0\0\0\x01 \0"
    "+00:00\0\0\0\0\x01\0\0\0\0";

static struct bytes known(void)
{
    return bytes_from(dictionary, sizeof(dictionary) - 1);
}

enum err change_text_append(struct buf *text, struct bytes encoded)
{
    struct buf packed;
    buf_init(&packed, 2 * text->size_max);
    enum err err = zstd_pack(encoded, known(), &packed);
    if (err == ERR_OK)
        err = buf_byte(text, TEXT_FORM);
    if (err == ERR_OK)
        err = base64_append(text, buf_bytes(&packed));
    buf_fini(&packed);
    return err;
}

enum err change_text_read(struct bytes text, struct buf *encoded)
{
    struct buf packed;
    if (text.size == 0 || text.data[0] != TEXT_FORM)
        return ERR_CORRUPT;
    buf_init(&packed, text.size);
    enum err err = base64_decode(&packed, bytes_from(text.data + 1, text.size - 1));
    if (err == ERR_OK)
        err = zstd_unpack(buf_bytes(&packed), known(), encoded);
    buf_fini(&packed);
    return err;
}
