/* Payloads through batch_append and batch_cut, with a catalog in memory and a writer that checks
 * the levels (support/fake_parquet.h). Payloads are parted by a zero byte; a first byte 0x01 of one
 * makes a cut after it, other low ones choose a format. */
#include "support/batch_rig.h"
#include "support/fake_parquet.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int condition)
{
    if (!condition)
        abort();
}

static void cut(struct rig *rig)
{
    struct batch_stats stats;
    batch_stats_get(rig->batch, &stats);
    struct cut made;
    check(batch_cut(rig->batch, &made, NULL) == ERR_OK);
    uint64_t rows = 0;
    uint64_t dead = 0;
    for (size_t i = 0; i < made.file_count; i++)
        *(made.files[i].dead_letters ? &dead : &rows) += made.files[i].rows;
    check(rows == stats.rows && dead == stats.rejected);
    cut_fini(&made);
}

static void payload(struct rig *rig, struct bytes text)
{
    bool cuts = false;
    rig->route.format = CONTENT_AUTO;
    if (text.size > 0 && text.data[0] < 9) {
        cuts = text.data[0] == 1;
        rig->route.format = cuts ? CONTENT_AUTO : (enum content_format)text.data[0];
        text = bytes_from(text.data + 1, text.size - 1);
    }
    check(rig_block(rig) == ERR_OK);
    check(rig_message(rig, text, 0) == ERR_OK);
    check(rig_append(rig) == ERR_OK);
    if (cuts)
        cut(rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig rig;
    check(rig_init(&rig) == ERR_OK && rig_batch(&rig) == ERR_OK);
    while (size > 0) {
        const uint8_t *end = memchr(data, 0, size);
        size_t length = end ? (size_t)(end - data) : size;
        payload(&rig, bytes_from(data, length));
        length += end != NULL;
        data += length;
        size -= length;
    }
    cut(&rig);
    rig_fini(&rig);
    return 0;
}
