#include "codec/utf8.h"

size_t utf8_sequence_bytes(const uint8_t *text, size_t size)
{
    uint8_t lead = text[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    if ((lead == 0xe0 && text[1] < 0xa0) || (lead == 0xed && text[1] > 0x9f) ||
        (lead == 0xf0 && text[1] < 0x90) || (lead == 0xf4 && text[1] > 0x8f))
        return 0;
    return length;
}

bool utf8_valid(struct bytes text)
{
    size_t i = 0;
    while (i < text.size) {
        if (text.size - i >= 8 && (load_u64(text.data + i) & 0x8080808080808080u) == 0) {
            i += 8;
            continue;
        }
        size_t length = utf8_sequence_bytes(text.data + i, text.size - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}

size_t utf8_encode(uint32_t code_point, uint8_t *ret_bytes)
{
    if (code_point < 0x80) {
        ret_bytes[0] = (uint8_t)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        ret_bytes[0] = (uint8_t)(0xc0 | code_point >> 6);
        ret_bytes[1] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 2;
    }
    if (code_point < 0x10000) {
        ret_bytes[0] = (uint8_t)(0xe0 | code_point >> 12);
        ret_bytes[1] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
        ret_bytes[2] = (uint8_t)(0x80 | (code_point & 0x3f));
        return 3;
    }
    ret_bytes[0] = (uint8_t)(0xf0 | code_point >> 18);
    ret_bytes[1] = (uint8_t)(0x80 | (code_point >> 12 & 0x3f));
    ret_bytes[2] = (uint8_t)(0x80 | (code_point >> 6 & 0x3f));
    ret_bytes[3] = (uint8_t)(0x80 | (code_point & 0x3f));
    return 4;
}
