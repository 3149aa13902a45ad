#include "support/promise.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t current_seed;
static bool verbose;

void promise_begin(uint64_t seed, bool is_verbose)
{
    current_seed = seed;
    verbose = is_verbose;
}

void promise_note(const char *format, ...)
{
    va_list arguments;
    if (!verbose)
        return;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void promise_broken(const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fprintf(stderr, "seed %llu: ", (unsigned long long)current_seed);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}
