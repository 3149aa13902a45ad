#pragma once
/*
 * Inflates a gzip body (RFC 1952, several members too) into a bounded buffer. Pure; any thread.
 */
#include "base/buf.h"

/* Appends to out. on_grow is asked before each further piece: false ends it with ERR_BUSY.
 * ERR_TOO_LARGE: more than out takes; ERR_CORRUPT: damaged, cut off, or something behind it. */
enum err gunzip(struct bytes input, struct buf *out, bool (*on_grow)(void *ctx, size_t bytes),
                void *ctx) ERR_MUST_USE;
