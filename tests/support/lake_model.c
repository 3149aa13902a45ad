#include "support/lake_model.h"

#include "codec/sha256.h"
#include "lake/parquet_reader.h"
#include "support/promise.h"

#include <stdio.h>
#include <stdlib.h>

#define READER_MEMORY_MAX (4 * MIB)

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

void lake_model_init(struct lake_model *model)
{
    *model = (struct lake_model){0};
}

void lake_model_fini(struct lake_model *model)
{
    lake_ranges_fini(&model->ranges);
    for (size_t i = 0; i < model->file_count; i++) {
        free(model->files[i].key);
        free(model->files[i].messages);
    }
    free(model->files);
}

uint32_t lake_message_new(struct lake_model *model, struct lake_message message)
{
    PROMISE(model->message_last < LAKE_MESSAGES_MAX, "the simulation has too many messages");
    model->messages[++model->message_last] = message;
    return model->message_last;
}

void lake_block_durable(struct lake_model *model, uint32_t first, uint32_t count, uint64_t number)
{
    for (uint32_t i = first; i < first + count; i++)
        model->messages[i].block = number;
}

/* ---- files ---- */

static struct lake_file *file_find(struct lake_model *model, struct bytes key,
                                   const uint8_t sha256[32])
{
    for (size_t i = 0; i < model->file_count; i++)
        if (bytes_equal_text(key, model->files[i].key) &&
            memcmp(model->files[i].sha256, sha256, 32) == 0)
            return &model->files[i];
    return NULL;
}

static uint32_t number_of_text(struct bytes text)
{
    char copy[32] = "";
    memcpy(copy, text.data, text.size < sizeof(copy) ? text.size : sizeof(copy) - 1);
    unsigned number = 0;
    PROMISE(sscanf(copy, "{\"seq\":%u", &number) == 1, "a dead letter holds '%s'", copy);
    return number;
}

static void file_read_column(struct lake_file *file, const struct parquet_column_data *data,
                             bool is_dead_letter)
{
    const double *numbers = (const double *)(const void *)data->values.data;
    const uint32_t *offsets = (const uint32_t *)(const void *)data->offsets.data;
    file->messages = must(calloc(data->value_count + 1, sizeof(*file->messages)));
    file->message_count = data->value_count;
    for (size_t i = 0; i < data->value_count; i++)
        file->messages[i] = is_dead_letter ? number_of_text(bytes_from(data->data.data + offsets[i],
                                                                       offsets[i + 1] - offsets[i]))
                                           : (uint32_t)numbers[i];
}

static void file_read(struct lake_file *file, struct bytes content, uint64_t rows)
{
    bool is_dead_letter = strncmp(file->key, "bronze/_dead_letters/", 21) == 0;
    const char *wanted = is_dead_letter ? "payload" : "seq";
    struct parquet_reader *reader = NULL;
    struct parquet_column_data data;
    struct diag diag = {0};
    enum err err = parquet_reader_new(content, READER_MEMORY_MAX, &reader, &diag);
    PROMISE(err == ERR_OK, "%s cannot be read: %s", file->key, diag.text);
    const struct parquet_metadata *metadata = parquet_reader_metadata(reader);
    PROMISE(metadata->row_group_count == 1, "%s has %zu row groups", file->key,
            metadata->row_group_count);
    size_t column = 0;
    while (column < metadata->column_count &&
           !bytes_equal_text(metadata->elements[metadata->leaves[column]].name, wanted))
        column++;
    PROMISE(column < metadata->column_count, "%s has no column %s", file->key, wanted);
    parquet_column_data_init(&data, READER_MEMORY_MAX);
    err = parquet_reader_read(reader, 0, column, &data, &diag);
    PROMISE(err == ERR_OK, "%s cannot be read: %s", file->key, diag.text);
    file_read_column(file, &data, is_dead_letter);
    PROMISE(file->message_count == rows && metadata->row_count == rows,
            "%s has %llu rows, %zu numbers, and says it has %llu", file->key,
            (unsigned long long)metadata->row_count, file->message_count, (unsigned long long)rows);
    parquet_column_data_fini(&data);
    parquet_reader_free(reader);
}

static void file_add(struct lake_model *model, const struct cut_file *made)
{
    uint8_t digest[32];
    struct bytes content = buf_bytes(&made->bytes);
    if (sha256_of(content, digest) != ERR_OK)
        abort();
    if (file_find(model, bytes_from_text(made->key), digest))
        return;
    if ((model->file_count & (model->file_count - 1)) == 0)
        model->files =
            must(realloc(model->files, (model->file_count * 2 + 1) * sizeof(model->files[0])));
    struct lake_file *file = &model->files[model->file_count++];
    *file = (struct lake_file){.key = must(strdup(made->key))};
    memcpy(file->sha256, digest, sizeof(digest));
    file_read(file, content, made->rows);
}

void lake_cut_made(struct lake_model *model, const struct cut *cut)
{
    for (size_t i = 0; i < cut->file_count; i++)
        file_add(model, &cut->files[i]);
}

/* ---- LANDED and UPLOADED ---- */

static void check_partition(const struct lake_file *file, uint32_t number,
                            const struct lake_message *message)
{
    char prefix[96];
    if (message->is_dead_letter)
        snprintf(prefix, sizeof(prefix), "bronze/_dead_letters/date=2026-03-04/hour=%02u/",
                 message->hour);
    else
        snprintf(prefix, sizeof(prefix), "bronze/ingestion_id=d%u/date=2026-03-04/hour=%02u/",
                 message->dataset, message->hour);
    PROMISE(strncmp(file->key, prefix, strlen(prefix)) == 0, "message %u is in %s, not in %s",
            number, file->key, prefix);
}

/* Exactly its dataset's messages of the range, each once. */
static void check_cut(const struct lake_model *model, const struct lake_cut *cut,
                      const struct landed *landed)
{
    uint8_t count[LAKE_MESSAGES_MAX + 1] = {0};
    uint64_t messages = 0, rejected = 0;
    for (uint32_t f = 0; f < cut->file_count; f++) {
        const struct lake_file *file = &model->files[cut->files[f]];
        for (size_t i = 0; i < file->message_count; i++) {
            uint32_t number = file->messages[i];
            PROMISE(number >= 1 && number <= model->message_last, "%s holds message %u, never sent",
                    file->key, number);
            check_partition(file, number, &model->messages[number]);
            count[number]++;
        }
    }
    for (uint32_t number = 1; number <= model->message_last; number++) {
        const struct lake_message *message = &model->messages[number];
        bool is_in = message->dataset == cut->dataset && message->block > cut->after &&
                     message->block <= cut->through;
        messages += is_in;
        rejected += is_in && message->is_dead_letter;
        PROMISE(count[number] == (is_in && !message->is_silent),
                "cut %llu of d%u, blocks %llu to %llu, holds message %u of block %llu %u times",
                (unsigned long long)cut->cut_id, cut->dataset, (unsigned long long)cut->after + 1,
                (unsigned long long)cut->through, number, (unsigned long long)message->block,
                count[number]);
    }
    PROMISE(landed->messages == messages && landed->rejected == rejected,
            "cut %llu says %llu messages, %llu rejected; it is %llu and %llu",
            (unsigned long long)cut->cut_id, (unsigned long long)landed->messages,
            (unsigned long long)landed->rejected, (unsigned long long)messages,
            (unsigned long long)rejected);
}

static struct lake_cut *replaced_by(struct lake_model *model, const struct lake_cut *cut)
{
    for (size_t i = 0; i < model->cut_count; i++)
        if (model->cuts[i].is_pending && model->cuts[i].dataset == cut->dataset &&
            model->cuts[i].after_said == cut->after_said && model->cuts[i].through == cut->through)
            return &model->cuts[i];
    return NULL;
}

static void cut_files(struct lake_model *model, struct lake_cut *cut, const struct landed *landed)
{
    PROMISE(landed->file_count <= 64, "the simulation's cut has too many files");
    for (uint32_t i = 0; i < landed->file_count; i++) {
        struct lake_file *file = file_find(model, landed->files[i].key, landed->files[i].sha256);
        PROMISE(file, "LANDED names %.*s with a hash that no cut made",
                (int)landed->files[i].key.size, (const char *)landed->files[i].key.data);
        PROMISE(landed->files[i].rows == file->message_count, "LANDED's rows of %s are wrong",
                file->key);
        file->is_landed = true;
        cut->files[cut->file_count++] = (uint32_t)(file - model->files);
    }
}

void lake_landed_durable(struct lake_model *model, const struct landed *landed)
{
    struct lake_cut cut = {.cut_id = landed->cut_id,
                           .after = landed->after,
                           .after_said = landed->after,
                           .through = landed->through,
                           .first_block = landed->first.block,
                           .dataset = (uint8_t)(landed->dataset_id.data[1] - '0'),
                           .is_pending = true};
    struct lake_cut *old = replaced_by(model, &cut);
    if (old)
        cut.after = old->after;
    else if (cut.after == 0)
        cut.after = model->landed[cut.dataset];
    PROMISE(old || cut.after == model->landed[cut.dataset],
            "cut %llu of d%u has blocks %llu to %llu, but %llu are landed",
            (unsigned long long)cut.cut_id, cut.dataset, (unsigned long long)cut.after + 1,
            (unsigned long long)cut.through, (unsigned long long)model->landed[cut.dataset]);
    for (size_t i = 0; i < model->cut_count; i++)
        PROMISE(model->cuts[i].cut_id != cut.cut_id, "cut id %llu came twice",
                (unsigned long long)cut.cut_id);
    cut_files(model, &cut, landed);
    check_cut(model, &cut, landed);
    PROMISE(model->cut_count < LAKE_CUTS_MAX, "the simulation has too many cuts");
    if (old) {
        old->is_pending = false;
        model->redone_count++;
    } else {
        model->landed[cut.dataset] = cut.through;
    }
    model->cuts[model->cut_count++] = cut;
    promise_note("    LANDED cut %llu of d%u, blocks %llu to %llu, %u files%s",
                 (unsigned long long)cut.cut_id, cut.dataset, (unsigned long long)cut.after + 1,
                 (unsigned long long)cut.through, cut.file_count, old ? ", made again" : "");
}

void lake_uploaded_durable(struct lake_model *model, uint64_t cut_id)
{
    for (size_t i = 0; i < model->cut_count; i++) {
        struct lake_cut *cut = &model->cuts[i];
        if (cut->cut_id != cut_id)
            continue;
        PROMISE(cut->is_pending, "UPLOADED of cut %llu, which is not pending",
                (unsigned long long)cut_id);
        cut->is_pending = false;
        for (uint32_t f = 0; f < cut->file_count; f++)
            model->files[cut->files[f]].is_uploaded = !model->files[cut->files[f]].is_lost;
        promise_note("    UPLOADED cut %llu", (unsigned long long)cut_id);
        return;
    }
    promise_broken("UPLOADED of cut %llu, which never landed", (unsigned long long)cut_id);
}

/* ---- the store ---- */

static struct lake_file *file_expect(struct lake_model *model, const char *key,
                                     const uint8_t sha256[32], const char *what)
{
    struct lake_file *file = file_find(model, bytes_from_text(key), sha256);
    PROMISE(file, "%s %s, with content that no cut made", key, what);
    PROMISE(file->is_landed, "%s %s before its LANDED is durable", key, what);
    return file;
}

void lake_put_begins(struct lake_model *model, const char *key, const uint8_t sha256[32])
{
    (void)file_expect(model, key, sha256, "is put");
}

void lake_put_done(struct lake_model *model, const char *key, const uint8_t sha256[32])
{
    file_expect(model, key, sha256, "is put")->is_put = true;
}

void lake_damaged(struct lake_model *model, const char *key)
{
    for (size_t i = 0; i < model->file_count; i++)
        if (strcmp(model->files[i].key, key) == 0)
            model->files[i].is_damaged = model->files[i].was_damaged = true;
}

void lake_reported(struct lake_model *model, const char *sentence)
{
    promise_note("    report: %s", sentence);
    for (size_t c = 0; c < model->cut_count; c++) {
        const struct lake_cut *cut = &model->cuts[c];
        for (uint32_t f = 0; f < cut->file_count && cut->is_pending; f++) {
            struct lake_file *file = &model->files[cut->files[f]];
            if (!strstr(sentence, file->key))
                continue;
            PROMISE(file->is_damaged, "%s is reported lost, and nobody damaged it", file->key);
            PROMISE(cut->first_block < model->retained_from,
                    "%s is reported lost, but the journal had its range: blocks %llu to %llu, from "
                    "%llu on",
                    file->key, (unsigned long long)cut->first_block,
                    (unsigned long long)cut->through, (unsigned long long)model->retained_from);
            if (!file->is_lost)
                model->lost_count++;
            file->is_lost = true;
            for (size_t i = 0; i < file->message_count; i++)
                model->messages[file->messages[i]].is_lost = true;
            return;
        }
    }
    promise_broken("a report names no pending file: %s", sentence);
}

static void range_look(struct lake_model *model, const char *key, struct bytes content)
{
    struct arena arena;
    struct parquet_metadata metadata;
    struct diag diag = {0};
    arena_init(&arena, READER_MEMORY_MAX);
    enum err err = parquet_metadata_read(&metadata, &arena, content, &diag);
    if (err == ERR_OK)
        err = lake_ranges_add(&model->ranges, key, &metadata, &diag);
    PROMISE(err == ERR_OK, "%s has no sound range: %s", key, diag.text);
    arena_fini(&arena);
}

static enum err on_range_fault(void *ctx, const char *key, const char *what)
{
    (void)ctx;
    promise_broken("verify would say of %s: %s", key, what);
}

void lake_look_begin(struct lake_model *model)
{
    lake_ranges_fini(&model->ranges);
    lake_ranges_init(&model->ranges);
    memset(model->seen, 0, sizeof(model->seen));
    for (size_t i = 0; i < model->file_count; i++)
        model->files[i].is_visible = false;
}

void lake_look_object(struct lake_model *model, const char *key, struct bytes content)
{
    uint8_t digest[32];
    if (sha256_of(content, digest) != ERR_OK)
        abort();
    struct lake_file *file = file_expect(model, key, digest, "is visible");
    file->is_visible = true;
    file->was_seen = true;
    range_look(model, key, content);
    for (size_t i = 0; i < file->message_count; i++) {
        uint32_t number = file->messages[i];
        PROMISE(++model->seen[number] == 1, "message %u is doubled, in %s too", number, key);
        PROMISE(model->messages[number].block != 0, "message %u of %s was never durable", number,
                key);
    }
}

void lake_look_end(struct lake_model *model, bool is_final)
{
    model->visible_count = 0;
    for (size_t i = 0; i < model->file_count; i++) {
        const struct lake_file *file = &model->files[i];
        PROMISE(file->is_visible || !(file->is_put || file->is_uploaded),
                "%s was put%s, and is gone or changed", file->key,
                file->is_uploaded ? " and UPLOADED" : "");
        /* A folder's reader may have seen a rename that a power cut undid before it was synced. */
        PROMISE(!file->was_seen || file->is_visible || file->was_damaged || !is_final,
                "%s was visible, and is gone", file->key);
        model->visible_count += file->is_visible;
    }
    enum err err =
        lake_ranges_check(&model->ranges, is_final && model->lost_count == 0, on_range_fault, NULL);
    PROMISE(err == ERR_OK, "the ranges cannot be checked");
    for (uint32_t number = 1; is_final && number <= model->message_last; number++) {
        const struct lake_message *message = &model->messages[number];
        if (message->block != 0 && !message->is_silent && !message->is_lost)
            PROMISE(model->seen[number] == 1, "message %u of block %llu is lost", number,
                    (unsigned long long)message->block);
    }
}

size_t lake_outstanding(const struct lake_model *model)
{
    size_t count = 0;
    for (size_t i = 0; i < model->cut_count; i++)
        count += model->cuts[i].is_pending;
    for (uint32_t number = 1; number <= model->message_last; number++)
        count += model->messages[number].block > model->landed[model->messages[number].dataset];
    return count;
}

const struct lake_cut *lake_pending_next(const struct lake_model *model, size_t *cursor)
{
    while (*cursor < model->cut_count) {
        const struct lake_cut *cut = &model->cuts[(*cursor)++];
        if (cut->is_pending)
            return cut;
    }
    return NULL;
}
