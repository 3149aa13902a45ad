#include "lake/file_digest.h"

#include "base/alloc.h"
#include "base/crc32c.h"
#include "base/limits.h"

#define CHUNK_BYTES (256 * KIB)

static enum err digest_chunks(const struct fs *fs, struct fs_file *file, uint8_t *chunk,
                              struct sha256 *sha, struct file_digest *digest, struct diag *diag)
{
    for (;;) {
        size_t size = 0;
        enum err err = fs_read(fs, file, digest->size_bytes, chunk, CHUNK_BYTES, &size, diag);
        if (err != ERR_OK)
            return err;
        sha256_update(sha, chunk, size);
        digest->crc32c = crc32c(digest->crc32c, chunk, size);
        digest->size_bytes += size;
        if (size < CHUNK_BYTES)
            return ERR_OK;
    }
}

enum err file_digest(const struct fs *fs, const char *path, struct file_digest *ret_digest,
                     struct diag *diag)
{
    struct fs_file *file = NULL;
    struct sha256 sha = {0};
    struct file_digest digest = {0};
    uint8_t *chunk = mem_alloc(CHUNK_BYTES);
    enum err err = chunk ? sha256_init(&sha) : ERR_NO_MEMORY;
    if (err == ERR_OK)
        err = fs_open(fs, path, FS_READ, &file, diag);
    if (err == ERR_OK)
        err = digest_chunks(fs, file, chunk, &sha, &digest, diag);
    if (err == ERR_OK)
        err = sha256_final(&sha, digest.sha256);
    fs_close(fs, file);
    sha256_fini(&sha);
    mem_free(chunk);
    if (err == ERR_OK)
        *ret_digest = digest;
    return err;
}
