#include "connectors/coap/coap_fresh.h"

#include "base/limits.h"

#define HALF_OF_NUMBERS (1u << 23)
#define NUMBER_MASK     ((1u << 24) - 1)
#define RENEWED_NS      (128 * NS_PER_S) /* numbers cannot wrap in less */

bool coap_fresh_offer(struct coap_fresh *fresh, uint32_t number, int64_t now_ns)
{
    uint32_t ahead = (number - fresh->number) & NUMBER_MASK;
    bool is_newer = !fresh->is_known || (ahead > 0 && ahead < HALF_OF_NUMBERS) ||
                    now_ns > fresh->seen_ns + RENEWED_NS;
    if (is_newer)
        *fresh = (struct coap_fresh){true, number & NUMBER_MASK, now_ns};
    return is_newer;
}

int64_t coap_fresh_wait_ms(uint32_t max_age_seconds, uint32_t refresh_seconds, uint64_t random)
{
    if (refresh_seconds > 0)
        return refresh_seconds * MS_PER_S;
    if (max_age_seconds > COAP_MAX_AGE_SECONDS_MAX)
        max_age_seconds = COAP_MAX_AGE_SECONDS_MAX;
    return max_age_seconds * MS_PER_S + 5000 + (int64_t)(random % 10001);
}
