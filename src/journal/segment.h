#pragma once
/*
 * Segment files: names, the header page, and reading one from end to end with the rule that tells
 * damage from a torn tail. Writing is core.c's.
 *
 *   page 0            header: magic, crc, version, journal uuid, epoch, first number, free_below
 *   page 1 …          the checkpoint: blocks of BLOCK_CHECKPOINT, all but the last with BLOCK_MORE;
 *                     the first record of the first repeats the header, should page 0 go bad
 *   then              blocks of the log, numbers rising by one from first_number
 *   then              zeros, or blocks of an older epoch (files are recycled), which mean nothing
 *
 * A file keeps its name when it is recycled; the epoch in it says whose turn it is. The low half of
 * an epoch is random, so that no payload can contain a page that passes for a block of the segment.
 *
 * Nothing read is trusted: sizes are bounded by the file, a page that cannot be read is a bad one.
 * Single-threaded.
 */
#include "journal/block.h"
#include "os/fs.h"

/* 2: a checkpoint's dataset says how far its cuts with files go. Older ones are still read. */
#define SEGMENT_VERSION     2
#define SEGMENT_UUID_CHARS  36
#define SEGMENT_NAME_PREFIX "segment-"
#define SEGMENT_PATH_MAX    4096

struct segment_header {
    uint32_t version;
    char uuid[SEGMENT_UUID_CHARS + 1];
    uint64_t epoch;        /* (generation << 32) | random */
    uint64_t first_number; /* it takes over from here: that and higher numbers before it are void */
    uint64_t free_below;   /* segments of lower epochs are free */
    /* Recovery carried the blocks from first_number up to here over from an older segment; as long
     * as they are not all in it, the segment takes nothing over. first_number - 1: none. */
    uint64_t carried_through;
};

struct segment {
    uint32_t slot; /* segment-<slot> */
    uint64_t epoch;
    uint64_t first_number;
    uint64_t carried_through;
    uint64_t end_number; /* its numbers are below this; UINT64_MAX: it is the newest */
    uint64_t size_bytes; /* of the file */
    uint64_t used_bytes; /* written, header included; as far as known */
    bool checkpoint_good;
    bool header_copy; /* page 0 was bad */
};

#define SEGMENT_HEADER_BODY_BYTES (4 + SEGMENT_UUID_CHARS + 4 * 8)

/* ret_path: SEGMENT_PATH_MAX bytes. */
enum err segment_path(char *ret_path, const char *folder, uint32_t slot,
                      struct diag *diag) ERR_MUST_USE;
bool segment_slot_from_name(const char *name, uint32_t *ret_slot);

/* page: LIMIT_BLOCK_ALIGN_BYTES. body: the part that the checkpoint repeats. */
void segment_header_write(uint8_t *page, const struct segment_header *header);
void segment_header_body_write(uint8_t body[SEGMENT_HEADER_BODY_BYTES],
                               const struct segment_header *header);
/* ERR_VERSION, ERR_CORRUPT. */
enum err segment_header_read(const uint8_t *page, struct segment_header *ret_header,
                             struct diag *diag) ERR_MUST_USE;

/* Reads page 0, or its copy (*ret_copy then). ERR_NOT_FOUND: neither is there: the file was never
 * begun, or both are damaged. */
enum err segment_identify(const struct fs *fs, const char *path, struct segment_header *ret_header,
                          uint64_t *ret_size_bytes, bool *ret_copy, struct diag *diag) ERR_MUST_USE;

/* Whether a file without a header holds a log block of an epoch from epoch_min on: then it is no
 * free file but a damaged one. */
enum err segment_probe(const struct fs *fs, const char *path, uint64_t epoch_min, bool *ret_found,
                       struct diag *diag) ERR_MUST_USE;

struct segment_visitor {
    /* Checkpoint blocks in order, only undamaged ones. NULL: not wanted. */
    enum err (*on_checkpoint)(void *ctx, const struct block_header *header, struct bytes image,
                              uint64_t offset);
    /* Blocks of the log in order; header and checksum are good. */
    enum err (*on_block)(void *ctx, const struct block_header *header, struct bytes image,
                         uint64_t offset);
    /* Numbers [from, to) were durable and cannot be read; the bad bytes begin at offset. */
    enum err (*on_damage)(void *ctx, uint64_t offset, uint64_t from, uint64_t to);
    void *ctx;
};

struct segment_end {
    uint64_t last_number; /* of the last block visited; first_number - 1: none */
    uint64_t offset;      /* behind it */
    uint64_t durable;     /* the highest durable_number seen */
};

/* Visits what is the log's in this segment: numbers in [first_number, end_number). Damage and torn
 * tail: segment.c. An error of a visitor ends it. */
enum err segment_walk(const struct fs *fs, const char *path, const struct segment *segment,
                      const struct segment_visitor *visitor, struct segment_end *ret_end,
                      struct diag *diag) ERR_MUST_USE;
