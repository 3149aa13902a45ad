#pragma once
/* CRC32C (Castagnoli, RFC 3720 appendix B.4), by the CPU's instruction where there is one. Pure. */
#include <stddef.h>
#include <stdint.h>

/* crc is 0 to begin with, or what an earlier call returned, to go on. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size_bytes);
