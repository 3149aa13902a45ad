/* SenML, JSON and CBOR: support/format_fuzz.h says what must hold. */
#include "support/format_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    format_fuzz(CONTENT_SENML_JSON, bytes_from(data, size));
    return 0;
}
