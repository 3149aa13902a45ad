#pragma once
/*
 * The options that every source has (contract/connectors.md "Every source"), whatever its protocol:
 * how its payloads are decoded, and which dataset they go to. Read once with the connector's own
 * configuration, into the same arena. Pure; one thread at a time.
 */
#include "base/buf.h"
#include "connectors/config_reader.h"
#include "journal/block.h"

struct common_options {
    enum content_format format;
    const char *timestamp_field; /* NULL: the default */
    const char *sensor_id_field;
    const char *dataset;     /* template, NULL: none */
    uint32_t dataset_levels; /* 0: all */
    size_t message_max_bytes;
    struct bytes columns;     /* as a route holds them */
    const char *dedupe_field; /* NULL: repetitions stay */
    uint32_t dedupe_window_seconds;
};

/* Errors go into the reader. */
void common_options_read(struct common_options *options, struct config_reader *reader);

/* Fills in what the options say of a route: format, timestamp_field, sensor_id_field, columns,
 * dedupe_key. A format that is auto follows from the route's content type where that is certain.
 * The partition rule is the pipeline's. */
void common_options_route(const struct common_options *options, struct route_view *route);

/* What is to be done with a payload of this content type. */
enum content_format common_options_format_of(const struct common_options *options,
                                             struct bytes content_type);
/* For a connector that knows better: what is format's (SenML's fields of time and sensor) too. */
void common_options_format(struct route_view *route, enum content_format format);

/* Appends the dataset's id of a topic (contract/data.md "DataMessage"); without one, and without a
 * template, it is the source's own. */
enum err common_options_dataset_id(const struct common_options *options, const char *source_id,
                                   struct bytes topic, struct buf *out) ERR_MUST_USE;
