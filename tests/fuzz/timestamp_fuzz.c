/* Any text: no crash, and what is accepted survives format and parse again. */
#include "codec/timestamp.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t us, again;
    if (timestamp_parse(bytes_from(data, size), &us)) {
        char text[TIMESTAMP_TEXT_BYTES], date[11];
        int hour;
        size_t length = timestamp_format(us, text);
        assert(timestamp_parse(bytes_from(text, length), &again) && again == us);
        timestamp_date_hour(us, date, &hour);
        assert(hour >= 0 && hour < 24);
    }
    if (size >= sizeof(double)) {
        double number;
        memcpy(&number, data, sizeof(number));
        if (timestamp_from_number(number, &us)) {
            char text[TIMESTAMP_TEXT_BYTES];
            (void)timestamp_format(us, text);
        }
    }
    return 0;
}
