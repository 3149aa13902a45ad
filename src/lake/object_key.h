#pragma once
/*
 * Object keys of the bronze layer (contract/data.md "Bronze layer"). Pure. An ingestion id cannot
 * climb out of its prefix: bytes outside [A-Za-z0-9._-] are percent-encoded, and so are the dots of
 * "." and ".."; what would be over-long is cut and ended by a hash.
 */
#include "base/buf.h"
#include "journal/position.h"

/* The most bytes of an encoded id: file systems allow 255 in a name, less "ingestion_id=". */
#define OBJECT_KEY_ID_BYTES 240

enum err object_key_encode_id(struct buf *out, struct bytes id) ERR_MUST_USE;
/* "bronze/ingestion_id=…/date=…/hour=…/part-<uuid>-<position>.parquet"; instant_us is any moment in
 * the partition's hour. */
enum err object_key_data(struct buf *out, struct bytes id, int64_t instant_us,
                         const char *journal_uuid, struct position first) ERR_MUST_USE;
/* Appends what stands behind the dataset's folder and "/". */
enum err object_key_partition(struct buf *out, int64_t instant_us, const char *journal_uuid,
                              struct position first) ERR_MUST_USE;
/* The reverse; false: it is not of this journal. *ret_instant_us: when the hour begins. */
bool object_key_partition_read(struct bytes key, const char *journal_uuid, int64_t *ret_instant_us,
                               struct position *ret_first);
/* "bronze/_dead_letters/date=…/…" */
enum err object_key_dead_letters(struct buf *out, int64_t instant_us, const char *journal_uuid,
                                 struct position first) ERR_MUST_USE;
