#pragma once
/* Bytes nobody can guess, from the kernel. Any thread; does not block once the machine is up. */
#include "base/err.h"

#include <stddef.h>

enum err random_fill(void *ret_bytes, size_t size_bytes) ERR_MUST_USE;
