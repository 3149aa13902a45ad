#include "codec/mqtt_reason.h"

#include <stddef.h>

static const struct {
    const char *text;
    uint16_t packets;
} reason_table[256] = {
#define X(name, code, packets, text) [code] = {text, (uint16_t)(packets)},
    MQTT_REASON_MAP(X)
#undef X
};

const char *mqtt_reason_text(uint8_t reason)
{
    const char *text = reason_table[reason].text;
    return text ? text : "unknown reason code";
}

bool mqtt_reason_allowed(uint8_t reason, uint8_t packet_type)
{
    return packet_type < 16 && ((unsigned)reason_table[reason].packets >> packet_type & 1u);
}

/* 3.1.1 §3.2.2.3, in the order of the return codes. */
static const uint8_t return_codes[] = {
    MQTT_REASON_SUCCESS,           MQTT_REASON_UNSUPPORTED_VERSION,
    MQTT_REASON_CLIENT_ID_INVALID, MQTT_REASON_SERVER_UNAVAILABLE,
    MQTT_REASON_BAD_CREDENTIALS,   MQTT_REASON_NOT_AUTHORIZED};

uint8_t mqtt_reason_from_return_code(uint8_t return_code)
{
    return return_code < sizeof(return_codes) ? return_codes[return_code]
                                              : (uint8_t)MQTT_REASON_UNSPECIFIED;
}

uint8_t mqtt_reason_to_return_code(uint8_t reason)
{
    for (size_t code = 0; code < sizeof(return_codes); code++)
        if (return_codes[code] == reason)
            return (uint8_t)code;
    return 3;
}
