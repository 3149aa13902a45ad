#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/core_rig.h"

#include "base/buf.h"
#include "base/hash.h"

#include <string.h>

struct sim_disk *rig_disk;
struct core rig_core;
uint64_t rig_spool;

static uint64_t spool_bytes(void *ctx)
{
    (void)ctx;
    return rig_spool;
}

struct journal_options rig_options(void)
{
    return (struct journal_options){.fs = sim_disk_fs(rig_disk),
                                    .clock = sim_disk_clock(rig_disk),
                                    .folder = FOLDER,
                                    .size_max_bytes = 16 * SEGMENT_BYTES,
                                    .segment_bytes = SEGMENT_BYTES,
                                    .spool_bytes = spool_bytes};
}

int rig_set_up(void **state)
{
    (void)state;
    rig_spool = 0;
    rig_disk = sim_disk_new(1, 64 * MIB);
    return 0;
}

int rig_tear_down(void **state)
{
    (void)state;
    sim_disk_free(rig_disk);
    return 0;
}

void rig_open(void)
{
    struct journal_options options = rig_options();
    struct diag diag = {0};
    enum err err = core_open(&rig_core, &options, &diag);
    if (err != ERR_OK)
        print_message("%s\n", diag.text);
    assert_int_equal(err, ERR_OK);
}

struct block *rig_block(const char *dataset, size_t padding)
{
    static uint8_t zeros[1 * MIB];
    struct block *block = NULL;
    struct buf encoded;
    uint32_t route_index;
    struct route_view route = {.source_id = BYTES_LITERAL("s"),
                               .dataset_id = bytes_from_text(dataset)};
    struct message_view message = {.payload = bytes_from(zeros, padding)};
    buf_init(&encoded, 4096);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(route_encode(&route, &encoded), ERR_OK);
    assert_int_equal(
        block_add_route(block, buf_bytes(&encoded), hash_bytes(route.dataset_id), &route_index),
        ERR_OK);
    assert_int_equal(block_add_message(block, &message), ERR_OK);
    buf_fini(&encoded);
    return block;
}

enum err rig_try_append(const char *dataset, size_t padding)
{
    struct block *block = rig_block(dataset, padding);
    struct core_item item = {.block = block, .kind = BLOCK_DATA};
    size_t done;
    enum err err = core_append(&rig_core, &item, 1, &done, NULL);
    block_unref(block);
    return err;
}

void rig_append(const char *dataset, size_t padding)
{
    assert_int_equal(rig_try_append(dataset, padding), ERR_OK);
}

enum err rig_try_land(const char *dataset, uint64_t after, struct position first, uint64_t through)
{
    struct block *block = NULL;
    struct buf body;
    struct core_item item = {.kind = BLOCK_CONTROL};
    struct landed landed = {.dataset_id = bytes_from_text(dataset),
                            .after = after,
                            .through = through,
                            .first = first,
                            .cut_id = rig_core.ledger.cut_id_last + 1};
    size_t done;
    buf_init(&body, 4096);
    assert_int_equal(record_landed_encode(&body, &landed), ERR_OK);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_LANDED, buf_bytes(&body)), ERR_OK);
    item.block = block;
    enum err err = core_append(&rig_core, &item, 1, &done, NULL);
    block_unref(block);
    buf_fini(&body);
    return err;
}

void rig_land(const char *dataset, uint64_t through)
{
    assert_int_equal(rig_try_land(dataset, 0, (struct position){1, 0}, through), ERR_OK);
}

void rig_uploaded(uint64_t cut_id)
{
    struct block *block = NULL;
    struct buf body;
    size_t done;
    buf_init(&body, 4096);
    assert_int_equal(record_uploaded_encode(&body, cut_id), ERR_OK);
    assert_int_equal(block_new(4096, &block), ERR_OK);
    assert_int_equal(block_add_record(block, RECORD_UPLOADED, buf_bytes(&body)), ERR_OK);
    struct core_item item = {.block = block, .kind = BLOCK_CONTROL};
    assert_int_equal(core_append(&rig_core, &item, 1, &done, NULL), ERR_OK);
    block_unref(block);
    buf_fini(&body);
}

enum err rig_count(void *ctx, struct block *block)
{
    *(uint32_t *)ctx += block->message_count;
    return ERR_OK;
}

uint32_t rig_replayed(void)
{
    uint32_t messages = 0;
    struct diag diag = {0};
    assert_int_equal(core_replay(&rig_core, rig_count, &messages, &diag), ERR_OK);
    return messages;
}

bool rig_damage_says(const char *text)
{
    for (size_t i = 0; i < rig_core.damage_count; i++)
        if (strstr(rig_core.damages[i], text))
            return true;
    return false;
}

/* Where in which file block number stands. */
struct place {
    uint64_t number, offset;
    bool found;
};

static enum err on_place(void *ctx, const struct block_header *header, struct bytes image,
                         uint64_t offset)
{
    struct place *place = ctx;
    (void)image;
    if (header->number == place->number) {
        place->offset = offset;
        place->found = true;
    }
    return ERR_OK;
}

static enum err on_place_damage(void *ctx, uint64_t offset, uint64_t from, uint64_t to)
{
    (void)ctx, (void)offset, (void)from, (void)to;
    return ERR_OK;
}

void rig_flip(uint64_t number)
{
    struct place place = {.number = number};
    struct segment_visitor visitor = {NULL, on_place, on_place_damage, &place};
    struct segment_end end;
    char path[SEGMENT_PATH_MAX];
    for (size_t i = 0; i < rig_core.segment_count && !place.found; i++) {
        assert_int_equal(segment_path(path, FOLDER, rig_core.segments[i].slot, NULL), ERR_OK);
        assert_int_equal(
            segment_walk(rig_core.options.fs, path, &rig_core.segments[i], &visitor, &end, NULL),
            ERR_OK);
    }
    assert_true(place.found);
    assert_true(sim_disk_flip(rig_disk, path, place.offset + 70));
}

void rig_flip_in(size_t segment_index, uint64_t offset)
{
    char path[SEGMENT_PATH_MAX];
    assert_int_equal(segment_path(path, FOLDER, rig_core.segments[segment_index].slot, NULL),
                     ERR_OK);
    assert_true(sim_disk_flip(rig_disk, path, offset));
}
