/*
 * A frame of the log is a page if its salts are the log's and the checksum, which goes on from
 * frame to frame, is right; and committed if a frame with a commit mark (the size of the database
 * after it) is at or behind it. What was read back into the file already is read from the log
 * again, and is the same.
 */
#include "database/sqlite_image.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/limits.h"
#include "os/fs.h"

#define PAGE_SIZE_OWN    4096
#define PAGES_MAX        (UINT32_C(1) << 28)
#define HEADER_BYTES     100
#define LOG_HEADER_BYTES 32
#define FRAME_BYTES      24
#define LOG_MAGIC        UINT32_C(0x377f0682) /* and one more: checksums of big-endian words */

struct sqlite_image {
    struct fs_file *file;
    struct fs_file *log; /* NULL: none */
    uint32_t page_size;
    uint32_t reserved;
    uint32_t pages;
    uint64_t *frames; /* where in the log the page stands; 0: in the file. NULL: no log */
    uint8_t *is_free;
};

static uint32_t be32(const uint8_t *from)
{
    return __builtin_bswap32(load_u32(from));
}

static bool page_size_valid(uint32_t size)
{
    return size >= 512 && size <= SQLITE_PAGE_MAX && (size & (size - 1)) == 0;
}

/* --- the log ------------------------------------------------------------------------------- */

struct log_scan {
    struct sqlite_image *image;
    struct buf numbers; /* u32 for each frame: its page */
    size_t committed;   /* frames */
    uint32_t pages;     /* after the last commit */
    uint32_t sums[2];
    uint8_t header[LOG_HEADER_BYTES];
    uint8_t frame[FRAME_BYTES + SQLITE_PAGE_MAX];
};

static void checksum(struct log_scan *scan, const uint8_t *data, size_t size)
{
    bool big = be32(scan->header) & 1;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        scan->sums[0] += (big ? be32(data + i) : load_u32(data + i)) + scan->sums[1];
        scan->sums[1] += (big ? be32(data + i + 4) : load_u32(data + i + 4)) + scan->sums[0];
    }
}

static bool log_header_valid(struct log_scan *scan)
{
    const uint8_t *header = scan->header;
    checksum(scan, header, 24);
    return (be32(header) & ~UINT32_C(1)) == LOG_MAGIC && page_size_valid(be32(header + 8)) &&
           be32(header + 24) == scan->sums[0] && be32(header + 28) == scan->sums[1];
}

static bool frame_valid(struct log_scan *scan, uint32_t page_size)
{
    const uint8_t *frame = scan->frame;
    uint32_t number = be32(frame);
    checksum(scan, frame, 8);
    checksum(scan, frame + FRAME_BYTES, page_size);
    return number > 0 && number <= PAGES_MAX && memcmp(frame + 8, scan->header + 16, 8) == 0 &&
           be32(frame + 16) == scan->sums[0] && be32(frame + 20) == scan->sums[1];
}

/* A log that cannot be read ends where it cannot. */
static enum err log_scan(struct log_scan *scan)
{
    struct sqlite_image *image = scan->image;
    size_t size;
    if (fs_read(&fs_posix, image->log, 0, scan->header, LOG_HEADER_BYTES, &size, NULL) != ERR_OK ||
        size < LOG_HEADER_BYTES || !log_header_valid(scan))
        return ERR_OK;
    image->page_size = be32(scan->header + 8);
    size_t frame_size = FRAME_BYTES + image->page_size;
    for (uint64_t at = LOG_HEADER_BYTES;; at += frame_size) {
        enum err err = fs_read(&fs_posix, image->log, at, scan->frame, frame_size, &size, NULL);
        if (err != ERR_OK || size < frame_size || !frame_valid(scan, image->page_size))
            return ERR_OK;
        if (buf_u32(&scan->numbers, be32(scan->frame)) != ERR_OK)
            return ERR_NO_MEMORY;
        uint32_t pages = be32(scan->frame + 4);
        if (pages > 0 && pages <= PAGES_MAX) {
            scan->committed = scan->numbers.size / sizeof(uint32_t);
            scan->pages = pages;
        }
    }
}

static enum err log_apply(const struct log_scan *scan)
{
    struct sqlite_image *image = scan->image;
    size_t frame_size = FRAME_BYTES + image->page_size;
    if (scan->committed == 0)
        return ERR_OK;
    image->pages = scan->pages;
    image->frames = mem_zalloc(image->pages, sizeof(uint64_t));
    if (!image->frames)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < scan->committed; i++) {
        uint32_t number = load_u32(scan->numbers.data + i * sizeof(uint32_t));
        if (number <= image->pages)
            image->frames[number - 1] = LOG_HEADER_BYTES + i * frame_size + FRAME_BYTES;
    }
    return ERR_OK;
}

static enum err log_read(struct sqlite_image *image, const char *path)
{
    struct buf name;
    buf_init(&name, 8 * KIB);
    buf_printf(&name, "%s-wal", path);
    const char *text = buf_cstr(&name);
    enum err err = text ? fs_open(&fs_posix, text, FS_READ, &image->log, NULL) : ERR_NO_MEMORY;
    buf_fini(&name);
    if (err != ERR_OK)
        return err == ERR_NO_MEMORY ? err : ERR_OK;
    struct log_scan *scan = mem_zalloc(1, sizeof(*scan));
    if (!scan)
        return ERR_NO_MEMORY;
    scan->image = image;
    buf_init(&scan->numbers, PAGES_MAX * sizeof(uint32_t));
    err = log_scan(scan);
    if (err == ERR_OK)
        err = log_apply(scan);
    buf_fini(&scan->numbers);
    mem_free(scan);
    return err;
}

/* --- the file ------------------------------------------------------------------------------ */

static bool header_valid(const uint8_t *header)
{
    return memcmp(header, "SQLite format 3", 16) == 0;
}

/* The size stands in two bytes, of which 1 means 65536. */
static void header_read(struct sqlite_image *image, const uint8_t *header)
{
    uint32_t size = (uint32_t)header[16] << 8 | header[17];
    size = size == 1 ? SQLITE_PAGE_MAX : size;
    if (!header_valid(header) || !page_size_valid(size))
        return;
    image->page_size = size;
    image->reserved = header[20] <= size - 480 ? header[20] : 0;
}

static enum err file_measure(struct sqlite_image *image, const char *path, struct diag *diag)
{
    uint8_t header[HEADER_BYTES] = {0};
    struct fs_stat stat;
    size_t size;
    enum err err = fs_stat(&fs_posix, path, &stat, diag);
    if (err == ERR_OK)
        err = fs_read(&fs_posix, image->file, 0, header, sizeof(header), &size, diag);
    if (err != ERR_OK)
        return err;
    image->page_size = PAGE_SIZE_OWN;
    header_read(image, header);
    err = log_read(image, path);
    if (err != ERR_OK || image->frames)
        return err;
    uint64_t pages = stat.size_bytes / image->page_size;
    uint32_t told = be32(header + 28); /* good when the change that wrote it is the last one */
    if (header_valid(header) && told > 0 && told < pages &&
        memcmp(header + 24, header + 92, sizeof(uint32_t)) == 0)
        pages = told;
    image->pages = pages < PAGES_MAX ? (uint32_t)pages : PAGES_MAX;
    return ERR_OK;
}

/* A trunk: next trunk, number of leaves, leaves. */
static enum err trunk_read(struct sqlite_image *image, uint8_t *page, uint32_t *number,
                           struct diag *diag)
{
    enum err err = sqlite_image_read(image, *number, page, diag);
    if (err != ERR_OK)
        return err;
    uint32_t leaves = be32(page + 4);
    if (leaves > sqlite_image_usable(image) / 4 - 2)
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < leaves; i++)
        if (be32(page + 8 + 4 * (size_t)i) - 1 >= image->pages)
            return ERR_CORRUPT;
    for (uint32_t i = 0; i < leaves; i++)
        image->is_free[be32(page + 8 + 4 * (size_t)i) - 1] = 1;
    image->is_free[*number - 1] = 1;
    *number = be32(page);
    return ERR_OK;
}

/* As far as it goes: what is behind a damaged trunk SQLite has filled with zeros, as it is told to
 * (sqlite.c), so that nobody takes it for rows. */
static enum err free_list_read(struct sqlite_image *image, struct diag *diag)
{
    uint8_t *page = mem_zalloc(1, SQLITE_PAGE_MAX);
    image->is_free = mem_zalloc(image->pages > 0 ? image->pages : 1, 1);
    enum err err = page && image->is_free ? ERR_OK : ERR_NO_MEMORY;
    if (err == ERR_OK && image->pages > 0)
        err = sqlite_image_read(image, 1, page, diag);
    if (err == ERR_OK && image->pages > 0 && header_valid(page)) {
        if (page[56] == 0 && page[57] == 0 && page[58] == 0 && page[59] > 1)
            err = diag_set(diag, ERR_UNSUPPORTED, "its texts are not UTF-8");
        uint32_t number = be32(page + 32);
        while (err == ERR_OK && number > 0 && number <= image->pages && !image->is_free[number - 1])
            err = trunk_read(image, page, &number, diag);
        err = err == ERR_CORRUPT ? ERR_OK : err;
    }
    mem_free(page);
    return err;
}

enum err sqlite_image_open(const char *path, struct sqlite_image **ret_image, struct diag *diag)
{
    struct sqlite_image *image = mem_zalloc(1, sizeof(*image));
    if (!image)
        return ERR_NO_MEMORY;
    enum err err = fs_open(&fs_posix, path, FS_READ, &image->file, diag);
    if (err == ERR_OK)
        err = file_measure(image, path, diag);
    if (err == ERR_OK)
        err = free_list_read(image, diag);
    if (err != ERR_OK) {
        sqlite_image_close(image);
        return err;
    }
    *ret_image = image;
    return ERR_OK;
}

void sqlite_image_close(struct sqlite_image *image)
{
    if (!image)
        return;
    fs_close(&fs_posix, image->file);
    fs_close(&fs_posix, image->log);
    mem_free(image->frames);
    mem_free(image->is_free);
    mem_free(image);
}

uint32_t sqlite_image_pages(const struct sqlite_image *image)
{
    return image->pages;
}

uint32_t sqlite_image_usable(const struct sqlite_image *image)
{
    return image->page_size - image->reserved;
}

/* One that lies behind the end of the file, or on a bad sector, is one that holds nothing. */
enum err sqlite_image_read(struct sqlite_image *image, uint32_t number, uint8_t *page,
                           struct diag *diag)
{
    size_t size = 0;
    if (number == 0 || number > image->pages)
        return diag_set(diag, ERR_NOT_FOUND, "it has no page %u", number);
    uint64_t frame = image->frames ? image->frames[number - 1] : 0;
    struct fs_file *file = frame > 0 ? image->log : image->file;
    uint64_t at = frame > 0 ? frame : (uint64_t)(number - 1) * image->page_size;
    if (fs_read(&fs_posix, file, at, page, image->page_size, &size, NULL) != ERR_OK)
        size = 0;
    memset(page + size, 0, image->page_size - size);
    return ERR_OK;
}

bool sqlite_image_is_free(const struct sqlite_image *image, uint32_t number)
{
    return number == 0 || number > image->pages || image->is_free[number - 1];
}
