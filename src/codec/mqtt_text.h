#pragma once
/*
 * MQTT's texts (§1.5.4), topic names and topic filters (§4.7). Pure, any thread, linear time.
 */
#include "base/bytes.h"

/* UTF-8 without surrogates and U+0000, at most 65535 bytes. */
bool mqtt_text_valid(struct bytes text);
/* A text of at least one byte without wildcards. */
bool mqtt_topic_valid(struct bytes topic);
/* A text whose wildcards stand where they may; $share/<name>/<filter> with a good name and filter.
 */
bool mqtt_filter_valid(struct bytes filter);
/* "$share/<name>/<filter>" -> name and filter; false when it is not shared. */
bool mqtt_filter_shared(struct bytes filter, struct bytes *ret_name, struct bytes *ret_filter);
/* Whether a valid, unshared filter takes a topic; one that begins with a wildcard takes no topic
 * that begins with $ (§4.7.2). */
bool mqtt_filter_matches(struct bytes filter, struct bytes topic);
/* Whether some topic is taken by both valid, unshared filters: brokers then deliver twice. */
bool mqtt_filters_overlap(struct bytes a, struct bytes b);
/* Whether the first takes every topic that the second takes; both valid and unshared. */
bool mqtt_filter_covers(struct bytes wide, struct bytes narrow);
