/*
 * One scanner for all forms, and in front of it a fast path for the one that nearly every device
 * sends, "YYYY-MM-DDTHH:MM:SS" with what follows; both end in the same checks.
 *
 * Choices where the standards leave one: eight digits that are a date are a date, other digits a
 * Unix time; fractions are cut to microseconds, as Python does; second 60 becomes the last
 * microsecond of its minute, so that order and partition are kept; 24:00:00 is the next day's
 * midnight; a basic date may stand before an extended time and the other way round, as Python has
 * it.
 */
#include "codec/timestamp.h"

#include "base/limits.h"

#include <math.h>

#define TEXT_BYTES_MAX  64 /* longer is no timestamp */
#define SECONDS_PER_DAY 86400
#define INSTANT_MIN_US  (-62135596800LL * US_PER_S)     /* 0001-01-01T00:00:00 */
#define INSTANT_MAX_US  (253402300800LL * US_PER_S - 1) /* the last of 9999 */

/* From these on, a Unix time is read in the next smaller unit: as seconds the year would be past
 * 5138, as milliseconds it is 1973. */
#define UNIX_MS_FROM 100000000000ULL
#define UNIX_US_FROM 100000000000000ULL
#define UNIX_NS_FROM 100000000000000000ULL

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

struct time_of_day {
    int64_t seconds; /* up to 86400: 24:00:00 */
    int64_t us;
};

/* Days since 1970-01-01 in the proleptic Gregorian calendar. Counting years from March puts the
 * leap day last, so that month lengths follow (153 m + 2) / 5. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_from_days(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    *ret_day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (int)(month < 10 ? month + 3 : month - 9);
    *ret_year = (int)(year_of_era + era * 400 + (*ret_month <= 2));
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool date_is_valid(int64_t year, int64_t month, int64_t day)
{
    static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    return day <= lengths[month - 1] + (month == 2 && is_leap(year));
}

/* Day 1 (Monday) to 7 of an ISO week; week 53 only in years that have one. */
static bool days_from_week(int64_t year, int64_t week, int64_t day, int64_t *ret_days)
{
    if (year < 1 || week < 1 || week > 53 || day < 1 || day > 7)
        return false;
    int64_t january_4 = days_from_date(year, 1, 4);  /* always in week 1 */
    int64_t weekday = ((january_4 + 3) % 7 + 7) % 7; /* Monday is 0; 1970-01-01 was a Thursday */
    int64_t next_january_4 = days_from_date(year + 1, 1, 4);
    int64_t next_weekday = ((next_january_4 + 3) % 7 + 7) % 7;
    *ret_days = january_4 - weekday + (week - 1) * 7 + day - 1;
    return *ret_days - (day - 1) < next_january_4 - next_weekday;
}

static bool is_digit(uint8_t byte)
{
    return (uint8_t)(byte - '0') <= 9;
}

/* Exactly count digits. */
static bool take_digits(struct cursor *cursor, int count, int64_t *ret_value)
{
    int64_t value = 0;
    if (cursor->end - cursor->at < count)
        return false;
    for (int i = 0; i < count; i++) {
        if (!is_digit(cursor->at[i]))
            return false;
        value = value * 10 + (cursor->at[i] - '0');
    }
    cursor->at += count;
    *ret_value = value;
    return true;
}

static bool take_byte(struct cursor *cursor, uint8_t byte)
{
    if (cursor->at == cursor->end || *cursor->at != byte)
        return false;
    cursor->at++;
    return true;
}

static bool next_is_digit(const struct cursor *cursor)
{
    return cursor->at < cursor->end && is_digit(*cursor->at);
}

static bool parse_week_date(struct cursor *cursor, int64_t year, bool extended, int64_t *ret_days)
{
    int64_t week;
    int64_t day = 1;
    if (!take_digits(cursor, 2, &week))
        return false;
    if (extended ? take_byte(cursor, '-') : next_is_digit(cursor)) {
        if (!take_digits(cursor, 1, &day))
            return false;
    }
    return days_from_week(year, week, day, ret_days);
}

static bool parse_date(struct cursor *cursor, int64_t *ret_days)
{
    int64_t year, month, day;
    if (!take_digits(cursor, 4, &year))
        return false;
    bool extended = take_byte(cursor, '-');
    if (take_byte(cursor, 'W') || take_byte(cursor, 'w'))
        return parse_week_date(cursor, year, extended, ret_days);
    if (!take_digits(cursor, 2, &month) || (extended && !take_byte(cursor, '-')) ||
        !take_digits(cursor, 2, &day) || !date_is_valid(year, month, day))
        return false;
    *ret_days = days_from_date(year, month, day);
    return true;
}

/* The digits after a comma or point, as microseconds; further ones are cut off. */
static int64_t take_fraction(struct cursor *cursor)
{
    int64_t us = 0;
    int64_t unit = 100000;
    while (next_is_digit(cursor)) {
        us += (*cursor->at++ - '0') * unit;
        unit /= 10;
    }
    return us;
}

static bool time_of_day_set(int64_t hour, int64_t minute, int64_t second, struct time_of_day *time)
{
    if (hour > 24 || minute > 59 || second > 60)
        return false;
    if (second == 60) {
        second = 59;
        time->us = US_PER_S - 1;
    }
    time->seconds = (hour * 60 + minute) * 60 + second;
    return time->seconds + (time->us > 0) <= SECONDS_PER_DAY;
}

/* HH, HHMM, HH:MM, HHMMSS, HH:MM:SS; the fraction only after seconds. */
static bool parse_time(struct cursor *cursor, struct time_of_day *ret_time)
{
    int64_t hour;
    int64_t minute = 0;
    int64_t second = 0;
    ret_time->us = 0;
    if (!take_digits(cursor, 2, &hour))
        return false;
    bool extended = take_byte(cursor, ':');
    if (extended || next_is_digit(cursor)) {
        if (!take_digits(cursor, 2, &minute))
            return false;
        if (extended ? take_byte(cursor, ':') : next_is_digit(cursor)) {
            if (!take_digits(cursor, 2, &second))
                return false;
            if (take_byte(cursor, '.') || take_byte(cursor, ','))
                ret_time->us = take_fraction(cursor);
        }
    }
    return time_of_day_set(hour, minute, second, ret_time);
}

/* Nothing, Z, or ±HH[[:]MM[[:]SS]], up to the end. A single space before it is tolerated. */
static bool parse_offset(struct cursor *cursor, int64_t *ret_seconds)
{
    int64_t hour;
    int64_t minute = 0;
    int64_t second = 0;
    *ret_seconds = 0;
    if (cursor->at == cursor->end)
        return true;
    (void)take_byte(cursor, ' ');
    if (take_byte(cursor, 'Z') || take_byte(cursor, 'z'))
        return cursor->at == cursor->end;
    bool negative = take_byte(cursor, '-');
    if ((!negative && !take_byte(cursor, '+')) || !take_digits(cursor, 2, &hour))
        return false;
    bool extended = take_byte(cursor, ':');
    if (extended || next_is_digit(cursor)) {
        if (!take_digits(cursor, 2, &minute))
            return false;
        if ((extended ? take_byte(cursor, ':') : next_is_digit(cursor)) &&
            !take_digits(cursor, 2, &second))
            return false;
    }
    *ret_seconds = (hour * 60 + minute) * 60 + second;
    if (negative)
        *ret_seconds = -*ret_seconds;
    return hour < 24 && minute < 60 && second < 60 && cursor->at == cursor->end;
}

static bool instant_set(int64_t days, const struct time_of_day *time, int64_t offset_seconds,
                        int64_t *ret_us)
{
    int64_t seconds = days * SECONDS_PER_DAY + time->seconds - offset_seconds;
    int64_t us = seconds * US_PER_S + time->us;
    if (us < INSTANT_MIN_US || us > INSTANT_MAX_US)
        return false;
    *ret_us = us;
    return true;
}

static bool parse_any_form(struct cursor cursor, int64_t *ret_us)
{
    int64_t days;
    struct time_of_day time = {0};
    int64_t offset_seconds = 0;
    if (!parse_date(&cursor, &days))
        return false;
    if (cursor.at < cursor.end) {
        uint8_t separator = *cursor.at++;
        if (separator != 'T' && separator != 't' && separator != ' ')
            return false;
        if (!parse_time(&cursor, &time) || !parse_offset(&cursor, &offset_seconds))
            return false;
    }
    return instant_set(days, &time, offset_seconds, ret_us);
}

static int64_t two_digits(const uint8_t *text)
{
    return (text[0] - '0') * 10 + (text[1] - '0');
}

/* "YYYY-MM-DDTHH:MM:SS" at the front, digits and separators checked at once: every byte less its
 * template's is at most 9 where a digit stands, 0 where a separator does. */
static bool has_common_form(const uint8_t *text)
{
    static const uint8_t base[19] = "0000-00-00\0"
                                    "00:00:00";
    static const uint8_t most[19] = {9, 9, 9, 9, 0, 9, 9, 0, 9, 9, 255, 9, 9, 0, 9, 9, 0, 9, 9};
    unsigned bad = 0;
    for (int i = 0; i < 19; i++)
        bad |= (uint8_t)(text[i] - base[i]) > most[i];
    return !bad && (text[10] == 'T' || text[10] == ' ' || text[10] == 't');
}

static bool parse_common_form(struct cursor cursor, int64_t *ret_us)
{
    const uint8_t *text = cursor.at;
    int64_t year = two_digits(text) * 100 + two_digits(text + 2);
    int64_t month = two_digits(text + 5);
    int64_t day = two_digits(text + 8);
    struct time_of_day time = {0};
    int64_t offset_seconds;
    cursor.at += 19;
    if (take_byte(&cursor, '.') || take_byte(&cursor, ','))
        time.us = take_fraction(&cursor);
    return date_is_valid(year, month, day) &&
           time_of_day_set(two_digits(text + 11), two_digits(text + 14), two_digits(text + 17),
                           &time) &&
           parse_offset(&cursor, &offset_seconds) &&
           instant_set(days_from_date(year, month, day), &time, offset_seconds, ret_us);
}

/* [-]digits[.digits], in the unit that the magnitude tells. */
static bool parse_unix(struct cursor cursor, int64_t *ret_us)
{
    uint64_t whole = 0;
    bool negative = take_byte(&cursor, '-');
    if (!next_is_digit(&cursor))
        return false;
    while (next_is_digit(&cursor)) {
        if (__builtin_mul_overflow(whole, 10U, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*cursor.at - '0'), &whole))
            return false;
        cursor.at++;
    }
    int64_t fraction = take_byte(&cursor, '.') ? take_fraction(&cursor) : 0;
    if (cursor.at != cursor.end)
        return false;
    uint64_t us;
    if (whole < UNIX_MS_FROM)
        us = whole * 1000000 + (uint64_t)fraction;
    else if (whole < UNIX_US_FROM)
        us = whole * 1000 + (uint64_t)fraction / 1000;
    else
        us = whole < UNIX_NS_FROM ? whole : whole / 1000;
    if (us > (uint64_t)INSTANT_MAX_US || (negative && us > (uint64_t)-INSTANT_MIN_US))
        return false;
    *ret_us = negative ? -(int64_t)us : (int64_t)us;
    return true;
}

static bool is_all_digits(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit(text.data[i]))
            return false;
    }
    return true;
}

bool timestamp_parse(struct bytes text, int64_t *ret_us)
{
    if (text.size == 0 || text.size > TEXT_BYTES_MAX)
        return false;
    struct cursor cursor = {text.data, text.data + text.size};
    if (text.size >= 19 && has_common_form(text.data))
        return parse_common_form(cursor, ret_us);
    if (is_all_digits(text)) {
        if (text.size == 8 && parse_any_form(cursor, ret_us))
            return true;
        return parse_unix(cursor, ret_us);
    }
    return parse_any_form(cursor, ret_us) || parse_unix(cursor, ret_us);
}

bool timestamp_from_number(double number, int64_t *ret_us)
{
    double magnitude = fabs(number);
    double us;
    if (!(magnitude < 1e20)) /* NaN too */
        return false;
    if (magnitude < (double)UNIX_MS_FROM)
        us = number * 1e6;
    else if (magnitude < (double)UNIX_US_FROM)
        us = number * 1e3;
    else
        us = magnitude < (double)UNIX_NS_FROM ? number : number / 1e3;
    us = rint(us);
    if (us < (double)INSTANT_MIN_US || us >= (double)(INSTANT_MAX_US + 1))
        return false;
    *ret_us = (int64_t)us;
    return true;
}

static char *put_two_digits(char *to, int value)
{
    to[0] = (char)('0' + value / 10);
    to[1] = (char)('0' + value % 10);
    return to + 2;
}

static char *put_date(char *to, int64_t days)
{
    int year, month, day;
    date_from_days(days, &year, &month, &day);
    to = put_two_digits(to, year / 100);
    to = put_two_digits(to, year % 100);
    *to++ = '-';
    to = put_two_digits(to, month);
    *to++ = '-';
    return put_two_digits(to, day);
}

/* Instants outside the years 0001 to 9999 (a foreign clock) are drawn in, so that the text always
 * fits. Splits into days and the microseconds of the day. */
static int64_t split_days(int64_t us, int64_t *ret_us_of_day)
{
    int64_t day_us = SECONDS_PER_DAY * US_PER_S;
    us = us < INSTANT_MIN_US ? INSTANT_MIN_US : us > INSTANT_MAX_US ? INSTANT_MAX_US : us;
    int64_t days = us / day_us - (us % day_us < 0);
    *ret_us_of_day = us - days * day_us;
    return days;
}

size_t timestamp_format(int64_t us, char ret_text[TIMESTAMP_TEXT_BYTES])
{
    int64_t us_of_day;
    char *to = put_date(ret_text, split_days(us, &us_of_day));
    int seconds = (int)(us_of_day / US_PER_S);
    int fraction = (int)(us_of_day % US_PER_S);
    *to++ = 'T';
    to = put_two_digits(to, seconds / 3600);
    *to++ = ':';
    to = put_two_digits(to, seconds / 60 % 60);
    *to++ = ':';
    to = put_two_digits(to, seconds % 60);
    if (fraction != 0) {
        *to++ = '.';
        to = put_two_digits(to, fraction / 10000);
        to = put_two_digits(to, fraction / 100 % 100);
        to = put_two_digits(to, fraction % 100);
    }
    memcpy(to, "+00:00", 7);
    return (size_t)(to + 6 - ret_text);
}

void timestamp_date_hour(int64_t us, char ret_date[11], int *ret_hour)
{
    int64_t us_of_day;
    *put_date(ret_date, split_days(us, &us_of_day)) = 0;
    *ret_hour = (int)(us_of_day / (3600 * US_PER_S));
}
