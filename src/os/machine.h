#pragma once
/*
 * What the machine, or the container around us, has. Any thread; reads a few files of /proc and
 * /sys. A file that is missing or odd is passed over: the answer is then that of what remains.
 */
#include "base/bytes.h"
#include "os/fs.h"

/* The memory this process may use: the smallest of the machine's and its cgroup's (v2 or v1)
 * limits. Never 0. */
uint64_t machine_memory_bytes(const struct fs *fs);

/* A cgroup limit's text ("max", or a number) in bytes; UINT64_MAX when it limits nothing. */
uint64_t machine_limit_from_text(struct bytes text);
