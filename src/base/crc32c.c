/*
 * The instruction takes three cycles and one can begin in each: three streams at once keep it busy.
 * A chunk is cut into three equal parts, each with a state of its own; the states of the first two
 * are moved behind the third by a carry-less multiplication with x^(8 n - 33) mod P, n the bytes to
 * move over (the instruction itself, which folds the 63-bit product back to 32 bits, and the
 * product's reflection bring the missing 33).
 */
#include "base/crc32c.h"

#include <string.h>

#ifdef __SSE4_2__
#include <nmmintrin.h>
#include <wmmintrin.h>

#define PART_BYTES       1024 /* of the three of a chunk */
#define SMALL_PART_BYTES 128

/* x^(8 n - 33) mod P, reflected. crc32c_test.c compares all with the definition. */
#define MOVE_1024 0x170076fau
#define MOVE_2048 0xa51b6135u
#define MOVE_128  0x0d3b6092u
#define MOVE_256  0xb9e02b86u

static uint64_t word_at(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

__attribute__((target("pclmul,sse4.2"))) static uint64_t moved(uint64_t state, uint32_t move)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)state), _mm_cvtsi32_si128((int)move), 0);
    return (uint64_t)_mm_cvtsi128_si64(product);
}

/* A chunk of three parts. */
__attribute__((target("pclmul,sse4.2"))) static inline uint64_t
chunk(uint64_t state, const uint8_t *at, size_t part_bytes, uint32_t move_one, uint32_t move_two)
{
    uint64_t second = 0, third = 0;
    const uint8_t *end = at + part_bytes - 8;
    for (; at < end; at += 8) {
        state = _mm_crc32_u64(state, word_at(at));
        second = _mm_crc32_u64(second, word_at(at + part_bytes));
        third = _mm_crc32_u64(third, word_at(at + 2 * part_bytes));
    }
    state = _mm_crc32_u64(state, word_at(at));
    second = _mm_crc32_u64(second, word_at(at + part_bytes));
    uint64_t both = moved(state, move_two) ^ moved(second, move_one);
    return _mm_crc32_u64(third, word_at(at + 2 * part_bytes) ^ both);
}

__attribute__((target("pclmul,sse4.2"))) static uint64_t chunks(uint64_t state, const uint8_t **at,
                                                                size_t *size_bytes)
{
    for (; *size_bytes >= 3 * PART_BYTES; *at += 3 * PART_BYTES, *size_bytes -= 3 * PART_BYTES)
        state = chunk(state, *at, PART_BYTES, MOVE_1024, MOVE_2048);
    for (; *size_bytes >= 3 * SMALL_PART_BYTES;
         *at += 3 * SMALL_PART_BYTES, *size_bytes -= 3 * SMALL_PART_BYTES)
        state = chunk(state, *at, SMALL_PART_BYTES, MOVE_128, MOVE_256);
    return state;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes)
{
    const uint8_t *at = data;
    uint64_t state = ~crc;
    if (size_bytes >= 3 * SMALL_PART_BYTES && __builtin_cpu_supports("pclmul"))
        state = chunks(state, &at, &size_bytes);
    for (; size_bytes >= 8; at += 8, size_bytes -= 8)
        state = _mm_crc32_u64(state, word_at(at));
    uint32_t tail = (uint32_t)state;
    while (size_bytes-- > 0)
        tail = _mm_crc32_u8(tail, *at++);
    return ~tail;
}
#else
uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes)
{
    const uint8_t *at = data;
    uint32_t state = ~crc;
    while (size_bytes-- > 0) {
        state ^= *at++;
        for (int bit = 0; bit < 8; bit++)
            state = (state >> 1) ^ (0x82f63b78u & (0u - (state & 1)));
    }
    return ~state;
}
#endif
