#include "connectors/rest/rest_schedule.h"

#include "base/limits.h"

#include <curl/curl.h>
#include <string.h>

void rest_schedule_begin(struct rest_schedule *schedule, uint32_t interval_seconds, int64_t now_ns,
                         bool at_once, uint64_t hash)
{
    int64_t interval_ns = (int64_t)interval_seconds * NS_PER_S;
    *schedule = (struct rest_schedule){.interval_ns = interval_ns, .next_ns = now_ns};
    if (!at_once)
        schedule->next_ns += (int64_t)(hash % (uint64_t)interval_ns);
}

void rest_schedule_next(struct rest_schedule *schedule, int64_t now_ns)
{
    int64_t from_ns = now_ns > schedule->not_before_ns ? now_ns : schedule->not_before_ns;
    int64_t passed = 0;
    if (from_ns > schedule->next_ns)
        passed = (from_ns - schedule->next_ns - 1) / schedule->interval_ns;
    schedule->skipped += (uint64_t)passed;
    schedule->next_ns += (passed + 1) * schedule->interval_ns;
}

void rest_schedule_hold(struct rest_schedule *schedule, int64_t now_ns, uint32_t seconds)
{
    int64_t until_ns = now_ns + (int64_t)seconds * NS_PER_S;
    if (until_ns > schedule->not_before_ns)
        schedule->not_before_ns = until_ns;
}

bool rest_starts_take(struct rest_starts *starts, int64_t now_ns)
{
    const int64_t cost_ns = NS_PER_S / REST_STARTS_PER_SECOND;
    const int64_t full_ns = REST_STARTS_AT_ONCE * cost_ns;
    int64_t since_ns = starts->filled_ns == 0 ? full_ns : now_ns - starts->filled_ns;
    starts->filled_ns = now_ns;
    starts->tokens_ns =
        since_ns >= full_ns - starts->tokens_ns ? full_ns : starts->tokens_ns + since_ns;
    if (starts->tokens_ns < cost_ns)
        return false;
    starts->tokens_ns -= cost_ns;
    return true;
}

void rest_retry_begin(struct rest_retry *retry, int64_t now_ns, uint64_t seed)
{
    *retry = (struct rest_retry){.first_ns = now_ns, .tries = 1};
    backoff_init(&retry->backoff, REST_RETRY_FIRST_MS, REST_RETRY_LAST_MS, seed);
}

bool rest_retry_again(struct rest_retry *retry, int64_t now_ns, int64_t retry_after_seconds,
                      uint32_t *ret_wait_ms)
{
    if (retry->tries >= REST_TRIES_MAX || retry_after_seconds > REST_TRIES_SECONDS)
        return false;
    int64_t wait_ms = backoff_next_ms(&retry->backoff);
    if (retry_after_seconds >= 0 && wait_ms < retry_after_seconds * MS_PER_S)
        wait_ms = retry_after_seconds * MS_PER_S;
    if (now_ns + wait_ms * NS_PER_MS - retry->first_ns > REST_TRIES_SECONDS * NS_PER_S)
        return false;
    retry->tries++;
    *ret_wait_ms = (uint32_t)wait_ms;
    return true;
}

int64_t rest_retry_after(const char *text, int64_t now_seconds)
{
    size_t digits = strspn(text, "0123456789");
    int64_t seconds = 0;
    if (digits > 0 && text[digits] == '\0') {
        for (size_t i = 0; i < digits && seconds <= REST_RETRY_AFTER_MAX_S; i++)
            seconds = seconds * 10 + (text[i] - '0');
    } else {
        time_t date = curl_getdate(text, NULL);
        if (digits > 0 || date < 0)
            return -1;
        seconds = (int64_t)date > now_seconds ? (int64_t)date - now_seconds : 0;
    }
    return seconds < REST_RETRY_AFTER_MAX_S ? seconds : REST_RETRY_AFTER_MAX_S;
}
