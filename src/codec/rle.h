#pragma once
/*
 * Parquet's RLE and bit-packing hybrid, for levels (bytes) and dictionary indices. Pure.
 *
 * Encoding cannot fail: the caller has made room for rle_bytes_max. Values must fit in the width.
 * Decoding believes nothing: it reads within the input, gives exactly count values, and checks each
 * against the largest allowed one.
 */
#include "base/bytes.h"

/* Room to make before an encode call, width 1 to 32. A little more than can be used: the loops
 * store whole words. */
size_t rle_bytes_max(size_t count, unsigned width);

/* The least width that holds value; at least 1. */
unsigned rle_width(uint32_t value);

/* Each returns where the encoding ends. */
uint8_t *rle_encode_levels(uint8_t *to, const uint8_t *levels, size_t count, unsigned width);
uint8_t *rle_encode_indices(uint8_t *to, const uint32_t *indices, size_t count, unsigned width);
/* One value, count times. */
uint8_t *rle_encode_run(uint8_t *to, uint32_t value, size_t count, unsigned width);

/* Booleans (0 or 1, one a byte) to bits, the first the least significant; (count + 7) / 8 bytes,
 * but room for 8 more must be there. */
uint8_t *rle_pack_booleans(uint8_t *to, const uint8_t *booleans, size_t count);

/* False when the input is damaged; *ret_bad_offset is where then. Width 0 to 32 (indices), 1 to 8
 * (levels). */
bool rle_decode_levels(struct bytes input, unsigned width, uint8_t value_max, uint8_t *ret_levels,
                       size_t count, size_t *ret_bad_offset);
bool rle_decode_indices(struct bytes input, unsigned width, uint32_t value_max,
                        uint32_t *ret_indices, size_t count, size_t *ret_bad_offset);
