#include "pipeline/dataset_route.h"

#include "pipeline/rejections.h"

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
        const struct batch_stats *stats = batch_stats_peek(dataset->batch);
        uint64_t rejected = stats->rejected;
        uint64_t repeated = stats->repeated;
        enum err err = batch_append(dataset->batch, block, i);
        if (err != ERR_OK) {
            batch_undo_block(dataset->batch);
            dataset->undone = true;
            return err;
        }
        *ret_appended =
            (struct dataset_appended){stats->rejected - rejected, stats->repeated - repeated};
    }
    dataset->undone = false;
    return ERR_OK;
}

static void rejections_tell(const struct dataset *dataset, const struct account *account,
                            const struct block *block, uint32_t route_index, uint64_t rejected)
{
    struct rejections *rejections = atomic_load(&account->rejections);
    struct batch_rejection last = batch_stats_peek(dataset->batch)->last_rejected;
    struct route_view route;
    if (!rejections || rejected == 0)
        return;
    block_route_get(block, route_index, &route);
    rejections_add(rejections, route.topic,
                   &(struct ingest_rejection){rejected, last.arrival_us, last.reason, last.detail});
}

void dataset_route_tell(const struct dataset *dataset, const struct account *account,
                        struct dataset_share *share, const struct block *block,
                        uint32_t route_index, const struct dataset_appended *appended)
{
    rejections_tell(dataset, account, block, route_index, appended->rejected);
    if (!share)
        return;
    share->messages += block->routes[route_index].message_count - appended->repeated;
    share->rejected += appended->rejected;
}
