#pragma once
/*
 * The spool: finished files on their way from a cut to the object store, in <journal>/spool, under
 * the journal's lock. A file is in it from before its LANDED is written until after its UPLOADED is
 * durable. File names follow from object keys alone, so that recovery can go by the journal.
 *
 * Any thread, but no two at once for one key. All calls but spool_new, spool_bytes and spool_path
 * block on the disk. After an error of spool_write nothing of the call is left behind (what cannot
 * be removed, recovery deletes: no LANDED names it).
 */
#include "base/map.h"
#include "codec/sha256.h"
#include "journal/journal.h"
#include "os/fs.h"

#define SPOOL_PATH_SIZE 4096
#define SPOOL_NAME_SIZE 72

struct spool;

/* No I/O. folder: the journal's; fs must outlive the spool. */
enum err spool_new(const struct fs *fs, const char *journal_folder,
                   struct spool **ret_spool) ERR_MUST_USE;
void spool_free(struct spool *spool); /* NULL is fine */

/* Makes the folders, durably, and counts what lies there. After journal_open, which holds the lock.
 */
enum err spool_open(struct spool *spool, struct diag *diag) ERR_MUST_USE;

/* Bytes in use, spool/damaged included. NULL is 0. */
uint64_t spool_bytes(const struct spool *spool);
/* The same for struct journal_options, which is needed before the spool is there: ctx is a struct
 * spool ** that may point to NULL still. The spool is freed after journal_close. */
uint64_t spool_bytes_of(void *ctx);

/* "<position>-<hash of the key>.parquet", always of one length and safe on any file system. */
enum err spool_name(struct bytes key, char ret_name[SPOOL_NAME_SIZE]) ERR_MUST_USE;
enum err spool_path(const struct spool *spool, struct bytes key,
                    char ret_path[SPOOL_PATH_SIZE]) ERR_MUST_USE;

/* The files of one cut, all or none, durable when it returns. Sets each file's size and sha256. */
struct spool_file {
    struct bytes key;
    struct bytes content;
    uint64_t size_bytes;
    uint8_t sha256[SHA256_BYTES];
};
enum err spool_write(struct spool *spool, struct spool_file *files, size_t count,
                     struct diag *diag) ERR_MUST_USE;

/* Whether the spool holds exactly what was landed: ERR_NOT_FOUND, ERR_CORRUPT, or what reading it
 * gives. *ret_crc32c may be NULL. */
enum err spool_verify(const struct spool *spool, const struct landed_file *file,
                      uint32_t *ret_crc32c, struct diag *diag) ERR_MUST_USE;

/* After UPLOADED is durable. That it is gone already (moved into a folder store) is fine. */
enum err spool_remove(struct spool *spool, const struct landed_file *file,
                      struct diag *diag) ERR_MUST_USE;

/* Evidence: the file, if there is one, goes to spool/damaged/, and beside it the report, a text. */
enum err spool_quarantine(struct spool *spool, struct bytes key, const char *report,
                          struct diag *diag) ERR_MUST_USE;

/* Recovery: deletes every file whose name is not in keep (names as of spool_name), temporary ones
 * with them, and counts again. spool/damaged/ stays. */
enum err spool_clean(struct spool *spool, const struct map *keep, uint64_t *ret_removed,
                     struct diag *diag) ERR_MUST_USE;
