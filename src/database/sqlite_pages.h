#pragma once
/*
 * Rows of a SQLite database as its pages hold them, for a file that SQLite itself refuses to read:
 * no tree is walked, so a page that is damaged costs the rows on it and no others.
 *
 * A row comes only from a page that is whole by its own account (its cells, free blocks and
 * fragments fill it exactly) and is not in the list of free pages. Which table it is of, the caller
 * tells by its columns. One that goes on over other pages is given as far as these can be read;
 * they may be damaged and not show it, so what lies there must prove itself.
 *
 * One thread. The file may not change meanwhile. https://www.sqlite.org/fileformat2.html
 */
#include "base/limits.h"
#include "database/database.h"

#define SQLITE_PAGES_ROW_MAX (64 * MIB)

struct sqlite_row {
    bool is_index; /* of an index, or of a table WITHOUT ROWID */
    int64_t rowid; /* of a table's; the column that is its alias is NULL */
    const struct database_value *columns;
    size_t column_count;
    size_t readable; /* columns, from the first; the others are NULL here */
    size_t own;      /* columns that lie on the row's own page wholly */
};

/* In the order of the pages; stops at an error from on_row, whose row lives for the call.
 * Errors of database/sqlite_image.h. */
enum err sqlite_pages_each(const char *path,
                           enum err (*on_row)(void *ctx, const struct sqlite_row *row), void *ctx,
                           struct diag *diag) ERR_MUST_USE;
