#pragma once
/*
 * Size, SHA-256 and CRC32C of a file in one pass, in bounded memory. Any thread. Fails with what
 * the file system says; a file that is not there is ERR_NOT_FOUND.
 */
#include "codec/sha256.h"
#include "os/fs.h"

struct file_digest {
    uint64_t size_bytes;
    uint32_t crc32c;
    uint8_t sha256[SHA256_BYTES];
};

enum err file_digest(const struct fs *fs, const char *path, struct file_digest *ret_digest,
                     struct diag *diag) ERR_MUST_USE;
