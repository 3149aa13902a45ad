#pragma once
/*
 * What of one source became dead letters, by topic, since the process began: whether a message can
 * be decoded is known to the workers, and whose health that is to the connector. Kept for sources
 * that ask for it (ingest_watch_rejections); others cost nothing. Any thread.
 *
 * Limit: REJECTIONS_TOPICS_MAX topics, a CoAP source's resources; of more nothing is kept.
 */
#include "pipeline/ingest.h"

#define REJECTIONS_TOPICS_MAX 10000

struct rejections;

enum err rejections_new(struct rejections **ret_rejections) ERR_MUST_USE;
void rejections_free(struct rejections *rejections); /* NULL is fine */

/* rejection: its messages are added to those before, the rest stands for the last. Where memory is
 * missing nothing is kept. */
void rejections_add(struct rejections *rejections, struct bytes topic,
                    const struct ingest_rejection *rejection);
/* false: none of that topic. */
bool rejections_get(struct rejections *rejections, struct bytes topic,
                    struct ingest_rejection *ret_rejection);
