#pragma once
/* A place in the journal: block number and index of the message in the block. Ordered. */
#include <stdint.h>

struct position {
    uint64_t block; /* from 1; 0: before everything */
    uint32_t index;
};
