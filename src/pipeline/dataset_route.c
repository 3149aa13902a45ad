#include "pipeline/dataset_route.h"

enum err dataset_route_find(struct datasets *datasets, struct known_route *known,
                            const struct block *block, uint32_t route_index,
                            struct dataset **ret_dataset, struct account **ret_account,
                            struct dataset_share **ret_share)
{
    uint64_t serial = block->routes[route_index].serial;
    if (serial != 0 && serial == known->serial) {
        *ret_dataset = known->dataset;
        *ret_account = known->dataset->account;
        *ret_share = NULL;
        return ERR_OK;
    }
    struct bytes source_id;
    struct bytes id;
    block_route_ids(block, route_index, &source_id, &id);
    enum err err = datasets_get(datasets, block, route_index, ret_dataset);
    if (err == ERR_OK)
        err = datasets_share(datasets, *ret_dataset, source_id, ret_account, ret_share);
    if (err == ERR_OK && !*ret_share && *ret_account == (*ret_dataset)->account)
        *known = (struct known_route){serial, *ret_dataset};
    return err;
}

enum err dataset_route_append(struct dataset *dataset, const struct block *block,
                              uint32_t route_index, struct dataset_appended *ret_appended)
{
    uint32_t first = dataset->undone ? 0 : route_index;
    for (uint32_t i = first; i <= route_index; i++) {
        struct bytes source;
        struct bytes id;
        if (block->routes[i].dataset_hash != dataset->hash || block->routes[i].message_count == 0)
            continue;
        if (i < route_index) { /* its own is known to be */
            block_route_ids(block, i, &source, &id);
            if (!bytes_equal(id, bytes_from(dataset->id, dataset->id_size)))
                continue;
        }
        uint64_t rejected = batch_rejected(dataset->batch);
        uint64_t repeated = batch_repeated(dataset->batch);
        enum err err = batch_append(dataset->batch, block, i);
        if (err != ERR_OK) {
            batch_undo_block(dataset->batch);
            dataset->undone = true;
            return err;
        }
        *ret_appended = (struct dataset_appended){batch_rejected(dataset->batch) - rejected,
                                                  batch_repeated(dataset->batch) - repeated};
    }
    dataset->undone = false;
    return ERR_OK;
}
