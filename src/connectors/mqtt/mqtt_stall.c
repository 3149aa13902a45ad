#include "connectors/mqtt/mqtt_stall.h"

bool mqtt_stall_data(struct mqtt_stall *stall, uint64_t now_ms)
{
    if (!stall->armed)
        return false;
    stall->armed = false;
    if (now_ms - stall->acknowledged_ms <= MQTT_STALL_SOON_MS)
        stall->hits++;
    else if (stall->hits > 0)
        stall->hits--;
    if (stall->told || stall->hits < MQTT_STALL_HITS || stall->size < MQTT_STALL_MIN)
        return false;
    stall->told = true;
    return true;
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
