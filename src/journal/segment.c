/*
 * Damage or torn tail. Walking a segment, a number n is expected and what stands there is no block
 * of this epoch with that number. It was durable, and so is damage, if
 *   - a newer segment takes over from a number above n (it began only when all below were durable),
 *   - or some block behind it in this segment says durable_number >= n.
 * Then the walk goes on at the next good block. Else nobody was promised n: the log ends before it,
 * and blocks behind it, written in the same batch and perhaps whole, do not count.
 *
 * The second question needs all pages behind the spot: they are read once per segment, and only
 * pages that begin like a block of this epoch are looked into. A block is searched at 4096 steps,
 * also inside of what could be a damaged block's payload; that no payload can forge one is the
 * epoch's random half.
 */
#include "journal/segment.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crc32c.h"

#include <assert.h>
#include <stdio.h>

#define SEGMENT_MAGIC        0x31474553474e4949ull /* "IINGSEG1" */
#define HEADER_COVERED_BYTES 256 /* the checksum's; what a later version adds fits in here */
#define WINDOW_BYTES         (1 * MIB)
#define PAGE                 ((size_t)LIMIT_BLOCK_ALIGN_BYTES)
#define SLOT_MAX             999999

_Static_assert(16 + SEGMENT_HEADER_BODY_BYTES < HEADER_COVERED_BYTES, "the header fits");

/* ---- names and header ---- */

enum err segment_path(char *ret_path, const char *folder, uint32_t slot, struct diag *diag)
{
    int length =
        snprintf(ret_path, SEGMENT_PATH_MAX, "%s/" SEGMENT_NAME_PREFIX "%06u", folder, slot);
    if (length < 0 || length >= SEGMENT_PATH_MAX)
        return diag_set(diag, ERR_INVALID, "the path of the journal folder is too long");
    return ERR_OK;
}

bool segment_slot_from_name(const char *name, uint32_t *ret_slot)
{
    size_t prefix = sizeof(SEGMENT_NAME_PREFIX) - 1;
    uint32_t slot = 0;
    if (strncmp(name, SEGMENT_NAME_PREFIX, prefix) != 0 || strlen(name) != prefix + 6)
        return false;
    for (const char *at = name + prefix; *at; at++) {
        if (*at < '0' || *at > '9')
            return false;
        slot = slot * 10 + (uint32_t)(*at - '0');
    }
    *ret_slot = slot;
    return slot <= SLOT_MAX;
}

void segment_header_body_write(uint8_t body[SEGMENT_HEADER_BODY_BYTES],
                               const struct segment_header *header)
{
    store_u32(body, SEGMENT_VERSION);
    memcpy(body + 4, header->uuid, SEGMENT_UUID_CHARS);
    body += 4 + SEGMENT_UUID_CHARS;
    store_u64(body, header->epoch);
    store_u64(body + 8, header->first_number);
    store_u64(body + 16, header->free_below);
    store_u64(body + 24, header->carried_through);
}

static void header_body_read(const uint8_t *body, struct segment_header *header)
{
    header->version = load_u32(body);
    memcpy(header->uuid, body + 4, SEGMENT_UUID_CHARS);
    header->uuid[SEGMENT_UUID_CHARS] = '\0';
    body += 4 + SEGMENT_UUID_CHARS;
    header->epoch = load_u64(body);
    header->first_number = load_u64(body + 8);
    header->free_below = load_u64(body + 16);
    header->carried_through = load_u64(body + 24);
}

void segment_header_write(uint8_t *page, const struct segment_header *header)
{
    memset(page, 0, PAGE);
    store_u64(page, SEGMENT_MAGIC);
    segment_header_body_write(page + 16, header);
    store_u32(page + 8, crc32c(0, page + 16, HEADER_COVERED_BYTES - 16));
}

static bool header_sane(const struct segment_header *header)
{
    return header->epoch != 0 && header->first_number != 0 &&
           header->first_number < LIMIT_BLOCK_NUMBER &&
           header->carried_through < LIMIT_BLOCK_NUMBER;
}

enum err segment_header_read(const uint8_t *page, struct segment_header *ret_header,
                             struct diag *diag)
{
    if (load_u64(page) != SEGMENT_MAGIC)
        return diag_set(diag, ERR_CORRUPT, "no segment header");
    if (load_u32(page + 8) != crc32c(0, page + 16, HEADER_COVERED_BYTES - 16))
        return diag_set(diag, ERR_CORRUPT, "the segment header's checksum is wrong");
    header_body_read(page + 16, ret_header);
    if (ret_header->version > SEGMENT_VERSION)
        return diag_set(diag, ERR_VERSION,
                        "the journal was written by a newer version (format %u; this program knows "
                        "up to %d): start that version, or give this one another JOURNAL_DIR",
                        ret_header->version, SEGMENT_VERSION);
    if (ret_header->version == 0 || !header_sane(ret_header))
        return diag_set(diag, ERR_CORRUPT, "the segment header makes no sense");
    return ERR_OK;
}

/* ---- reading through a window ---- */

struct reader {
    const struct fs *fs;
    struct fs_file *file;
    uint64_t size_bytes;
    uint8_t *window;
    size_t window_capacity;
    size_t window_size;
    uint64_t window_offset;
};

static void reader_fini(struct reader *reader)
{
    fs_close(reader->fs, reader->file);
    mem_free(reader->window);
    *reader = (struct reader){0};
}

static enum err reader_init(struct reader *reader, const struct fs *fs, const char *path,
                            struct diag *diag)
{
    struct fs_stat stat;
    *reader = (struct reader){.fs = fs};
    enum err err = fs_stat(fs, path, &stat, diag);
    if (err == ERR_OK)
        err = fs_open(fs, path, FS_READ, &reader->file, diag);
    if (err != ERR_OK) {
        *reader = (struct reader){0};
        return err;
    }
    reader->size_bytes = stat.size_bytes;
    uint64_t pages = (stat.size_bytes + PAGE) & ~(uint64_t)(PAGE - 1);
    reader->window_capacity = pages < WINDOW_BYTES ? (size_t)pages : WINDOW_BYTES;
    reader->window = mem_aligned(PAGE, reader->window_capacity);
    if (reader->window)
        return ERR_OK;
    reader_fini(reader);
    return diag_set(diag, ERR_NO_MEMORY, "no memory to read %s", path);
}

static enum err window_grow(struct reader *reader, size_t size_bytes)
{
    if (size_bytes <= reader->window_capacity)
        return ERR_OK;
    uint8_t *window = mem_aligned(PAGE, size_bytes);
    if (!window)
        return ERR_NO_MEMORY;
    mem_free(reader->window);
    reader->window = window;
    reader->window_capacity = size_bytes;
    reader->window_size = 0;
    return ERR_OK;
}

/* A view of up to size_bytes at offset, less at the file's end. ERR_CORRUPT: cannot be read. */
static enum err reader_view(struct reader *reader, uint64_t offset, size_t size_bytes,
                            struct bytes *ret_view)
{
    uint64_t left = offset < reader->size_bytes ? reader->size_bytes - offset : 0;
    if (size_bytes > left)
        size_bytes = (size_t)left;
    if (offset < reader->window_offset ||
        offset + size_bytes > reader->window_offset + reader->window_size) {
        enum err err = window_grow(reader, size_bytes);
        if (err != ERR_OK)
            return err;
        reader->window_offset = offset;
        size_t wanted = left < reader->window_capacity ? (size_t)left : reader->window_capacity;
        err = fs_read(reader->fs, reader->file, offset, reader->window, wanted,
                      &reader->window_size, NULL);
        if (err != ERR_OK) /* a bad sector further on must not hide this one */
            err = fs_read(reader->fs, reader->file, offset, reader->window, size_bytes,
                          &reader->window_size, NULL);
        if (err != ERR_OK) {
            reader->window_size = 0;
            return err == ERR_NO_MEMORY ? err : ERR_CORRUPT;
        }
    }
    size_t have = (size_t)(reader->window_offset + reader->window_size - offset);
    *ret_view = bytes_from(reader->window + (offset - reader->window_offset),
                           have < size_bytes ? have : size_bytes);
    return ERR_OK;
}

/* The block of this epoch at offset. ERR_CORRUPT: there is none. */
static enum err reader_block(struct reader *reader, uint64_t offset, uint64_t epoch,
                             struct block_header *ret_header, struct bytes *ret_image)
{
    enum err err = reader_view(reader, offset, PAGE, ret_image);
    if (err != ERR_OK)
        return err;
    if (ret_image->size < BLOCK_HEADER_BYTES)
        return ERR_CORRUPT;
    block_header_read(ret_image->data, ret_header);
    if (ret_header->magic != BLOCK_MAGIC || ret_header->epoch != epoch ||
        ret_header->size_bytes > LIMIT_BLOCK_BYTES ||
        ret_header->size_bytes > reader->size_bytes - offset)
        return ERR_CORRUPT;
    err = reader_view(reader, offset, ret_header->size_bytes, ret_image);
    return err == ERR_OK ? block_check(*ret_image, ret_header, NULL) : err;
}

static uint64_t padded(uint64_t size_bytes)
{
    return (size_bytes + PAGE - 1) & ~(uint64_t)(PAGE - 1);
}

/* ---- identify ---- */

/* The copy of the header in the checkpoint's first record. */
static enum err header_copy_read(struct bytes page, struct segment_header *ret_header)
{
    struct block_header block;
    size_t record = BLOCK_HEADER_BYTES;
    if (block_check(page, &block, NULL) != ERR_OK || block.kind != BLOCK_CHECKPOINT ||
        block.size_bytes < record + 6 + SEGMENT_HEADER_BODY_BYTES ||
        load_u32(page.data + record) != 6 + SEGMENT_HEADER_BODY_BYTES ||
        page.data[record + 4] != RECORD_CHECKPOINT_FIRST)
        return ERR_CORRUPT;
    header_body_read(page.data + record + 6, ret_header);
    return ret_header->epoch == block.epoch && header_sane(ret_header) ? ERR_OK : ERR_CORRUPT;
}

enum err segment_probe(const struct fs *fs, const char *path, uint64_t epoch_min, bool *ret_found,
                       struct diag *diag)
{
    struct reader reader;
    struct block_header header;
    struct bytes view;
    *ret_found = false;
    enum err err = reader_init(&reader, fs, path, diag);
    for (uint64_t offset = PAGE; err == ERR_OK && offset < reader.size_bytes && !*ret_found;
         offset += PAGE) {
        err = reader_view(&reader, offset, PAGE, &view);
        if (err == ERR_OK && view.size >= BLOCK_HEADER_BYTES) {
            block_header_read(view.data, &header);
            if (header.magic == BLOCK_MAGIC && header.epoch >= epoch_min &&
                header.kind != BLOCK_CHECKPOINT)
                err = reader_block(&reader, offset, header.epoch, &header, &view);
            else
                err = ERR_CORRUPT;
            *ret_found = err == ERR_OK;
        }
        if (err == ERR_CORRUPT)
            err = ERR_OK;
    }
    if (reader.fs)
        reader_fini(&reader);
    return err;
}

enum err segment_identify(const struct fs *fs, const char *path, struct segment_header *ret_header,
                          uint64_t *ret_size_bytes, bool *ret_copy, struct diag *diag)
{
    struct reader reader;
    struct bytes view;
    *ret_copy = false;
    enum err err = reader_init(&reader, fs, path, diag);
    if (err != ERR_OK)
        return err;
    *ret_size_bytes = reader.size_bytes;
    err = reader_view(&reader, 0, PAGE, &view);
    if (err == ERR_OK)
        err = view.size == PAGE ? segment_header_read(view.data, ret_header, diag) : ERR_CORRUPT;
    if (err == ERR_CORRUPT) {
        struct block_header block;
        err = reader_view(&reader, PAGE, PAGE, &view);
        if (err == ERR_OK && view.size == PAGE) {
            block_header_read(view.data, &block);
            if (block.size_bytes <= LIMIT_BLOCK_BYTES)
                err = reader_view(&reader, PAGE, block.size_bytes, &view);
        }
        if (err == ERR_OK)
            err = header_copy_read(view, ret_header);
        *ret_copy = err == ERR_OK;
        if (err == ERR_CORRUPT)
            err = ERR_NOT_FOUND;
    }
    reader_fini(&reader);
    return err;
}

/* ---- walk ---- */

struct walk {
    struct reader reader;
    const struct segment *segment;
    const struct segment_visitor *visitor;
    struct segment_end end;
    bool scanned; /* end.durable covers the whole segment */
};

/* The next good log block at or behind offset with a number >= from. ERR_NOT_FOUND: none. */
static enum err block_search(struct walk *walk, uint64_t offset, uint64_t from,
                             uint64_t *ret_offset)
{
    struct block_header header;
    struct bytes image;
    for (; offset < walk->reader.size_bytes; offset += PAGE) {
        enum err err = reader_block(&walk->reader, offset, walk->segment->epoch, &header, &image);
        if (err == ERR_OK && header.kind != BLOCK_CHECKPOINT && header.number >= from) {
            *ret_offset = offset;
            return ERR_OK;
        }
        if (err != ERR_OK && err != ERR_CORRUPT)
            return err;
    }
    return ERR_NOT_FOUND;
}

/* What the blocks behind offset say of durability, so that it is known for all of the segment. */
static enum err durable_scan(struct walk *walk, uint64_t offset)
{
    struct block_header header;
    struct bytes image;
    if (walk->scanned)
        return ERR_OK;
    while (offset < walk->reader.size_bytes) {
        enum err err = reader_block(&walk->reader, offset, walk->segment->epoch, &header, &image);
        if (err != ERR_OK && err != ERR_CORRUPT)
            return err;
        if (err == ERR_OK && header.durable_number > walk->end.durable)
            walk->end.durable = header.durable_number;
        offset += err == ERR_OK ? padded(header.size_bytes) : PAGE;
    }
    walk->scanned = true;
    return ERR_OK;
}

/* At offset the block of this number is missing. Where to go on: *offset; ERR_NOT_FOUND: the log
 * of this segment ends here. */
static enum err walk_gap(struct walk *walk, uint64_t number, uint64_t *offset)
{
    const struct segment *segment = walk->segment;
    uint64_t bad_offset = *offset, known = segment->end_number - 1, next_number;
    struct block_header header;
    struct bytes image;
    if (number >= segment->end_number)
        return ERR_NOT_FOUND;
    if (segment->end_number == UINT64_MAX) {
        enum err err = durable_scan(walk, bad_offset);
        if (err != ERR_OK)
            return err;
        known = walk->end.durable;
    }
    if (number > known)
        return ERR_NOT_FOUND;
    enum err err = block_search(walk, bad_offset, number, offset);
    if (err == ERR_OK)
        err = reader_block(&walk->reader, *offset, segment->epoch, &header, &image);
    if (err != ERR_OK && err != ERR_NOT_FOUND)
        return err;
    if (err == ERR_OK && header.number > known + 1)
        err = ERR_NOT_FOUND; /* whole, but what is between was promised to nobody and is torn */
    next_number = err == ERR_OK ? header.number : known + 1;
    enum err told = ERR_OK;
    if (next_number > number)
        told = walk->visitor->on_damage(walk->visitor->ctx, bad_offset, number, next_number);
    if (told == ERR_OK && err == ERR_NOT_FOUND)
        walk->end.last_number = known; /* numbers that were given are not given again */
    return told != ERR_OK ? told : err;
}

static enum err walk_blocks(struct walk *walk, uint64_t offset)
{
    const struct segment *segment = walk->segment;
    struct block_header header;
    struct bytes image;
    uint64_t number = segment->first_number;
    for (;;) {
        enum err err = reader_block(&walk->reader, offset, segment->epoch, &header, &image);
        if (err == ERR_OK && (header.kind == BLOCK_CHECKPOINT || header.number != number))
            err = ERR_CORRUPT;
        if (err == ERR_CORRUPT) {
            err = walk_gap(walk, number, &offset);
            if (err != ERR_OK)
                return err == ERR_NOT_FOUND ? ERR_OK : err;
            err = reader_block(&walk->reader, offset, segment->epoch, &header, &image);
        }
        if (err != ERR_OK || header.number >= segment->end_number)
            return err;
        if (header.durable_number > walk->end.durable)
            walk->end.durable = header.durable_number;
        err = walk->visitor->on_block(walk->visitor->ctx, &header, image, offset);
        if (err != ERR_OK)
            return err;
        offset += padded(header.size_bytes);
        walk->end.last_number = header.number;
        walk->end.offset = offset;
        number = header.number + 1;
    }
}

/* Where the log's blocks begin. A checkpoint that breaks off is its reader's affair. */
static enum err walk_checkpoint(struct walk *walk, uint64_t *ret_offset)
{
    struct block_header header;
    struct bytes image;
    uint64_t offset = PAGE;
    for (;;) {
        enum err err = reader_block(&walk->reader, offset, walk->segment->epoch, &header, &image);
        if (err == ERR_OK && header.kind != BLOCK_CHECKPOINT)
            err = ERR_CORRUPT;
        *ret_offset = offset;
        if (err == ERR_CORRUPT)
            return ERR_OK;
        if (err == ERR_OK && walk->visitor->on_checkpoint)
            err = walk->visitor->on_checkpoint(walk->visitor->ctx, &header, image, offset);
        if (err != ERR_OK)
            return err;
        offset += padded(header.size_bytes);
        *ret_offset = offset;
        if (!(header.flags & BLOCK_MORE))
            return ERR_OK;
    }
}

enum err segment_walk(const struct fs *fs, const char *path, const struct segment *segment,
                      const struct segment_visitor *visitor, struct segment_end *ret_end,
                      struct diag *diag)
{
    struct walk walk = {.segment = segment, .visitor = visitor};
    uint64_t offset;
    enum err err = reader_init(&walk.reader, fs, path, diag);
    if (err != ERR_OK)
        return err;
    walk.end.last_number = segment->first_number - 1;
    err = walk_checkpoint(&walk, &offset);
    walk.end.offset = offset;
    if (err == ERR_OK && visitor->on_block)
        err = walk_blocks(&walk, offset);
    if (err != ERR_OK)
        (void)diag_set(diag, err, "reading %s ended at offset %llu: %s", path,
                       (unsigned long long)walk.end.offset, err_text(err));
    *ret_end = walk.end;
    reader_fini(&walk.reader);
    return err;
}
