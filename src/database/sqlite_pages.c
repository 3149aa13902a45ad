/*
 *     page:  [header of the file, on page 1] kind u8 | first free block u16 | cells u16 |
 *            content from u16 | fragments u8 | (interior: right child u32) |
 *            cells x where u16 | unused | content
 *     cell:  (interior: child u32) | payload size varint | (table: rowid varint) | payload |
 *            (when it goes on: page u32);  a page that goes on: next u32 | payload
 *     payload: header size varint | kinds x varint | values
 *
 * All numbers big-endian. A page that goes on tells by its pointer whether it is one: the last has
 * 0 there, and none before it. What came from one whose pointer is wrong is not given.
 */
#include "database/sqlite_pages.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "database/sqlite_image.h"

#define INDEX_INTERIOR 2
#define INDEX_LEAF     10
#define TABLE_LEAF     13

struct walk {
    struct sqlite_image *image;
    uint32_t usable;
    struct buf payload;
    struct database_value columns[DATABASE_COLUMNS_MAX];
    enum err (*on_row)(void *ctx, const struct sqlite_row *row);
    void *ctx;
    struct diag *diag;
    uint8_t page[SQLITE_PAGE_MAX];
    uint8_t next[SQLITE_PAGE_MAX];
};

struct cell {
    const uint8_t *local;
    size_t local_size;
    uint64_t payload_size;
    uint32_t goes_on; /* page; 0: nowhere */
    int64_t rowid;
    size_t size; /* on its page */
};

static uint32_t be16(const uint8_t *from)
{
    return (uint32_t)from[0] << 8 | from[1];
}

static uint32_t be32(const uint8_t *from)
{
    return be16(from) << 16 | be16(from + 2);
}

/* The bytes it took, or 0. */
static size_t varint_read(const uint8_t *from, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 9 && from + i < end; i++) {
        if (i == 8) {
            *ret_value = value << 8 | from[8];
            return 9;
        }
        value = value << 7 | (from[i] & 0x7f);
        if (!(from[i] & 0x80)) {
            *ret_value = value;
            return i + 1;
        }
    }
    return 0;
}

/* --- cells --------------------------------------------------------------------------------- */

/* How much of a payload stays on the page. */
static size_t local_size(const struct walk *walk, uint8_t kind, uint64_t payload_size)
{
    size_t usable = walk->usable;
    size_t most = kind == TABLE_LEAF ? usable - 35 : (usable - 12) * 64 / 255 - 23;
    size_t least = (usable - 12) * 32 / 255 - 23;
    if (payload_size <= most)
        return (size_t)payload_size;
    size_t wanted = least + (size_t)((payload_size - least) % (usable - 4));
    return wanted <= most ? wanted : least;
}

static bool cell_read(const struct walk *walk, uint8_t kind, size_t at, struct cell *ret_cell)
{
    const uint8_t *from = walk->page + at, *end = walk->page + walk->usable;
    uint64_t rowid = 0;
    size_t size;
    if (kind == INDEX_INTERIOR)
        from += 4;
    if (from >= end || (size = varint_read(from, end, &ret_cell->payload_size)) == 0)
        return false;
    from += size;
    if (kind == TABLE_LEAF) {
        if ((size = varint_read(from, end, &rowid)) == 0)
            return false;
        from += size;
    }
    if (ret_cell->payload_size == 0 || ret_cell->payload_size > SQLITE_PAGES_ROW_MAX)
        return false;
    size_t local = local_size(walk, kind, ret_cell->payload_size);
    bool goes_on = local < ret_cell->payload_size;
    if ((size_t)(end - from) < local + (goes_on ? 4 : 0))
        return false;
    ret_cell->local = from;
    ret_cell->local_size = local;
    ret_cell->goes_on = goes_on ? be32(from + local) : 0;
    ret_cell->rowid = (int64_t)rowid;
    from += local + (goes_on ? 4 : 0);
    ret_cell->size = (size_t)(from - (walk->page + at));
    return true;
}

struct layout {
    uint8_t kind;
    size_t header; /* where it is */
    size_t cells;  /* where their places are */
    size_t cell_count;
    size_t content;
};

static bool layout_read(const struct walk *walk, uint32_t number, struct layout *ret_layout)
{
    size_t at = number == 1 ? 100 : 0;
    const uint8_t *header = walk->page + at;
    uint8_t kind = header[0];
    size_t content = be16(header + 5) == 0 ? SQLITE_PAGE_MAX : be16(header + 5);
    *ret_layout = (struct layout){.kind = kind,
                                  .header = at,
                                  .cells = at + (kind == INDEX_INTERIOR ? 12 : 8),
                                  .cell_count = be16(header + 3),
                                  .content = content};
    return (kind == INDEX_INTERIOR || kind == INDEX_LEAF || kind == TABLE_LEAF) &&
           content <= walk->usable && ret_layout->cells + 2 * ret_layout->cell_count <= content;
}

/* The bytes of the free blocks, or SIZE_MAX. */
static size_t free_blocks(const struct walk *walk, const struct layout *layout)
{
    size_t sum = 0;
    size_t at = be16(walk->page + layout->header + 1), behind = layout->content;
    while (at != 0) {
        if (at < behind || at + 4 > walk->usable)
            return SIZE_MAX;
        size_t size = be16(walk->page + at + 2);
        if (size < 4 || at + size > walk->usable)
            return SIZE_MAX;
        sum += size;
        behind = at + size;
        at = be16(walk->page + at);
    }
    return sum;
}

static size_t cell_place(const struct walk *walk, const struct layout *layout, size_t i)
{
    return be16(walk->page + layout->cells + 2 * i);
}

/* Cells, free blocks and fragments are all there is between the content's start and the end. */
static bool page_whole(const struct walk *walk, const struct layout *layout)
{
    size_t sum = free_blocks(walk, layout);
    struct cell cell;
    if (sum == SIZE_MAX)
        return false;
    for (size_t i = 0; i < layout->cell_count; i++) {
        size_t at = cell_place(walk, layout, i);
        if (at < layout->content || at >= walk->usable || !cell_read(walk, layout->kind, at, &cell))
            return false;
        sum += cell.size < 4 ? 4 : cell.size;
    }
    return sum + walk->page[layout->header + 7] == walk->usable - layout->content;
}

/* --- rows ---------------------------------------------------------------------------------- */

/* What can be told to be the payload. */
static enum err payload_read(struct walk *walk, const struct cell *cell)
{
    uint32_t number = cell->goes_on;
    size_t room = walk->usable - 4;
    buf_clear(&walk->payload);
    enum err err = buf_append(&walk->payload, cell->local, cell->local_size);
    while (err == ERR_OK && walk->payload.size < cell->payload_size) {
        uint64_t left = cell->payload_size - walk->payload.size;
        if (sqlite_image_is_free(walk->image, number))
            return ERR_OK;
        err = sqlite_image_read(walk->image, number, walk->next, walk->diag);
        if (err != ERR_OK)
            return err;
        number = be32(walk->next);
        if ((number == 0) != (left <= room) ||
            (number != 0 && sqlite_image_is_free(walk->image, number)))
            return ERR_OK;
        err = buf_append(&walk->payload, walk->next + 4, left < room ? (size_t)left : room);
    }
    return err;
}

static int64_t integer_read(const uint8_t *from, size_t size)
{
    uint64_t value = size > 0 && (from[0] & 0x80) ? UINT64_MAX : 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | from[i];
    return (int64_t)value;
}

/* SIZE_MAX: there is no such kind. */
static size_t value_size(uint64_t kind)
{
    static const uint8_t sizes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
    if (kind < sizeof(sizes))
        return sizes[kind];
    if (kind < 12 || kind > 2 * (uint64_t)SQLITE_PAGES_ROW_MAX + 13)
        return SIZE_MAX;
    return (size_t)((kind - 12) / 2);
}

static struct database_value value_read(uint64_t kind, const uint8_t *from, size_t size)
{
    double number;
    if (kind == 0)
        return database_null();
    if (kind == 7) {
        int64_t bits = integer_read(from, 8);
        memcpy(&number, &bits, sizeof(number));
        return database_number(number);
    }
    if (kind < 12)
        return database_integer(kind == 8 ? 0 : kind == 9 ? 1 : integer_read(from, size));
    return kind % 2 ? database_text(bytes_from(from, size)) : database_blob(bytes_from(from, size));
}

/* False: this is no row. */
static bool row_read(struct walk *walk, const struct cell *cell, struct sqlite_row *ret_row)
{
    const uint8_t *data = walk->payload.data, *have = data + walk->payload.size;
    uint64_t header_size, kind;
    size_t used = varint_read(data, have, &header_size);
    if (used == 0 || header_size < used || header_size > walk->payload.size)
        return false;
    const uint8_t *kinds = data + used, *kinds_end = data + header_size;
    uint64_t at = header_size;
    bool readable = true;
    while (kinds < kinds_end) {
        size_t i = ret_row->column_count;
        used = varint_read(kinds, kinds_end, &kind);
        size_t size = used > 0 ? value_size(kind) : SIZE_MAX;
        if (size == SIZE_MAX || i == DATABASE_COLUMNS_MAX)
            return false;
        kinds += used;
        readable = readable && at + size <= walk->payload.size;
        walk->columns[i] = readable ? value_read(kind, data + at, size) : database_null();
        at += size;
        ret_row->readable += readable;
        ret_row->own += readable && at <= cell->local_size;
        ret_row->column_count++;
    }
    ret_row->columns = walk->columns;
    return at == cell->payload_size;
}

static enum err page_each(struct walk *walk, uint32_t number)
{
    struct layout layout;
    struct cell cell;
    enum err err = sqlite_image_read(walk->image, number, walk->page, walk->diag);
    if (err != ERR_OK || !layout_read(walk, number, &layout) || !page_whole(walk, &layout))
        return err;
    for (size_t i = 0; i < layout.cell_count && err == ERR_OK; i++) {
        if (!cell_read(walk, layout.kind, cell_place(walk, &layout, i), &cell))
            continue;
        struct sqlite_row row = {.is_index = layout.kind != TABLE_LEAF, .rowid = cell.rowid};
        err = payload_read(walk, &cell);
        if (err == ERR_OK && row_read(walk, &cell, &row))
            err = walk->on_row(walk->ctx, &row);
    }
    return err;
}

enum err sqlite_pages_each(const char *path,
                           enum err (*on_row)(void *ctx, const struct sqlite_row *row), void *ctx,
                           struct diag *diag)
{
    struct walk *walk = mem_zalloc(1, sizeof(*walk));
    if (!walk)
        return ERR_NO_MEMORY;
    walk->on_row = on_row;
    walk->ctx = ctx;
    walk->diag = diag;
    buf_init(&walk->payload, SQLITE_PAGES_ROW_MAX);
    enum err err = sqlite_image_open(path, &walk->image, diag);
    if (err == ERR_OK)
        walk->usable = sqlite_image_usable(walk->image);
    for (uint32_t i = 1; err == ERR_OK && i <= sqlite_image_pages(walk->image); i++)
        if (!sqlite_image_is_free(walk->image, i))
            err = page_each(walk, i);
    sqlite_image_close(walk->image);
    buf_fini(&walk->payload);
    mem_free(walk);
    return err;
}
