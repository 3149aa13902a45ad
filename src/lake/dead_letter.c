#include "lake/dead_letter.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "codec/timestamp.h"
#include "codec/utf8.h"
#include "lake/columns.h"
#include "lake/records.h"

#define PAYLOADS_MAX (1 * GIB)
#define HOUR_US      (3600 * US_PER_S)

enum { INGESTION_ID, SOURCE_TYPE, TOPIC, REASON, DETAIL, RECEIVED_AT, PAYLOAD, METADATA, COLUMNS };

static const struct parquet_node nodes[COLUMNS] = {
    [INGESTION_ID] = {"ingestion_id", PARQUET_STRING, 1, 0},
    [SOURCE_TYPE] = {"source_type", PARQUET_STRING, 2, 0},
    [TOPIC] = {"topic", PARQUET_STRING, 3, 0},
    [REASON] = {"reason", PARQUET_STRING, 4, 0},
    [DETAIL] = {"detail", PARQUET_STRING, 5, 0},
    [RECEIVED_AT] = {"received_at", PARQUET_TIMESTAMP_US, 6, 0},
    [PAYLOAD] = {"payload", PARQUET_BINARY, 7, 0},
    [METADATA] = {"metadata", PARQUET_STRING, 8, 0},
};

void dead_letters_init(struct dead_letters *letters)
{
    *letters = (struct dead_letters){0};
    buf_init(&letters->payloads, PAYLOADS_MAX);
}

void dead_letters_fini(struct dead_letters *letters)
{
    mem_free(letters->letters);
    buf_fini(&letters->payloads);
}

enum err dead_letters_add(struct dead_letters *letters, const struct dead_letter *letter,
                          struct bytes payload)
{
    if (letters->count == letters->capacity) {
        size_t capacity = letters->capacity ? letters->capacity * 2 : 8;
        struct dead_letter *grown = mem_realloc(letters->letters, capacity * sizeof(*grown));
        if (!grown)
            return ERR_NO_MEMORY;
        letters->letters = grown;
        letters->capacity = capacity;
    }
    size_t offset = letters->payloads.size;
    if (buf_append(&letters->payloads, payload.data, payload.size) != ERR_OK) {
        letters->payloads.err = ERR_OK;
        return ERR_NO_MEMORY;
    }
    struct dead_letter *added = &letters->letters[letters->count++];
    *added = *letter;
    added->payload_offset = (uint32_t)offset;
    added->payload_size = (uint32_t)payload.size;
    return ERR_OK;
}

void dead_letters_truncate(struct dead_letters *letters, size_t count)
{
    if (letters->count <= count)
        return;
    letters->payloads.size = letters->letters[count].payload_offset;
    letters->count = count;
}

static int64_t hour_of(int64_t us)
{
    int64_t hour = us / HOUR_US;
    return us % HOUR_US < 0 ? hour - 1 : hour;
}

/* Bytes that go into a text column must be UTF-8, whoever sent them. */
static enum err text_add(struct leaf *leaf, size_t row, struct bytes text)
{
    if (utf8_valid(text))
        return leaf_string(leaf, row, 0, text);
    struct buf quoted;
    buf_init(&quoted, LIMIT_MESSAGE_BYTES_MAX);
    enum err err = buf_json_string(&quoted, text);
    if (err == ERR_OK)
        err = leaf_string(leaf, row, 0, bytes_from(quoted.data + 1, quoted.size - 2));
    buf_fini(&quoted);
    return err;
}

static enum err metadata_add(struct leaf *leaf, size_t row, const struct route_view *route,
                             const struct dead_letter *letter, struct bytes extras)
{
    struct buf text;
    char arrival[TIMESTAMP_TEXT_BYTES];
    buf_init(&text, LIMIT_MESSAGE_BYTES_MAX);
    timestamp_format(letter->arrival_us, arrival);
    buf_printf(&text, "{\"ingestion_timestamp\":\"%s\"", arrival);
    enum err err = records_metadata(&text, route, extras);
    if (err == ERR_OK)
        err = buf_byte(&text, '}');
    if (err == ERR_OK)
        err = leaf_string(leaf, row, 0, buf_bytes(&text));
    buf_fini(&text);
    return err;
}

static enum err letter_add(struct leaf *leaves, size_t row, const struct dead_letters *letters,
                           const struct dead_letter *letter, const struct origins *origins,
                           struct bytes dataset_id)
{
    const struct origin *origin = &origins->origins[letter->origin];
    const struct route_view *route = &origins->routes[origin->route].view;
    struct bytes reason = letter->reason ? bytes_from_text(letter->reason)
                                         : origin_extra_text(origin->extras, FIELD_INDEX_REASON);
    struct bytes detail = letter->reason ? bytes_from_text(letter->detail)
                                         : origin_extra_text(origin->extras, FIELD_INDEX_DETAIL);
    struct bytes payload = {0};
    if (letter->payload_size > 0)
        payload = bytes_from(letters->payloads.data + letter->payload_offset, letter->payload_size);
    const struct bytes texts[] = {dataset_id, route->source_type, route->topic, reason, detail};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        enum err err = text_add(&leaves[i], row, texts[i]);
        if (err != ERR_OK)
            return err;
    }
    enum err err = leaf_instant(&leaves[RECEIVED_AT], row, 0, letter->arrival_us);
    if (err == ERR_OK)
        err = leaf_string(&leaves[PAYLOAD], row, 0, payload);
    return err == ERR_OK ? metadata_add(&leaves[METADATA], row, route, letter, origin->extras)
                         : err;
}

/* The file of the hour that letter number from belongs to. */
static enum err file_make(const struct dead_letters *letters, size_t from, bool *done,
                          const struct origins *origins, struct bytes dataset_id,
                          enum err (*on_file)(void *ctx, const struct dead_letter_file *file),
                          void *ctx)
{
    size_t memory_bytes = 0;
    struct leaf leaves[COLUMNS];
    for (size_t i = 0; i < COLUMNS; i++)
        leaf_init(&leaves[i], nodes[i].kind, 1, 0, &memory_bytes);
    int64_t hour = hour_of(letters->letters[from].arrival_us);
    struct dead_letter_file file = {.instant_us = letters->letters[from].arrival_us,
                                    .first = letters->letters[from].position,
                                    .nodes = nodes,
                                    .node_count = COLUMNS};
    enum err err = ERR_OK;
    for (size_t i = from; i < letters->count && err == ERR_OK; i++) {
        const struct dead_letter *letter = &letters->letters[i];
        if (done[i] || hour_of(letter->arrival_us) != hour)
            continue;
        done[i] = true;
        bool before = letter->position.block < file.first.block ||
                      (letter->position.block == file.first.block &&
                       letter->position.index < file.first.index);
        if (before)
            file.first = letter->position;
        err = letter_add(leaves, file.rows++, letters, letter, origins, dataset_id);
    }
    struct parquet_leaf slices[COLUMNS];
    for (size_t i = 0; i < COLUMNS && err == ERR_OK; i++)
        err = leaf_slice(&leaves[i], &(struct leaf_cursor){0}, file.rows, &slices[i]);
    file.leaves = slices;
    if (err == ERR_OK)
        err = on_file(ctx, &file);
    for (size_t i = 0; i < COLUMNS; i++)
        leaf_clear(&leaves[i]);
    return err;
}

enum err dead_letters_count_files(const struct dead_letters *letters, size_t *ret_count)
{
    bool *done = mem_zalloc(letters->count + 1, sizeof(*done));
    *ret_count = 0;
    if (!done)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < letters->count; i++) {
        int64_t hour = hour_of(letters->letters[i].arrival_us);
        if (done[i])
            continue;
        ++*ret_count;
        for (size_t k = i; k < letters->count; k++)
            done[k] = done[k] || hour_of(letters->letters[k].arrival_us) == hour;
    }
    mem_free(done);
    return ERR_OK;
}

enum err dead_letters_files(const struct dead_letters *letters, const struct origins *origins,
                            struct bytes dataset_id,
                            enum err (*on_file)(void *ctx, const struct dead_letter_file *file),
                            void *ctx)
{
    if (letters->count == 0)
        return ERR_OK;
    bool *done = mem_zalloc(letters->count, sizeof(*done));
    enum err err = done ? ERR_OK : ERR_NO_MEMORY;
    for (size_t i = 0; i < letters->count && err == ERR_OK; i++)
        if (!done[i])
            err = file_make(letters, i, done, origins, dataset_id, on_file, ctx);
    mem_free(done);
    return err;
}

void dead_letters_tell(const struct dead_letters *letters, size_t from,
                       const struct origins *origins, struct batch_tally *tally)
{
    for (size_t i = from; i < letters->count; i++) {
        const struct dead_letter *letter = &letters->letters[i];
        struct bytes reason =
            letter->reason
                ? bytes_from_text(letter->reason)
                : origin_extra_text(origins->origins[letter->origin].extras, FIELD_INDEX_REASON);
        batch_tally_rejected(tally, reason);
    }
}
