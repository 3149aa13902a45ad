#pragma once
/* A sample's value as prometheus_client's floatToGoString writes it: Python's repr, and from 1e6 on
 * d.ddde+0x. Any thread; cannot fail. */
#include <stddef.h>

#define METRICS_NUMBER_BYTES 48

/* Returns the text's size; there is no NUL after it. */
size_t metrics_number(char text[METRICS_NUMBER_BYTES], double value);
