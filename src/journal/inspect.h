#pragma once
/*
 * `ingestor journal inspect`: walks a journal folder and writes what is in it, segment by segment,
 * block by block. Reads only, takes no lock, and trusts nothing: it may run beside the service or
 * on a damaged folder. What it prints of a journal in use may be half a second old.
 *
 * Any thread. ERR_NOT_FOUND: no journal there. ERR_IO: out cannot be written.
 */
#include "base/err.h"
#include "os/fs.h"

#include <stdio.h>

struct inspect_options {
    bool json;                /* one JSON object a line */
    bool records;             /* each record of each block */
    bool payloads;            /* each message's raw payload too */
    const char *segment;      /* only the file of this name; NULL: all */
    size_t payload_bytes_max; /* 0: whole payloads */
};

enum err journal_inspect(const struct fs *fs, const char *folder,
                         const struct inspect_options *options, FILE *out,
                         struct diag *diag) ERR_MUST_USE;
