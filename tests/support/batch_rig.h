#pragma once
/*
 * A batch with everything around it for a test: a fake catalog, a block under way, routes, and the
 * rows of a cut as jansson objects. The program includes support/fake_parquet.h too.
 */
#include "base/buf.h"
#include "base/hash.h"
#include "lake/batch.h"
#include "support/fake_catalog.h"

#include <jansson.h>

#define RIG_UUID    "0f4b8a52-6d1c-4f3e-9b7a-2c5d8e1f0a3b"
#define RIG_DATASET "plant_line1"
/* 2026-03-04T05:06:07Z */
#define RIG_ARRIVAL_US 1772600767000000

struct rig {
    struct fake_catalog catalog;
    struct batch *batch;
    struct block *block;
    struct route_view route;
    uint64_t block_number;
    uint32_t route_index;
    int64_t arrival_us;
    const char *dedupe_folder;
    uint32_t *pins_left;
    const bool *lean;
    struct batch_tally tally; /* grows over the whole test */
};

static inline enum err rig_init(struct rig *rig)
{
    static const uint8_t qos[8] = {0, 0, 0, 0, 0, 0, 0xf0, 0x3f};
    *rig =
        (struct rig){.arrival_us = RIG_ARRIVAL_US,
                     .tally = {.delay_bounds_us = {1000000, 3600000000}, .delay_bound_count = 2}};
    fake_catalog_init(&rig->catalog);
    rig->route = (struct route_view){
        .source_id = bytes_from_text("plant"),
        .dataset_id = bytes_from_text(RIG_DATASET),
        .source_type = bytes_from_text("mqtt"),
        .topic = bytes_from_text("line/1"),
        .partition_window_hours = 24,
        .field_count = 3,
        .fields = {{bytes_from_text("topic"), FIELD_STRING, false, bytes_from_text("line/1")},
                   {bytes_from_text("qos"), FIELD_DOUBLE, false, bytes_from(qos, 8)},
                   {bytes_from_text("retain"), FIELD_BOOLEAN, true, {0}}}};
    return ERR_OK;
}

static inline struct batch_options rig_options(struct rig *rig)
{
    return (struct batch_options){.catalog = &rig->catalog.catalog,
                                  .journal_uuid = RIG_UUID,
                                  .parquet = {.codec = PARQUET_ZSTD,
                                              .zstd_level = 3,
                                              .page_bytes = 1 << 20,
                                              .page_rows = 20000,
                                              .created_by = "test"},
                                  .row_group_rows = 1000000,
                                  .row_group_bytes = 128 << 20,
                                  .tally = &rig->tally};
}

/* A batch that tells an observer. */
static inline enum err rig_batch_observed(struct rig *rig,
                                          const struct batch_observer_ops *observer)
{
    struct batch_options options = rig_options(rig);
    options.observer = observer;
    return batch_new(&options, bytes_from_text(RIG_DATASET), &rig->batch);
}

/* The rig with one. */
static inline enum err rig_observed(struct rig *rig, const struct batch_observer_ops *observer)
{
    enum err err = rig_init(rig);
    return err == ERR_OK ? rig_batch_observed(rig, observer) : err;
}

static inline enum err rig_batch(struct rig *rig)
{
    struct batch_options options = rig_options(rig);
    options.pins_left = rig->pins_left;
    options.lean = rig->lean;
    options.dedupe = (struct dedupe_options){&fs_posix, rig->dedupe_folder, RIG_UUID};
    return batch_new(&options, bytes_from_text(RIG_DATASET), &rig->batch);
}

static inline void rig_fini(struct rig *rig)
{
    batch_free(rig->batch);
    block_unref(rig->block);
    fake_catalog_fini(&rig->catalog);
}

/* A new block with the rig's route. */
static inline enum err rig_block(struct rig *rig)
{
    block_unref(rig->block);
    rig->block = NULL;
    struct buf record;
    buf_init(&record, 1 << 20);
    enum err err = block_new(64 << 10, &rig->block);
    if (err == ERR_OK)
        err = route_encode(&rig->route, &record);
    if (err == ERR_OK)
        err = block_add_route(rig->block, buf_bytes(&record), hash_bytes(rig->route.dataset_id),
                              &rig->route_index);
    buf_fini(&record);
    return err;
}

static inline enum err rig_message(struct rig *rig, struct bytes payload, uint8_t flags)
{
    struct buf extras;
    buf_init(&extras, 4096);
    struct message_field retain = {.index = 2, .type = FIELD_BOOLEAN, .number = 1};
    enum err err = message_field_append(&extras, &retain);
    if (flags & MESSAGE_DEAD_LETTER) {
        struct message_field reason = {
            .index = FIELD_INDEX_REASON, .type = FIELD_STRING, .text = bytes_from_text("oversize")};
        struct message_field detail = {
            .index = FIELD_INDEX_DETAIL, .type = FIELD_STRING, .text = bytes_from_text("17 MiB")};
        if (err == ERR_OK)
            err = message_field_append(&extras, &reason);
        if (err == ERR_OK)
            err = message_field_append(&extras, &detail);
    }
    struct message_view message = {.payload = payload,
                                   .extras = buf_bytes(&extras),
                                   .arrival_us = rig->arrival_us,
                                   .route_index = rig->route_index,
                                   .flags = flags};
    if (err == ERR_OK)
        err = block_add_message(rig->block, &message);
    buf_fini(&extras);
    return err;
}

/* Seals the block and appends it to the batch. On ERR_NO_MEMORY it is taken out again. */
static inline enum err rig_append(struct rig *rig)
{
    rig->block_number++;
    block_seal(rig->block, BLOCK_DATA, 0, 0, rig->block_number, 1, rig->block_number - 1);
    enum err err = batch_append(rig->batch, rig->block, rig->route_index);
    if (err == ERR_OK)
        batch_end_block(rig->batch, rig->block);
    else
        batch_undo_block(rig->batch);
    return err;
}

static inline enum err rig_send(struct rig *rig, const char *const *payloads, size_t count)
{
    enum err err = rig_block(rig);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = rig_message(rig, bytes_from_text(payloads[i]), 0);
    return err == ERR_OK ? rig_append(rig) : err;
}

/* The rows of all files of a cut of this kind; the files' metadata are checked for their rows. */
static inline json_t *rig_rows(const struct cut *cut, bool dead_letters)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < cut->file_count; i++) {
        if (cut->files[i].dead_letters != dead_letters)
            continue;
        const char *at = (const char *)cut->files[i].bytes.data;
        const char *end = at + cut->files[i].bytes.size;
        while (at < end) {
            const char *line_end = memchr(at, '\n', (size_t)(end - at));
            json_t *row = json_loadb(at, (size_t)(line_end - at), JSON_ALLOW_NUL, NULL);
            if (!json_object_get(row, "#metadata"))
                json_array_append(rows, row);
            json_decref(row);
            at = line_end + 1;
        }
    }
    return rows;
}
