#include "app/terminal.h"

#include "codec/utf8.h"

#include <stdint.h>
#include <string.h>

/* C0, DEL, and C1, which is what U+0080 to U+009F are in UTF-8 too. */
static bool is_control(const uint8_t *text, size_t length)
{
    return text[0] < 0x20 || text[0] == 0x7f || (length == 2 && text[0] == 0xc2 && text[1] < 0xa0);
}

/* Returns how many characters were written. */
static size_t write_text(FILE *out, const char *text, size_t characters_max)
{
    const uint8_t *at = (const uint8_t *)text;
    size_t left = strlen(text);
    size_t count = 0;
    for (; left > 0 && count < characters_max; count++) {
        size_t length = utf8_sequence_bytes(at, left);
        if (length == 0 || is_control(at, length))
            fputc('?', out);
        else
            fwrite(at, 1, length, out);
        length = length ? length : 1;
        at += length;
        left -= length;
    }
    return count;
}

void terminal_cell(FILE *out, const char *text, size_t width)
{
    for (size_t count = write_text(out, text, width); count < width; count++)
        fputc(' ', out);
}

void terminal_text(FILE *out, const char *text)
{
    (void)write_text(out, text, SIZE_MAX);
}

void terminal_json(FILE *out, const char *json, size_t size)
{
    const uint8_t *at = (const uint8_t *)json, *end = at + size, *shown = at;
    while (at < end) {
        size_t length = utf8_sequence_bytes(at, (size_t)(end - at));
        bool is_bad = length > 0 && *at >= 0x20 && is_control(at, length);
        if (is_bad) {
            fwrite(shown, 1, (size_t)(at - shown), out);
            fprintf(out, "\\u00%02x", at[length - 1]);
            shown = at + length;
        }
        at += length > 0 ? length : 1;
    }
    fwrite(shown, 1, (size_t)(at - shown), out);
}
