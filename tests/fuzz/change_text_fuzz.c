/* Any bytes as a footer's text of its cut's metadata, and as what such a text unpacks to (that no
 * mutation of packed ones reaches): errors, never crashes; what is read can be merged and is itself
 * again when it is written and read anew. */
#include "base/limits.h"
#include "metadata/change.h"
#include "metadata/change_text.h"

#include <assert.h>
#include <string.h>

#define TEXT_BYTES_MAX (8 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encode(const struct change *change, struct buf *out)
{
    buf_init(out, TEXT_BYTES_MAX);
    change_encode(change, out);
    assert(out->err == ERR_OK);
}

/* Twice the same says nothing new, and counts twice. */
static void merge(const struct change *change)
{
    struct change sum;
    change_init(&sum);
    for (int i = 0; i < 2; i++)
        assert(change_merge(&sum, change) == ERR_OK);
    assert(sum.records == 2 * change->records);
    assert(sum.field_count == change->field_count);
    assert(sum.sensor_count == change->sensor_count);
    change_fini(&sum);
}

static void decode(struct bytes encoded)
{
    struct change change, again;
    struct buf first, second;
    change_init(&change);
    if (change_decode(&change, encoded) == ERR_OK) {
        encode(&change, &first);
        change_init(&again);
        assert(change_decode(&again, buf_bytes(&first)) == ERR_OK);
        encode(&again, &second);
        assert(bytes_equal(buf_bytes(&first), buf_bytes(&second)));
        merge(&change);
        change_fini(&again);
        buf_fini(&first);
        buf_fini(&second);
    }
    (void)change_first_block(encoded);
    change_fini(&change);
}

static void write_and_read(struct bytes encoded, struct bytes column)
{
    struct buf text, unpacked;
    struct change_text said;
    buf_init(&text, TEXT_BYTES_MAX);
    buf_init(&unpacked, TEXT_BYTES_MAX);
    assert(change_text_append(&text, encoded, column) == ERR_OK);
    assert(change_text_read(buf_bytes(&text), &unpacked, &said) == ERR_OK);
    assert(bytes_equal(said.encoded, encoded) && bytes_equal(said.column, column));
    buf_fini(&text);
    buf_fini(&unpacked);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = bytes_from(data, size);
    struct buf unpacked;
    struct change_text said;
    buf_init(&unpacked, MIB);
    if (change_text_read(bytes, &unpacked, &said) == ERR_OK) {
        decode(said.encoded);
        write_and_read(said.encoded, said.column);
    } else {
        decode(bytes);
        write_and_read(bytes, bytes_from(data, size < 64 ? size : 64));
    }
    assert(unpacked.size <= MIB);
    buf_fini(&unpacked);
    return 0;
}
