#include "metadata/change_text.h"

#include "codec/base64.h"
#include "codec/compression.h"
#include "journal/record.h"

/* The form of the text, its first character: another one for another dictionary, or what an older
 * text says would be read wrongly. Packed is in
 *   1: the change
 *   2: a column's name text16 | the change, whose sensors are those of the column */
#define TEXT_WHOLE      '1'
#define TEXT_AND_COLUMN '2'

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

static enum err form_append(struct buf *text, char form, struct bytes unpacked)
{
    struct buf packed;
    buf_init(&packed, 2 * text->size_max);
    enum err err = zstd_pack(unpacked, known(), &packed);
    if (err == ERR_OK)
        err = buf_byte(text, (uint8_t)form);
    if (err == ERR_OK)
        err = base64_append(text, buf_bytes(&packed));
    buf_fini(&packed);
    return err;
}

enum err change_text_append(struct buf *text, struct bytes encoded, struct bytes column)
{
    struct buf both;
    if (column.size == 0)
        return form_append(text, TEXT_WHOLE, encoded);
    buf_init(&both, 2 * text->size_max);
    record_append_text16(&both, column);
    buf_append(&both, encoded.data, encoded.size);
    enum err err =
        both.err == ERR_OK ? form_append(text, TEXT_AND_COLUMN, buf_bytes(&both)) : both.err;
    buf_fini(&both);
    return err;
}

enum err change_text_read(struct bytes text, struct buf *unpacked, struct change_text *ret_said)
{
    struct buf packed;
    if (text.size == 0 || (text.data[0] != TEXT_WHOLE && text.data[0] != TEXT_AND_COLUMN))
        return ERR_CORRUPT;
    buf_init(&packed, text.size);
    enum err err = base64_decode(&packed, bytes_from(text.data + 1, text.size - 1));
    if (err == ERR_OK)
        err = zstd_unpack(buf_bytes(&packed), known(), unpacked);
    buf_fini(&packed);
    *ret_said = (struct change_text){.encoded = buf_bytes(unpacked)};
    if (err != ERR_OK || text.data[0] == TEXT_WHOLE)
        return err;
    struct record_reader reader = record_reader_of(buf_bytes(unpacked));
    ret_said->column = record_text16(&reader);
    ret_said->encoded = bytes_from(reader.at, reader.left);
    return reader.bad || ret_said->column.size == 0 ? ERR_CORRUPT : ERR_OK;
}
