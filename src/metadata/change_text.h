#pragma once
/*
 * A change as the text that stands in a file's footer (CUT_METADATA_KEY): compressed with zstd and
 * a dictionary of what most of them have, in base64, behind a character for the form. Pure; any
 * thread.
 */
#include "base/buf.h"

/* Appends. ERR_TOO_LARGE: text has no room for it. */
enum err change_text_append(struct buf *text, struct bytes encoded) ERR_MUST_USE;
/* Into an empty one, as much as it may hold. ERR_CORRUPT: it is no such text. */
enum err change_text_read(struct bytes text, struct buf *encoded) ERR_MUST_USE;
