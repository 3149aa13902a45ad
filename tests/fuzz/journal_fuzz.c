/*
 * Recovery over mutated segments: a good journal of three segments on a simulated disk, into which
 * the input's bytes are written: each 4 bytes are file, where (16 bits), what. Odd inputs then get
 * the checksums of all blocks put right, so that nonsense reaches the ledger. Recovery must open it
 * or refuse with a sentence, replay must end, and what was opened must take a block and open again.
 */
#include "base/alloc.h"
#include "base/crc32c.h"
#include "journal/core.h"
#include "support/sim_disk.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEGMENT_BYTES (24 * KIB)

static struct journal_options options_of(struct sim_disk *disk)
{
    return (struct journal_options){.fs = sim_disk_fs(disk),
                                    .clock = sim_disk_clock(disk),
                                    .folder = "/j",
                                    .size_max_bytes = 16 * SEGMENT_BYTES,
                                    .segment_bytes = SEGMENT_BYTES};
}

static void must(bool good)
{
    if (!good)
        abort();
}

static struct block *block_make(uint32_t index)
{
    struct block *block = NULL;
    struct buf body;
    uint32_t route_index;
    struct route_view route = {.source_id = BYTES_LITERAL("s"), .dataset_id = BYTES_LITERAL("d")};
    struct message_view message = {.payload = BYTES_LITERAL("{}"),
                                   .flags = MESSAGE_IDENTITY,
                                   .packet_identifier = (uint16_t)index};
    buf_init(&body, 4096);
    must(block_new(4096, &block) == ERR_OK);
    must(route_encode(&route, &body) == ERR_OK);
    must(block_add_route(block, buf_bytes(&body), 1, &route_index) == ERR_OK);
    must(block_add_message(block, &message) == ERR_OK);
    buf_clear(&body);
    must(record_state_encode(&body, route.source_id, BYTES_LITERAL("k"), BYTES_LITERAL("v")) ==
         ERR_OK);
    must(block_add_record(block, RECORD_STATE, buf_bytes(&body)) == ERR_OK);
    buf_fini(&body);
    return block;
}

static enum err append(struct core *core, uint32_t index)
{
    struct block *block = block_make(index);
    struct core_item item = {.block = block, .kind = BLOCK_DATA};
    size_t done;
    enum err err = core_append(core, &item, 1, &done, NULL);
    block_unref(block);
    return err;
}

static void mutate(struct sim_disk *disk, const uint8_t *data, size_t size)
{
    const struct fs *fs = sim_disk_fs(disk);
    char path[64];
    for (size_t i = 0; i + 4 <= size && i < 4096; i += 4) {
        struct fs_file *file = NULL;
        snprintf(path, sizeof(path), "/j/segment-%06u", data[i] % 4u);
        if (fs_open(fs, path, FS_WRITE, &file, NULL) != ERR_OK)
            continue;
        must(fs_write(fs, file, load_u16(data + i + 1) % SEGMENT_BYTES, data + i + 3, 1, NULL) ==
             ERR_OK);
        fs_close(fs, file);
    }
}

static void checksums_mend(struct sim_disk *disk)
{
    const struct fs *fs = sim_disk_fs(disk);
    static uint8_t image[SEGMENT_BYTES];
    char path[64];
    for (unsigned slot = 0; slot < 4; slot++) {
        struct fs_file *file = NULL;
        size_t size;
        snprintf(path, sizeof(path), "/j/segment-%06u", slot);
        if (fs_open(fs, path, FS_WRITE, &file, NULL) != ERR_OK)
            continue;
        must(fs_read(fs, file, 0, image, sizeof(image), &size, NULL) == ERR_OK);
        if (size == sizeof(image)) {
            store_u32(image + 8, crc32c(0, image + 16, 240));
            for (size_t at = 4096; at + 4096 <= size; at += 4096) {
                uint32_t block = load_u32(image + at + 32);
                if (load_u32(image + at) == BLOCK_MAGIC && block >= 64 && block <= size - at)
                    store_u32(image + at + 4, crc32c(0, image + at + 8, block - 8));
            }
            must(fs_write(fs, file, 0, image, size, NULL) == ERR_OK);
        }
        fs_close(fs, file);
    }
}

static enum err on_block(void *ctx, struct block *block)
{
    *(uint64_t *)ctx += block->message_count;
    return ERR_OK;
}

static void check(struct sim_disk *disk)
{
    for (int round = 0; round < 2; round++) {
        struct journal_options options = options_of(disk);
        struct core core;
        struct diag diag = {0};
        uint64_t messages = 0;
        enum err err = core_open(&core, &options, &diag);
        if (err != ERR_OK) {
            must(diag.text[0] != '\0');
            return;
        }
        (void)core_redo(&core, 1);
        err = core_replay(&core, on_block, &messages, &diag);
        must(err == ERR_OK || diag.text[0] != '\0');
        must(append(&core, 9) == ERR_OK);
        core_fini(&core);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_disk *disk = sim_disk_new(1, 64 * MIB);
    struct journal_options options = options_of(disk);
    struct core core;
    must(core_open(&core, &options, NULL) == ERR_OK);
    for (uint32_t i = 0; i < 9; i++)
        must(append(&core, i) == ERR_OK);
    core_fini(&core);
    mutate(disk, data, size);
    if (size % 2)
        checksums_mend(disk);
    check(disk);
    sim_disk_free(disk);
    return 0;
}
