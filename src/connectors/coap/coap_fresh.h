#pragma once
/*
 * Which notification is the freshest (RFC 7641 §3.4), and when to register again (§3.3.1). Pure
 * arithmetic; zeroed is "nothing seen yet".
 */
#include <stdbool.h>
#include <stdint.h>

#define COAP_MAX_AGE_SECONDS     60 /* when the server says none (RFC 7252 §5.10.5) */
#define COAP_MAX_AGE_SECONDS_MAX (30 * 86400)

struct coap_fresh {
    bool is_known;
    uint32_t number; /* Observe of the freshest, 24 bits */
    int64_t seen_ns;
};

/* Whether a notification with that number, come at now_ns, is newer than the freshest; if so it is
 * the freshest. */
bool coap_fresh_offer(struct coap_fresh *fresh, uint32_t number, int64_t now_ns);

/* How long to wait for a notification before registering again: Max-Age, and 5 to 15 s more so that
 * the clients of one server do not come together; random: any number. refresh_seconds > 0: that
 * instead. */
int64_t coap_fresh_wait_ms(uint32_t max_age_seconds, uint32_t refresh_seconds, uint64_t random);
