/*
 * LANDED: cut_id u64 | after u64 | through u64 | first.block u64 | first.index u32 | messages u64
 *         | rejected u64 | schema_version u32 | dataset text16 | source text16
 *         | metadata_changes text32 | file_count u32
 *         | files, each: key text16 | size u64 | rows u64 | sha256 32
 */
#include "journal/record.h"

#include "base/alloc.h"

#define LANDED_FILE_MIN_BYTES (2 + 8 + 8 + 32)

struct record_reader record_reader_of(struct bytes body)
{
    return (struct record_reader){body.data, body.size, false};
}

struct bytes record_bytes(struct record_reader *reader, size_t size)
{
    if (reader->bad || size > reader->left) {
        reader->bad = true;
        return (struct bytes){(const uint8_t *)"", 0};
    }
    struct bytes taken = bytes_from(reader->at, size);
    reader->at += size;
    reader->left -= size;
    return taken;
}

uint8_t record_u8(struct record_reader *reader)
{
    struct bytes taken = record_bytes(reader, 1);
    return reader->bad ? 0 : taken.data[0];
}

uint16_t record_u16(struct record_reader *reader)
{
    struct bytes taken = record_bytes(reader, 2);
    return reader->bad ? 0 : load_u16(taken.data);
}

uint32_t record_u32(struct record_reader *reader)
{
    struct bytes taken = record_bytes(reader, 4);
    return reader->bad ? 0 : load_u32(taken.data);
}

uint64_t record_u64(struct record_reader *reader)
{
    struct bytes taken = record_bytes(reader, 8);
    return reader->bad ? 0 : load_u64(taken.data);
}

struct bytes record_text16(struct record_reader *reader)
{
    return record_bytes(reader, record_u16(reader));
}

struct bytes record_text32(struct record_reader *reader)
{
    return record_bytes(reader, record_u32(reader));
}

bool record_end(const struct record_reader *reader)
{
    return !reader->bad && reader->left == 0;
}

void record_append_text16(struct buf *body, struct bytes text)
{
    if (text.size > UINT16_MAX && body->err == ERR_OK)
        body->err = ERR_TOO_LARGE;
    buf_u16(body, (uint16_t)text.size);
    buf_append(body, text.data, text.size);
}

void record_append_text32(struct buf *body, struct bytes text)
{
    if (text.size > LIMIT_BLOCK_BYTES && body->err == ERR_OK)
        body->err = ERR_TOO_LARGE;
    buf_u32(body, (uint32_t)text.size);
    buf_append(body, text.data, text.size);
}

enum err record_state_encode(struct buf *body, struct bytes source_id, struct bytes key,
                             struct bytes value)
{
    record_append_text16(body, source_id);
    record_append_text16(body, key);
    record_append_text32(body, value);
    return body->err;
}

enum err record_session_encode(struct buf *body, struct bytes source_id)
{
    record_append_text16(body, source_id);
    return body->err;
}

enum err record_identities_free_encode(struct buf *body, struct bytes source_id,
                                       uint64_t through_block)
{
    record_append_text16(body, source_id);
    buf_u64(body, through_block);
    return buf_u32(body, UINT32_MAX);
}

enum err record_identity_release_encode(struct buf *body, struct bytes source_id,
                                        uint16_t packet_identifier)
{
    record_append_text16(body, source_id);
    buf_u64(body, 0);
    return buf_u32(body, packet_identifier);
}

enum err record_uploaded_encode(struct buf *body, uint64_t cut_id)
{
    return buf_u64(body, cut_id);
}

enum err record_landed_encode(struct buf *body, const struct landed *landed)
{
    buf_u64(body, landed->cut_id);
    buf_u64(body, landed->after);
    buf_u64(body, landed->through);
    buf_u64(body, landed->first.block);
    buf_u32(body, landed->first.index);
    buf_u64(body, landed->messages);
    buf_u64(body, landed->rejected);
    buf_u32(body, landed->schema_version);
    record_append_text16(body, landed->dataset_id);
    record_append_text16(body, landed->source_id);
    record_append_text32(body, landed->metadata_changes);
    buf_u32(body, landed->file_count);
    for (uint32_t i = 0; i < landed->file_count; i++) {
        const struct landed_file *file = &landed->files[i];
        record_append_text16(body, file->key);
        buf_u64(body, file->size_bytes);
        buf_u64(body, file->rows);
        buf_append(body, file->sha256, sizeof(file->sha256));
    }
    return body->err;
}

enum err record_state_decode(struct bytes body, struct record_state *ret_state)
{
    struct record_reader reader = record_reader_of(body);
    ret_state->source_id = record_text16(&reader);
    ret_state->key = record_text16(&reader);
    ret_state->value = record_text32(&reader);
    return record_end(&reader) ? ERR_OK : ERR_CORRUPT;
}

enum err record_session_decode(struct bytes body, struct bytes *ret_source_id)
{
    struct record_reader reader = record_reader_of(body);
    *ret_source_id = record_text16(&reader);
    return record_end(&reader) ? ERR_OK : ERR_CORRUPT;
}

enum err record_identity_free_decode(struct bytes body, struct record_identity_free *ret_free)
{
    struct record_reader reader = record_reader_of(body);
    ret_free->source_id = record_text16(&reader);
    ret_free->through_block = record_u64(&reader);
    uint32_t packet_identifier = record_u32(&reader);
    ret_free->one = packet_identifier != UINT32_MAX;
    ret_free->packet_identifier = ret_free->one ? (uint16_t)packet_identifier : 0;
    if (ret_free->one && packet_identifier > UINT16_MAX)
        return ERR_CORRUPT;
    return record_end(&reader) ? ERR_OK : ERR_CORRUPT;
}

enum err record_uploaded_decode(struct bytes body, uint64_t *ret_cut_id)
{
    struct record_reader reader = record_reader_of(body);
    *ret_cut_id = record_u64(&reader);
    return record_end(&reader) ? ERR_OK : ERR_CORRUPT;
}

static enum err landed_files_decode(struct record_reader *reader, uint32_t count,
                                    struct landed_file **ret_files)
{
    *ret_files = NULL;
    if (reader->bad || count > reader->left / LANDED_FILE_MIN_BYTES)
        return ERR_CORRUPT;
    if (count == 0)
        return ERR_OK;
    struct landed_file *files = mem_zalloc(count, sizeof(*files));
    if (!files)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < count; i++) {
        files[i].key = record_text16(reader);
        files[i].size_bytes = record_u64(reader);
        files[i].rows = record_u64(reader);
        struct bytes sha256 = record_bytes(reader, sizeof(files[i].sha256));
        if (!reader->bad)
            memcpy(files[i].sha256, sha256.data, sha256.size);
    }
    *ret_files = files;
    return ERR_OK;
}

enum err record_landed_decode(struct bytes body, struct landed *ret_landed,
                              struct landed_file **ret_files)
{
    struct record_reader reader = record_reader_of(body);
    struct landed *landed = ret_landed;
    landed->cut_id = record_u64(&reader);
    landed->after = record_u64(&reader);
    landed->through = record_u64(&reader);
    landed->first.block = record_u64(&reader);
    landed->first.index = record_u32(&reader);
    landed->messages = record_u64(&reader);
    landed->rejected = record_u64(&reader);
    landed->schema_version = record_u32(&reader);
    landed->dataset_id = record_text16(&reader);
    landed->source_id = record_text16(&reader);
    landed->metadata_changes = record_text32(&reader);
    landed->file_count = record_u32(&reader);
    enum err err = landed_files_decode(&reader, landed->file_count, ret_files);
    landed->files = *ret_files;
    if (err != ERR_OK)
        return err;
    if (record_end(&reader) && landed->after < landed->through)
        return ERR_OK;
    mem_free(*ret_files);
    *ret_files = NULL;
    return ERR_CORRUPT;
}

struct bytes record_session_key(struct bytes source_id, uint8_t session,
                                uint8_t key[RECORD_SESSION_KEY_BYTES])
{
    if (session == 0 || source_id.size + 2 > RECORD_SESSION_KEY_BYTES)
        return source_id;
    memcpy(key, source_id.data, source_id.size);
    key[source_id.size] = 0;
    key[source_id.size + 1] = session;
    return bytes_from(key, source_id.size + 2);
}
