#pragma once
/*
 * What a journal folder says of its datasets' cuts, read without its lock and without changing it:
 * it may be in use. All of it may be some moments old, and what was damaged or recycled while it
 * was read is left out: then less has landed than is true, never more.
 *
 * Any thread. ERR_NOT_FOUND: no journal there; ERR_IO, ERR_PERMISSION, ERR_NO_MEMORY, ERR_VERSION.
 */
#include "base/arena.h"
#include "base/err.h"
#include "os/fs.h"

#define JOURNAL_SURVEY_UUID_BYTES 37

struct journal_survey_dataset {
    const char *id;
    uint64_t filed_through; /* the last block of its newest cut that has files */
    bool is_on_its_way;     /* of it, or of one before it, files may not be in the store yet */
};

struct journal_survey {
    char uuid[JOURNAL_SURVEY_UUID_BYTES];
    struct arena arena;
    struct journal_survey_dataset *datasets;
    size_t count;
};

enum err journal_survey_read(const struct fs *fs, const char *folder, struct journal_survey *survey,
                             struct diag *diag) ERR_MUST_USE;
void journal_survey_fini(struct journal_survey *survey); /* safe on zeroed ones */
