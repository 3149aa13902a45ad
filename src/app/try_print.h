#pragma once
/* What `ingestor try` shows: for each dataset its columns, where its rows would go, and rows. */
#include "journal/block.h"

#include <stdio.h>

enum err try_print(struct block *const *blocks, uint32_t block_count, uint32_t rows_max, bool json,
                   FILE *out, struct diag *diag) ERR_MUST_USE;
