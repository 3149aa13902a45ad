#include "connectors/mqtt/mqtt_stall.h"

static bool is_over(const struct mqtt_stall *stall, uint64_t now_ms)
{
    return stall->hits == 0 || now_ms - stall->acknowledged_ms > MQTT_STALL_QUIET_MS;
}

enum mqtt_stall_news mqtt_stall_data(struct mqtt_stall *stall, uint64_t now_ms)
{
    if (stall->told && is_over(stall, now_ms)) {
        *stall = (struct mqtt_stall){.size = stall->size};
        return MQTT_STALL_OVER;
    }
    if (stall->armed) {
        bool soon = now_ms - stall->acknowledged_ms <= MQTT_STALL_SOON_MS;
        if (soon && stall->hits < MQTT_STALL_HITS)
            stall->hits++;
        else if (!soon && stall->hits > 0)
            stall->hits--;
    }
    stall->armed = false;
    if (stall->told || stall->hits < MQTT_STALL_HITS || stall->size < MQTT_STALL_MIN)
        return MQTT_STALL_NOTHING;
    stall->told = true;
    return MQTT_STALL_FOUND;
}

void mqtt_stall_received(struct mqtt_stall *stall, uint32_t unacknowledged,
                         uint32_t receive_maximum)
{
    if (unacknowledged >= receive_maximum || unacknowledged < stall->size)
        return;
    if (unacknowledged > stall->size)
        *stall = (struct mqtt_stall){.size = unacknowledged, .told = stall->told};
    stall->full = true;
}

void mqtt_stall_acknowledged(struct mqtt_stall *stall, uint64_t now_ms)
{
    stall->acknowledged_ms = now_ms;
    stall->armed = stall->armed || stall->full;
    stall->full = false;
}
