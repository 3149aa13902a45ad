#include "base/crc32c.h"

#include <string.h>

#ifdef __SSE4_2__
#include <nmmintrin.h>

uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes)
{
    const uint8_t *at = data;
    uint64_t state = ~crc;
    while (size_bytes >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        state = _mm_crc32_u64(state, word);
        at += 8;
        size_bytes -= 8;
    }
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
