/* Any bytes as a file of dead letters: errors, never crashes; what is read can be looked at whole.
 */
#include "base/limits.h"
#include "lake/letter_file.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t sum_of(struct bytes text)
{
    size_t sum = 0;
    for (size_t i = 0; i < text.size; i++)
        sum += text.data[i];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct letter_file *file = NULL;
    struct diag diag = {0};
    size_t sum = 0;
    if (letter_file_read(bytes_from(data, size), &file, &diag) != ERR_OK)
        return 0;
    assert(letter_file_count(file) <= LETTER_FILE_ROWS_MAX);
    for (size_t i = 0; i < letter_file_count(file); i++) {
        struct letter_view letter;
        letter_file_get(file, i, &letter);
        sum += sum_of(letter.ingestion_id) + sum_of(letter.source_type) + sum_of(letter.topic) +
               sum_of(letter.reason) + sum_of(letter.detail) + sum_of(letter.payload) +
               sum_of(letter.metadata) + letter_is_whole(&letter);
    }
    assert(sum < SIZE_MAX); /* so that the reads stay */
    letter_file_free(file);
    return 0;
}
