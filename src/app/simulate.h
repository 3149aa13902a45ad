#pragma once
/*
 * `ingestor simulate`: sensors of a city that publish to an MQTT broker at a chosen rate, or serve
 * CoAP (simulate_coap.h), for the demo, for trying things out, and for counting tests: every
 * message has a "seq", one more each.
 *
 * Runs its own loop on the calling thread until all is published and acknowledged, or SIGINT or
 * SIGTERM (a second one leaves at once).
 */

/* argv[0] is the command's name, as main's. Exit codes: 0; 1 when it did not succeed (not all was
 * acknowledged); 2 for wrong options. */
int simulate_main(int argc, char **argv);
