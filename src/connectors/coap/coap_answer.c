#include "connectors/coap/coap_answer.h"

#include "base/hash.h"
#include "connectors/coap/coap_fresh.h"

#include <stdio.h>

#define SAID_BYTES_MAX 80

static bool option_get(const coap_pdu_t *pdu, uint16_t number, struct bytes *ret_value)
{
    coap_opt_iterator_t iterator;
    coap_opt_t *option = coap_check_option(pdu, number, &iterator);
    if (!option)
        return false;
    *ret_value = bytes_from(coap_opt_value(option), coap_opt_length(option));
    return true;
}

static uint32_t number_of(struct bytes value)
{
    uint32_t number = 0;
    for (size_t i = 0; i < value.size; i++)
        number = number << 8 | value.data[i];
    return number;
}

static uint64_t content_hash(const coap_pdu_t *pdu, const struct coap_answer *answer)
{
    coap_bin_const_t token = coap_pdu_get_token(pdu);
    const struct coap_block *block = &answer->block;
    uint32_t numbers[] = {answer->code,      answer->has_observe,     answer->observe,
                          answer->has_block, block->number,           block->szx,
                          block->has_more,   (uint32_t)answer->format};
    uint64_t hash =
        hash_bytes_seeded(bytes_from(token.s, token.length), hash_bytes(block->payload));
    hash = hash_bytes_seeded(bytes_from(block->etag, block->etag_size), hash);
    return hash_bytes_seeded(bytes_from(numbers, sizeof(numbers)), hash);
}

bool coap_answer_read(const coap_pdu_t *pdu, bool is_reliable, struct coap_answer *ret_answer)
{
    struct bytes value;
    size_t size = 0;
    const uint8_t *data = NULL;
    coap_pdu_type_t type = coap_pdu_get_type(pdu);
    struct coap_answer answer = {
        .code = (uint8_t)coap_pdu_get_code(pdu),
        .is_con = !is_reliable && type == COAP_MESSAGE_CON,
        .is_ack = is_reliable || type == COAP_MESSAGE_ACK,
        .message_id = (uint16_t)coap_pdu_get_mid(pdu),
        .max_age_seconds = COAP_MAX_AGE_SECONDS,
        .format = -1,
    };
    bool good = true;
    if (option_get(pdu, COAP_OPTION_OBSERVE, &value)) {
        good = value.size <= 3;
        answer.has_observe = true;
        answer.observe = number_of(value);
    }
    if (option_get(pdu, COAP_OPTION_MAXAGE, &value)) {
        good = good && value.size <= 4;
        answer.max_age_seconds = number_of(value);
    }
    if (option_get(pdu, COAP_OPTION_CONTENT_FORMAT, &value)) {
        good = good && value.size <= 2;
        answer.format = (int32_t)(number_of(value) & UINT16_MAX);
    }
    if (option_get(pdu, COAP_OPTION_BLOCK2, &value)) {
        answer.has_block = true;
        good = good && coap_block_read(value, &answer.block);
        good = good && (is_reliable || answer.block.szx != COAP_SZX_BERT);
    }
    if (option_get(pdu, COAP_OPTION_ETAG, &value)) {
        good = good && value.size >= 1 && value.size <= COAP_ETAG_BYTES_MAX;
        if (good) {
            memcpy(answer.block.etag, value.data, value.size);
            answer.block.etag_size = (uint8_t)value.size;
        }
    }
    if (coap_get_data(pdu, &size, &data))
        answer.block.payload = bytes_from(data, size);
    answer.content = answer.is_con ? content_hash(pdu, &answer) : 0;
    *ret_answer = answer;
    return good;
}

void coap_answer_describe(const struct coap_answer *answer, char *ret_text, size_t size)
{
    char said[SAID_BYTES_MAX + 1];
    size_t length = 0;
    struct bytes payload = answer->block.payload;
    const char *phrase = coap_response_phrase(answer->code);
    for (size_t i = 0; i < payload.size && length < SAID_BYTES_MAX; i++)
        said[length++] =
            payload.data[i] >= ' ' && payload.data[i] < 0x7f ? (char)payload.data[i] : '.';
    said[length] = '\0';
    snprintf(ret_text, size, "answered %u.%02u%s%s%s%s", answer->code >> 5, answer->code & 31u,
             phrase ? " " : "", phrase ? phrase : "", length ? ": " : "", said);
}
