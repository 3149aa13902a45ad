#include "app/config_store.h"

enum err config_store_open(const struct config *config, struct store **ret_store, struct diag *diag)
{
    return store_open(
        &(struct store_options){
            .url = config->store_url,
            .endpoint = config->store_endpoint,
            .access_key = config->minio_access_key,
            .secret_key = config->minio_secret_key,
            .bucket = config->store_bucket,
            .region = config->aws_region,
            .fs = &fs_posix,
            .clock = &clock_system,
        },
        ret_store, diag);
}
