#pragma once
/* From a filled response to libmicrohttpd's: headers, and bodies whole or as streams. On the thread
 * of the exchange's connection. */
#include "api/exchange.h"

enum MHD_Result answer_send(struct exchange *exchange, struct MHD_Connection *handle);

bool answer_is_preflight(struct MHD_Connection *handle, const char *method);
enum MHD_Result answer_preflight(struct exchange *exchange, struct MHD_Connection *handle);

const char *answer_header(struct MHD_Connection *handle, const char *name);
