#pragma once
/*
 * A change as the text that stands in a file's footer (CUT_METADATA_KEY): compressed with zstd and
 * a dictionary of what most of them have, in base64, behind a character for the form. One without
 * its sensors may name the file's column that has them (recount_columns.h). Pure; any thread.
 */
#include "base/buf.h"

struct change_text {
    struct bytes encoded; /* the change */
    struct bytes column;  /* of its sensors; empty: it has them itself */
};

/* Appends. column: may be empty. ERR_TOO_LARGE: text has no room for it. */
enum err change_text_append(struct buf *text, struct bytes encoded,
                            struct bytes column) ERR_MUST_USE;
/* unpacked: an empty one, that takes as much as it may hold; what is said points into it.
 * ERR_CORRUPT: it is no such text. */
enum err change_text_read(struct bytes text, struct buf *unpacked,
                          struct change_text *ret_said) ERR_MUST_USE;
