#pragma once
/*
 * libcoap set up: once for the program, a context with one session for a channel, and the options
 * of a question. The I/O loops' threads.
 */
#include "connectors/coap/coap_channel.h"

#include <sys/socket.h>

/* What libcoap said first on this thread since the last forget, "" for nothing. */
const char *coap_library_says(void);
void coap_library_forget(void);

/* A context that has an epoll descriptor. NULL: diag says why. */
coap_context_t *coap_session_context(struct diag *diag);
coap_session_t *coap_session_open(coap_context_t *context, const struct coap_config *config,
                                  const struct sockaddr *address, struct diag *diag);

/* A GET; NULL: out of memory, or it does not fit. */
coap_pdu_t *coap_session_question(coap_session_t *session, const struct coap_config *config,
                                  const struct coap_question *question);
