#pragma once
/*
 * The pages of a SQLite database as they stand committed, its file with the frames of its
 * write-ahead log over it, read without SQLite, which would refuse a damaged one, and without
 * changing either. Pages are numbered from 1; usable is a page's size without what is reserved at
 * its end. A page size that the file does not tell is the log's, or SQLite's own.
 *
 * One thread; the files may not change meanwhile. Some bytes of memory per page.
 * ERR_NOT_FOUND, ERR_IO, ERR_NO_MEMORY, ERR_UNSUPPORTED (texts that are not UTF-8).
 */
#include "base/err.h"

#include <stdint.h>

#define SQLITE_PAGE_MAX 65536

struct sqlite_image;

enum err sqlite_image_open(const char *path, struct sqlite_image **ret_image,
                           struct diag *diag) ERR_MUST_USE;
void sqlite_image_close(struct sqlite_image *image); /* NULL is fine */
uint32_t sqlite_image_pages(const struct sqlite_image *image);
uint32_t sqlite_image_usable(const struct sqlite_image *image);
/* Into page, of SQLITE_PAGE_MAX bytes. ERR_NOT_FOUND: there is no such page. */
enum err sqlite_image_read(struct sqlite_image *image, uint32_t number, uint8_t *page,
                           struct diag *diag) ERR_MUST_USE;
/* Whether it is in the list of free pages, as far as that can be read. */
bool sqlite_image_is_free(const struct sqlite_image *image, uint32_t number);
