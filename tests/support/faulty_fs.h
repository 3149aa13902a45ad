#pragma once
/*
 * A struct fs around another one that fails on purpose. One failure is armed at a time: the k-th
 * operation from then on (of those counted) fails, once, or it and all after it. A write that fails
 * has written the first half of its bytes. Any thread.
 */
#include "os/fs.h"

#include <stdatomic.h>

enum faulty_operation {
    FAULTY_OPEN = 1,
    FAULTY_READ = 2,
    FAULTY_WRITE = 4,
    FAULTY_SYNC = 8, /* of files */
    FAULTY_SYNC_FOLDER = 16,
    FAULTY_RENAME = 32,
    FAULTY_UNLINK = 64,
    FAULTY_STAT = 128,
    FAULTY_FOLDER = 256, /* make_folder and list */
    FAULTY_ANY = 511,
};

struct faulty_fs {
    struct fs fs; /* hand this on */
    const struct fs *inner;
    _Atomic int64_t countdown; /* 0: nothing armed */
    _Atomic int operations;
    _Atomic int err;
    _Atomic bool stays; /* all after it fail, too */
    _Atomic bool happened;
    _Atomic uint64_t counts[16]; /* calls by bit number of enum faulty_operation */
    bool split_devices;          /* paths that hold "/lake" are on another file system */
};

void faulty_fs_init(struct faulty_fs *faulty, const struct fs *inner);
/* k from 1; 0 disarms. operations: a sum of enum faulty_operation. */
void faulty_fs_arm(struct faulty_fs *faulty, int64_t k, int operations, enum err err, bool stays);
