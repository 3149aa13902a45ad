#pragma once
/*
 * A file of dead letters (dead_letter.h), read back: all its letters in memory. One thread at a
 * time. The file is taken for hostile: what is no file of dead letters is ERR_UNSUPPORTED, damage
 * is ERR_CORRUPT with a sentence in diag, and no more than LETTER_FILE_BYTES_MAX are held for a
 * column (ERR_TOO_LARGE).
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define LETTER_FILE_BYTES_MAX ((size_t)128 * 1024 * 1024)
#define LETTER_FILE_ROWS_MAX  ((size_t)4 * 1000 * 1000)

struct letter_view {
    struct bytes ingestion_id;
    struct bytes source_type;
    struct bytes topic;
    struct bytes reason;
    struct bytes detail;
    struct bytes payload;
    struct bytes metadata; /* a JSON object's text */
    int64_t received_us;
};

struct letter_file;

/* Nothing of the file's bytes is needed afterwards. */
enum err letter_file_read(struct bytes file, struct letter_file **ret_file,
                          struct diag *diag) ERR_MUST_USE;
void letter_file_free(struct letter_file *file); /* NULL is fine */
size_t letter_file_count(const struct letter_file *file);
/* A null is an empty text. Views live as long as the file. */
void letter_file_get(const struct letter_file *file, size_t row, struct letter_view *ret_letter);

/* Whether the letter has all that its device sent, so that it can be sent again: of an oversize
 * message only the beginning may have been kept. */
bool letter_is_whole(const struct letter_view *letter);
