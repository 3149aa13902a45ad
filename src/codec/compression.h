#pragma once
/*
 * The block compressions of Parquet: zstd, snappy, LZ4 (raw blocks), none. A compressor keeps its
 * working memory between calls; one thread at a time. Nothing is framed: who decompresses knows the
 * size that must come out.
 */
#include "base/buf.h"

enum compression { COMPRESSION_NONE, COMPRESSION_SNAPPY, COMPRESSION_ZSTD, COMPRESSION_LZ4_RAW };

struct ZSTD_CCtx_s;

struct compressor {
    enum compression compression;
    int zstd_level;
    struct ZSTD_CCtx_s *zstd; /* made at first use */
};

void compressor_init(struct compressor *compressor, enum compression compression, int zstd_level);
void compressor_fini(struct compressor *compressor);
/* Replaces out's content. For none, and without a copy, use the input itself: compressor_apply
 * gives whichever it is. ERR_NO_MEMORY, ERR_TOO_LARGE. */
enum err compressor_apply(struct compressor *compressor, struct bytes input, struct buf *out,
                          struct bytes *ret_output) ERR_MUST_USE;

/* Fills exactly output_size bytes or fails with ERR_CORRUPT (or ERR_NO_MEMORY). Any thread. */
enum err decompress(enum compression compression, struct bytes input, uint8_t *output,
                    size_t output_size) ERR_MUST_USE;

/*
 * Short texts of ours, whose beginning both sides know: zstd frames without their magic number,
 * with the dictionary as what came before (RFC 8878 §5, raw content). Any thread.
 */
/* Appends. ERR_NO_MEMORY, ERR_TOO_LARGE. */
enum err zstd_pack(struct bytes input, struct bytes dictionary, struct buf *out) ERR_MUST_USE;
/* Appends. ERR_CORRUPT: it is no such frame, or out may not hold what it says to be. */
enum err zstd_unpack(struct bytes input, struct bytes dictionary, struct buf *out) ERR_MUST_USE;
