#pragma once
/*
 * `ingestor simulate --coap-port`: the sensors as resources of a CoAP server (libcoap's), each with
 * its newest reading, to be asked or observed (RFC 7641), and listed in /.well-known/core with
 * content format and type. Readings are made at the rate whether somebody looks or not.
 *
 * --qos 1: each notification is confirmable. While one to an observer is not acknowledged, the next
 * ones to it wait (NSTART of RFC 7252 §4.7) and tell the newest reading then. --qos 0: libcoap
 * makes each sixth one confirmable, to see who is still there (RFC 7641 §4.5).
 *
 * Runs a loop on the calling thread until --count, --duration, SIGINT or SIGTERM; what is
 * confirmable is then waited for, some seconds at most.
 */
#include "app/simulate_options.h"

/* Exit codes: 0; 1 when the server cannot be, as when its port is taken. */
int simulate_coap_run(const struct simulate_options *options);
