/*
 * A file, little-endian, written as a whole under a temporary name, synced and renamed:
 *
 *   magic u32 | crc32c u32 of the rest | journal uuid text16 | dataset id text16 | count u32
 *   | entries, oldest first, each: digest 16 | arrival_us i64 | block u64 | route u32 | message u32
 *     | record u32
 */
#include "lake/dedupe.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "codec/json.h"
#include "codec/sha256.h"
#include "journal/record.h"

#include <stdio.h>
#include <string.h>

#define FILE_MAGIC      0x314b4449u /* "IDK1" */
#define FILE_HEAD_BYTES 8
#define ENTRY_BYTES     (DEDUPE_DIGEST_BYTES + 8 + 8 + 4 + 4 + 4)
#define FILE_BYTES_MAX  (MIB + DEDUPE_ENTRIES_HARD * ENTRY_BYTES)
#define PATH_SIZE       4096
#define NAME_HASH_BYTES 16
#define OLDER_MAX       64 /* entries of one value that are looked at */
#define FORGET_SHARE    8  /* at a save: when so much of the table is out of every window */
#define STALE_US        (30 * 86400 * US_PER_S)

struct dedupe {
    struct dedupe_options options;
    struct dedupe_table table;
    char *dataset_id;
    size_t dataset_id_size;
    char path[PATH_SIZE];
    int64_t window_us;  /* the longest that was asked for */
    int64_t oldest_us;  /* the least arrival looked at since the last save */
    bool seen;          /* oldest_us is set */
    size_t saved_count; /* the table's, when it was saved */
    bool changed;       /* since it was saved, other than by growing */
};

/* --- a value's digest ------------------------------------------------------------------------- */

/* The field's value as it stands; of repeated keys the last counts. False: it lacks. */
static bool value_find(const struct dedupe_record *record, struct buf *name,
                       struct bytes *ret_value)
{
    struct json_cursor cursor = {record->json.data, record->json.data + record->json.size, false};
    bool found = false;
    json_space(&cursor);
    json_take(&cursor, '{');
    json_space(&cursor);
    while (json_peek(&cursor) == '"') {
        struct json_string key;
        struct bytes value;
        if (json_string_scan(&cursor, &key) != ERR_OK)
            return false;
        json_space(&cursor);
        json_take(&cursor, ':');
        json_space(&cursor);
        if (json_skip(&cursor, LIMIT_JSON_DEPTH + 1, &value) != ERR_OK)
            return false;
        struct bytes plain = key.raw;
        if (key.escaped && key.raw.size <= 6 * record->field.size) {
            buf_clear(name);
            if (buf_reserve(name, key.raw.size + 1) != ERR_OK)
                return false;
            name->size = json_unescape(key.raw, name->data);
            plain = buf_bytes(name);
        }
        if (bytes_equal(plain, record->field)) {
            *ret_value = value;
            found = true;
        }
        json_space(&cursor);
        json_take(&cursor, ',');
        json_space(&cursor);
    }
    return found;
}

/* Equal values have equal texts: 1, 1.0 and 1e0; "a" and "\u0061". False: it is no key. */
static bool value_text(struct bytes value, struct buf *text)
{
    uint8_t first = value.data[0];
    if (first == 't' || first == 'f') {
        buf_byte(text, first);
    } else if (first == '"') {
        buf_byte(text, 's');
        if (buf_reserve(text, value.size) == ERR_OK)
            text->size +=
                json_unescape(bytes_from(value.data + 1, value.size - 2), text->data + text->size);
    } else if (first == '-' || (first >= '0' && first <= '9')) {
        double number;
        const uint8_t *at = value.data;
        enum json_number_kind kind = json_number_read(&at, value.data + value.size, &number);
        if (kind == JSON_NUMBER_INVALID)
            return false;
        buf_byte(text, kind == JSON_NUMBER_DOUBLE ? 'd' : 'n');
        if (kind == JSON_NUMBER_DOUBLE)
            buf_printf(text, "%.17g", number + 0.0); /* no negative zero */
        else
            buf_append(text, value.data, value.size);
    } else {
        return false;
    }
    return true;
}

static enum err digest_of(const struct dedupe_record *record,
                          uint8_t ret_digest[DEDUPE_DIGEST_BYTES], bool *ret_has)
{
    struct buf text;
    struct bytes value = {0};
    uint8_t digest[SHA256_BYTES];
    buf_init(&text, 2 * LIMIT_MESSAGE_BYTES_MAX);
    *ret_has = value_find(record, &text, &value);
    enum err err = text.err;
    buf_clear(&text);
    if (err == ERR_OK && *ret_has)
        *ret_has = value_text(value, &text);
    err = err == ERR_OK ? text.err : err;
    if (err == ERR_OK && *ret_has)
        err = sha256_of(buf_bytes(&text), digest);
    buf_fini(&text);
    if (err == ERR_OK && *ret_has)
        memcpy(ret_digest, digest, DEDUPE_DIGEST_BYTES);
    return err == ERR_TOO_LARGE ? ERR_NO_MEMORY : err;
}

/* --- deciding --------------------------------------------------------------------------------- */

static bool is_near(int64_t a_us, int64_t b_us, int64_t window_us)
{
    int64_t apart_us;
    if (__builtin_sub_overflow(a_us, b_us, &apart_us) || apart_us == INT64_MIN)
        return false;
    return (apart_us < 0 ? -apart_us : apart_us) < window_us;
}

enum verdict { NEW, KEPT_BEFORE, REPEATED };

/* An entry at the record's own place says that it was looked at before a crash, and kept. */
static enum verdict look(const struct dedupe_table *table, const struct dedupe_record *record,
                         const uint8_t *digest)
{
    enum verdict verdict = NEW;
    const struct dedupe_entry *entry = dedupe_table_find(table, digest);
    for (int i = 0; entry && i < OLDER_MAX; i++, entry = dedupe_table_older(table, entry)) {
        int compared = dedupe_place_compare(entry, &record->place);
        if (compared == 0)
            return KEPT_BEFORE;
        if (compared < 0 && is_near(entry->arrival_us, record->arrival_us, record->window_us))
            verdict = REPEATED;
    }
    return entry ? NEW : verdict; /* too many to look at: rather twice than not at all */
}

static enum err remember(struct dedupe *dedupe, const struct dedupe_record *record,
                         const uint8_t *digest)
{
    struct dedupe_entry entry = {.arrival_us = record->arrival_us,
                                 .block = record->place.block,
                                 .route = record->place.route,
                                 .message = record->place.message,
                                 .record = record->place.record};
    memcpy(entry.digest, digest, DEDUPE_DIGEST_BYTES);
    enum err err = dedupe_table_add(&dedupe->table, &entry);
    return err == ERR_TOO_MANY ? ERR_OK : err; /* kept, and its repetitions too */
}

enum err dedupe_see(struct dedupe *dedupe, const struct dedupe_record *record, bool *ret_repeated)
{
    uint8_t digest[DEDUPE_DIGEST_BYTES];
    bool has;
    *ret_repeated = false;
    enum err err = digest_of(record, digest, &has);
    if (err != ERR_OK || !has)
        return err;
    if (record->window_us > dedupe->window_us)
        dedupe->window_us = record->window_us;
    if (!dedupe->seen || record->arrival_us < dedupe->oldest_us)
        dedupe->oldest_us = record->arrival_us;
    dedupe->seen = true;
    enum verdict verdict = look(&dedupe->table, record, digest);
    *ret_repeated = verdict == REPEATED;
    return verdict == NEW ? remember(dedupe, record, digest) : ERR_OK;
}

size_t dedupe_mark(const struct dedupe *dedupe)
{
    return dedupe ? dedupe->table.count : 0;
}

void dedupe_undo(struct dedupe *dedupe, size_t mark)
{
    if (dedupe)
        dedupe_table_truncate(&dedupe->table, mark);
}

void dedupe_settle(struct dedupe *dedupe)
{
    if (!dedupe || dedupe->table.count <= DEDUPE_ENTRIES_MAX)
        return;
    dedupe_table_forget(&dedupe->table, dedupe->table.count - DEDUPE_ENTRIES_MAX / 4 * 3);
    dedupe->changed = true;
}

size_t dedupe_memory_bytes(const struct dedupe *dedupe)
{
    return dedupe ? sizeof(*dedupe) + dedupe_table_bytes(&dedupe->table) : 0;
}

/* --- the file --------------------------------------------------------------------------------- */

static void entry_write(struct buf *out, const struct dedupe_entry *entry)
{
    buf_append(out, entry->digest, DEDUPE_DIGEST_BYTES);
    buf_u64(out, (uint64_t)entry->arrival_us);
    buf_u64(out, entry->block);
    buf_u32(out, entry->route);
    buf_u32(out, entry->message);
    buf_u32(out, entry->record);
}

static enum err file_encode(const struct dedupe *dedupe, struct buf *out)
{
    buf_u32(out, FILE_MAGIC);
    buf_u32(out, 0);
    record_append_text16(out, bytes_from_text(dedupe->options.journal_uuid));
    record_append_text16(out, bytes_from(dedupe->dataset_id, dedupe->dataset_id_size));
    buf_u32(out, (uint32_t)dedupe->table.count);
    for (size_t i = 0; i < dedupe->table.count; i++)
        entry_write(out, &dedupe->table.entries[i]);
    if (out->err == ERR_OK)
        store_u32(out->data + 4,
                  crc32c(0, out->data + FILE_HEAD_BYTES, out->size - FILE_HEAD_BYTES));
    return out->err;
}

/* What is no whole file of this dataset and journal is none at all. */
static enum err file_decode(struct dedupe *dedupe, struct bytes text)
{
    if (text.size < FILE_HEAD_BYTES || load_u32(text.data) != FILE_MAGIC ||
        load_u32(text.data + 4) !=
            crc32c(0, text.data + FILE_HEAD_BYTES, text.size - FILE_HEAD_BYTES))
        return ERR_CORRUPT;
    struct record_reader reader =
        record_reader_of(bytes_from(text.data + FILE_HEAD_BYTES, text.size - FILE_HEAD_BYTES));
    struct bytes uuid = record_text16(&reader);
    struct bytes id = record_text16(&reader);
    uint32_t count = record_u32(&reader);
    if (reader.bad || count > reader.left / ENTRY_BYTES ||
        !bytes_equal_text(uuid, dedupe->options.journal_uuid) ||
        !bytes_equal(id, bytes_from(dedupe->dataset_id, dedupe->dataset_id_size)))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < count; i++) {
        struct dedupe_entry entry = {0};
        struct bytes digest = record_bytes(&reader, DEDUPE_DIGEST_BYTES);
        memcpy(entry.digest, digest.data, DEDUPE_DIGEST_BYTES);
        entry.arrival_us = (int64_t)record_u64(&reader);
        entry.block = record_u64(&reader);
        entry.route = record_u32(&reader);
        entry.message = record_u32(&reader);
        entry.record = record_u32(&reader);
        enum err err = dedupe_table_add(&dedupe->table, &entry);
        if (err != ERR_OK)
            return err;
    }
    return record_end(&reader) ? ERR_OK : ERR_CORRUPT;
}

static enum err file_read(const struct dedupe *dedupe, struct buf *out)
{
    const struct fs *fs = dedupe->options.fs;
    struct fs_stat stat;
    struct fs_file *file = NULL;
    size_t read = 0;
    enum err err = fs_stat(fs, dedupe->path, &stat, NULL);
    if (err == ERR_OK && stat.size_bytes > FILE_BYTES_MAX)
        err = ERR_CORRUPT;
    if (err == ERR_OK)
        err = buf_reserve(out, (size_t)stat.size_bytes + 1);
    if (err == ERR_OK)
        err = fs_open(fs, dedupe->path, FS_READ, &file, NULL);
    if (err == ERR_OK)
        err = fs_read(fs, file, 0, out->data, (size_t)stat.size_bytes, &read, NULL);
    fs_close(fs, file);
    out->size = err == ERR_OK ? read : 0;
    return err;
}

static enum err file_load(struct dedupe *dedupe)
{
    struct buf text;
    buf_init(&text, FILE_BYTES_MAX + 1);
    enum err err = file_read(dedupe, &text);
    if (err == ERR_OK)
        err = file_decode(dedupe, buf_bytes(&text));
    buf_fini(&text);
    if (err == ERR_NO_MEMORY)
        return err;
    if (err != ERR_OK)
        dedupe_table_fini(&dedupe->table);
    dedupe->saved_count = dedupe->table.count;
    return ERR_OK;
}

static enum err file_write(const struct dedupe *dedupe, struct bytes text, struct diag *diag)
{
    const struct fs *fs = dedupe->options.fs;
    char temporary[PATH_SIZE + 8];
    struct fs_file *file = NULL;
    snprintf(temporary, sizeof(temporary), "%s.tmp", dedupe->path);
    enum err err = fs_open(fs, temporary, FS_WRITE | FS_CREATE | FS_TRUNCATE, &file, diag);
    if (err == ERR_OK)
        err = fs_write(fs, file, 0, text.data, text.size, diag);
    if (err == ERR_OK)
        err = fs_sync(fs, file, diag);
    fs_close(fs, file);
    if (err == ERR_OK)
        err = fs_rename(fs, temporary, dedupe->path, diag);
    if (err == ERR_OK)
        err = fs_sync_folder(fs, dedupe->options.folder, diag);
    return err;
}

/* What no record can meet any more, also if all since the last save is decoded again. */
static void forget_old(struct dedupe *dedupe)
{
    const struct dedupe_table *table = &dedupe->table;
    size_t old = 0;
    while (old < table->count && table->entries[old].arrival_us < dedupe->oldest_us &&
           !is_near(table->entries[old].arrival_us, dedupe->oldest_us, dedupe->window_us))
        old++;
    if (dedupe->seen && old > table->count / FORGET_SHARE) {
        dedupe_table_forget(&dedupe->table, old);
        dedupe->changed = true;
    }
}

enum err dedupe_save(struct dedupe *dedupe, struct diag *diag)
{
    if (!dedupe || !dedupe->options.folder)
        return ERR_OK;
    forget_old(dedupe);
    if (dedupe->table.count == dedupe->saved_count && !dedupe->changed)
        return ERR_OK;
    struct buf text;
    buf_init(&text, FILE_BYTES_MAX);
    enum err err = file_encode(dedupe, &text);
    if (err == ERR_OK)
        err = file_write(dedupe, buf_bytes(&text), diag);
    buf_fini(&text);
    if (err != ERR_OK)
        return err;
    dedupe->saved_count = dedupe->table.count;
    dedupe->changed = dedupe->seen = false;
    return ERR_OK;
}

/* --- life ------------------------------------------------------------------------------------- */

static enum err path_make(struct dedupe *dedupe)
{
    uint8_t digest[SHA256_BYTES];
    char name[2 * NAME_HASH_BYTES + 1];
    enum err err = sha256_of(bytes_from(dedupe->dataset_id, dedupe->dataset_id_size), digest);
    if (err != ERR_OK)
        return err;
    hex_encode(digest, NAME_HASH_BYTES, name);
    int length =
        snprintf(dedupe->path, sizeof(dedupe->path), "%s/%s", dedupe->options.folder, name);
    return length < (int)sizeof(dedupe->path) ? ERR_OK : ERR_TOO_LARGE;
}

enum err dedupe_new(const struct dedupe_options *options, struct bytes dataset_id,
                    struct dedupe **ret_dedupe)
{
    struct dedupe *dedupe = mem_zalloc(1, sizeof(*dedupe));
    if (!dedupe)
        return ERR_NO_MEMORY;
    dedupe->options = *options;
    dedupe->dataset_id = mem_dup(dataset_id.data, dataset_id.size);
    dedupe->dataset_id_size = dataset_id.size;
    enum err err = dedupe->dataset_id ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK && options->folder)
        err = path_make(dedupe);
    if (err == ERR_OK && options->folder)
        err = file_load(dedupe);
    if (err != ERR_OK) {
        dedupe_free(dedupe);
        return err;
    }
    *ret_dedupe = dedupe;
    return ERR_OK;
}

void dedupe_free(struct dedupe *dedupe)
{
    if (!dedupe)
        return;
    dedupe_table_fini(&dedupe->table);
    mem_free(dedupe->dataset_id);
    mem_free(dedupe);
}

/* --- the folder ------------------------------------------------------------------------------- */

struct cleaning {
    const struct fs *fs;
    const char *folder;
    int64_t now_us;
};

static enum err on_name(void *ctx, const char *name)
{
    const struct cleaning *cleaning = ctx;
    char path[PATH_SIZE];
    struct fs_stat stat;
    int length = snprintf(path, sizeof(path), "%s/%s", cleaning->folder, name);
    if (length < (int)sizeof(path) && fs_stat(cleaning->fs, path, &stat, NULL) == ERR_OK &&
        !stat.is_folder && stat.modified_us > 0 && stat.modified_us < cleaning->now_us - STALE_US)
        (void)!fs_unlink(cleaning->fs, path, NULL);
    return ERR_OK;
}

enum err dedupe_folder_open(const struct fs *fs, const char *folder, int64_t now_us,
                            struct diag *diag)
{
    struct cleaning cleaning = {fs, folder, now_us};
    enum err err = fs_make_folders(fs, folder, diag);
    return err == ERR_OK ? fs_list(fs, folder, on_name, &cleaning, diag) : err;
}
