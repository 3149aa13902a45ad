#pragma once
/*
 * MQTT packets as JSON, for the scripted broker: what a step describes becomes bytes, what a client
 * sent becomes an event. Members carry the codec's field names; properties stand in an object
 * "properties", user properties there as "user": [[name, value], …]. One thread.
 */
#include "base/buf.h"
#include "codec/mqtt.h"

#include <jansson.h>

/* Adds the packet's fields to an event; a packet that does not decode gets "fault" and
 * "reason". */
void packet_describe(json_t *event, enum mqtt_version version, const struct mqtt_frame *frame,
                     struct bytes body);

/* Appends what a step says: "do" is publish, ack (with "type"), connack, suback, unsuback,
 * disconnect, auth, pingresp, raw ("hex") or garbage ("bytes", "seed"). "cut": n keeps the first n
 * bytes only, -n all but the last n. index goes into {i} of topic and payload and is added to
 * packet_identifier. ERR_INVALID, with diag, for what it does not know. */
enum err packet_encode(struct buf *out, enum mqtt_version version, const json_t *step,
                       uint64_t index, struct diag *diag) ERR_MUST_USE;

/* A step's properties object; user properties are encoded to user, which must outlive the result.
 */
enum err packet_properties(const json_t *object, struct buf *user,
                           struct mqtt_properties *ret_properties) ERR_MUST_USE;

/* Members with a default. */
int64_t step_number(const json_t *step, const char *name, int64_t otherwise);
const char *step_text(const json_t *step, const char *name, const char *otherwise);
bool step_flag(const json_t *step, const char *name, bool otherwise);
/* "PUBACK" -> 4; 0 when there is none of that name. */
uint8_t packet_type_from_name(const char *name);
