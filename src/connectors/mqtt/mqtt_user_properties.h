#pragma once
/*
 * The user properties of a PUBLISH (§3.3.2.3.7) as one JSON object text: a name that comes again
 * becomes an array, in place of its first. All of them, or it is said how many not. Pure, any
 * thread; time and memory grow linearly with their bytes, whoever chose them.
 */
#include "base/buf.h"
#include "base/limits.h"
#include "codec/mqtt_properties.h"

#define MQTT_USER_JSON_BYTES_MAX MIB /* a record whose text would be longer is a dead letter */
/* Of them in that dead letter, unescaped. */
#define MQTT_USER_KEPT_BYTES LIMIT_DEAD_LETTER_BYTES

struct mqtt_user_properties {
    size_t count;
    size_t kept; /* less than count: the text has only the first ones */
};

/* Empties json and writes the text to it; nothing when there are none, or none is
 * kept. json must take 8 * MQTT_USER_JSON_BYTES_MAX. ERR_NO_MEMORY. */
enum err mqtt_user_properties_write(struct buf *json, const struct mqtt_properties *properties,
                                    struct mqtt_user_properties *ret_properties) ERR_MUST_USE;
