#pragma once
/*
 * What a crash simulation says when a promise is broken: the seed, the story so far if it is
 * wanted, one sentence; then the program ends with 1. One thread; one schedule at a time.
 */
#include <stdbool.h>
#include <stdint.h>

void promise_begin(uint64_t seed, bool is_verbose);
/* A line of the schedule's story; nothing unless verbose. */
void promise_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void promise_broken(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

#define PROMISE(condition, ...)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            promise_broken(__VA_ARGS__);                                                           \
    } while (0)
