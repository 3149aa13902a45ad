#include "lake/batch_tally.h"

#include "base/limits.h"

#include <stdbool.h>
#include <string.h>

void batch_tally_clear(struct batch_tally *tally)
{
    tally->repeated = 0;
    tally->messages = tally->payload_bytes = tally->rejected = tally->rescued = 0;
    memset(tally->delays, 0, sizeof(tally->delays));
    tally->delay_count = 0;
    tally->delay_seconds = 0;
    tally->reason_count = 0;
}

void batch_tally_delays(struct batch_tally *tally, const int64_t *event_us,
                        const int64_t *arrival_us, size_t count)
{
    uint32_t bound_count = tally->delay_bound_count;
    double sum_us = 0; /* times are hostile: the sum of a few fills 64 bits */
    if (bound_count == 0)
        return;
    for (size_t i = 0; i < count; i++) {
        int64_t delay_us;
        if (arrival_us[i] < event_us[i] ||
            __builtin_sub_overflow(arrival_us[i], event_us[i], &delay_us))
            continue;
        uint32_t cell = 0;
        while (cell < bound_count && delay_us > tally->delay_bounds_us[cell])
            cell++;
        tally->delays[cell]++;
        tally->delay_count++;
        sum_us += (double)delay_us;
    }
    tally->delay_seconds += sum_us / (double)US_PER_S;
}

static bool is_word(struct bytes text)
{
    if (text.size == 0 || text.size >= BATCH_TALLY_REASON_BYTES)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

static struct batch_tally_reason *reason_find(struct batch_tally *tally, struct bytes word)
{
    for (uint32_t i = 0; i < tally->reason_count; i++)
        if (bytes_equal(bytes_from_text(tally->reasons[i].text), word))
            return &tally->reasons[i];
    return NULL;
}

void batch_tally_rejected(struct batch_tally *tally, struct bytes reason)
{
    struct bytes word = is_word(reason) ? reason : BYTES_LITERAL(BATCH_TALLY_OTHER);
    struct batch_tally_reason *found = reason_find(tally, word);
    if (!found && tally->reason_count >= BATCH_TALLY_REASONS_MAX) {
        word = BYTES_LITERAL(BATCH_TALLY_OTHER);
        found = reason_find(tally, word);
    }
    if (!found) {
        found = &tally->reasons[tally->reason_count++];
        *found = (struct batch_tally_reason){0};
        memcpy(found->text, word.data, word.size);
    }
    found->messages++;
    tally->rejected++;
}
