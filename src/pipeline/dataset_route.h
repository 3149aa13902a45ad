#pragma once
/*
 * A block's route on its way into the batch of its dataset: a part of worker.c (whose head has the
 * invariants), not of its interface. The worker's thread only.
 */
#include "pipeline/datasets.h"

/* The route that was worked off last, in one bucket: the next block's is the same, as a rule. */
struct known_route {
    uint64_t serial; /* block_route's; 0: none */
    struct dataset *dataset;
};

/* Where a route's messages go and for whom they count. Its dataset may be known from the block
 * before, and then its record, which lies in memory that nobody has touched lately, stays unread.
 */
enum err dataset_route_find(struct datasets *datasets, struct known_route *known,
                            const struct block *block, uint32_t route_index,
                            struct dataset **ret_dataset, struct account **ret_account,
                            struct dataset_share **ret_share) ERR_MUST_USE;

/* What a route's messages came to that is not stored. */
struct dataset_appended {
    uint64_t rejected;
    uint64_t repeated;
};

/* Appends a route. When it fails the batch takes out all that this block brought; so on the next
 * try the dataset's routes before this one are put in again. */
enum err dataset_route_append(struct dataset *dataset, const struct block *block,
                              uint32_t route_index,
                              struct dataset_appended *ret_appended) ERR_MUST_USE;

/* What has just been appended, to the share (NULL: none) and to the account, whose source may ask
 * which topics its rejected messages are of. */
void dataset_route_tell(const struct dataset *dataset, const struct account *account,
                        struct dataset_share *share, const struct block *block,
                        uint32_t route_index, const struct dataset_appended *appended);
