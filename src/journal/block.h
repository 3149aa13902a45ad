#pragma once
/*
 * A block: the unit of durability, of acknowledgement and of hand-over. The I/O loop fills one with
 * routes and messages, the journal thread seals and writes it, and the very same bytes go to the
 * workers, reference-counted, never copied.
 *
 * On disk and in memory (little-endian, padded with zeros to a multiple of 4096):
 *
 *   +----------------------------- header, 64 bytes -----------------------------+
 *   | 0 magic u32 | 4 crc32c u32 of [8, size) | 8 number u64 | 16 epoch u64       |
 *   | 24 durable_number u64 | 32 size u32 | 36 kind u16 | 38 flags u16            |
 *   | 40 record_count u32 | 44 message_count u32 | 48 group u64 | 56 zero u64     |
 *   +-----------------------------------------------------------------------------+
 *   | record | record | …    each: size u32 (whole record), kind u8, flags u8, …  |
 *
 * A ROUTE record says everything that decides routing and decoding of the MESSAGE records after it
 * that name it by its index in this block; so a block needs nothing but itself to be decoded.
 *
 * Filled by one thread; immutable once sealed, then read by any. All sizes in a parsed block are
 * checked once, by block_parse; the views afterwards cannot fail on a parsed block.
 */
#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"
#include "journal/block_field.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BLOCK_MAGIC        0x314b4a49u /* "IJK1" */
#define BLOCK_HEADER_BYTES 64

enum block_kind {
    BLOCK_DATA = 1,       /* ROUTE, MESSAGE and the connectors' STATE and session records */
    BLOCK_CONTROL = 2,    /* LANDED, UPLOADED */
    BLOCK_CHECKPOINT = 3, /* at the beginning of a segment; several in a row with BLOCK_MORE */
    BLOCK_EMPTY = 4,      /* only calls those before it durable */
};

enum block_flags {
    BLOCK_MORE = 1, /* the group (or checkpoint) goes on in a later block */
};

enum record_kind {
    RECORD_ROUTE = 1,
    RECORD_MESSAGE = 2,
    RECORD_STATE = 3,         /* a connector's own state: source, key, value (empty: gone) */
    RECORD_SESSION = 4,       /* MQTT: source's session begins a new epoch: identities forgotten */
    RECORD_IDENTITY_FREE = 5, /* identities of messages in blocks <= N are free (PINGRESP) */
    RECORD_LANDED = 6,
    RECORD_UPLOADED = 7,
    RECORD_CHECKPOINT_FIRST = 16, /* kinds from here on are the checkpoint's own (ledger.h) */
};

enum message_flags {
    MESSAGE_IDENTITY = 1,    /* packet_identifier and identity_hash are meant */
    MESSAGE_DEAD_LETTER = 2, /* rejected by its connector; REASON and DETAIL among its fields */
    MESSAGE_QOS_2 = 4,       /* the identity is a QoS 2 one */
    MESSAGE_SESSION = 0x78,  /* which of its source's sessions the identity belongs to */
};

#define MESSAGE_SESSION_SHIFT 3
#define MESSAGE_SESSIONS_MAX  16 /* one for each connection of a source */

struct message_view {
    struct bytes payload;
    struct bytes extras; /* encoded fields; see message_field_next */
    int64_t arrival_us;  /* Unix time */
    uint64_t identity_hash;
    uint32_t route_index;
    uint16_t packet_identifier;
    uint8_t flags;
};

/* Per route of a block, kept in memory only: its messages are a chain, so a worker visits its own
 * datasets and nothing else. */
struct block_route {
    uint32_t offset; /* of the ROUTE record in the image */
    uint32_t message_first;
    uint32_t message_last;
    uint32_t message_count;
    uint64_t payload_bytes;
    uint64_t dataset_hash; /* hash_bytes(dataset_id) */
    /* The same for two routes: so are their records, and nobody needs to look at them. 0: not known
     * (a block that was read). Given by who adds the route, one of each record in the process. */
    uint64_t serial;
};

struct block_message {
    uint32_t offset;
    uint32_t next; /* of the same route; BLOCK_END at the end */
};

#define BLOCK_END            UINT32_MAX
#define BLOCK_PREFETCH_LINES 5 /* a usual message; the rest the processor finds by itself */

struct block {
    _Atomic uint32_t references;
    uint8_t *image; /* aligned to 4096 */
    size_t capacity_bytes;
    size_t size_bytes; /* used, header included; padded size: block_padded_bytes */
    uint64_t number;   /* 0 until sealed */
    uint32_t record_count;
    uint32_t message_count;
    uint32_t identity_count; /* messages with MESSAGE_IDENTITY */
    uint32_t message_capacity;
    uint32_t route_count;
    uint32_t route_capacity;
    struct block_message *messages;
    struct block_route *routes;
};

/* An empty block with room for about capacity_bytes; it grows up to LIMIT_BLOCK_BYTES. */
enum err block_new(size_t capacity_bytes, struct block **ret_block) ERR_MUST_USE;
struct block *block_ref(struct block *block);
void block_unref(struct block *block); /* NULL is fine */

/* Encodes a route once; the bytes can be added to many blocks. */
struct buf;
enum err route_encode(const struct route_view *route, struct buf *ret_record) ERR_MUST_USE;
enum err block_add_route(struct block *block, struct bytes encoded, uint64_t dataset_hash,
                         uint32_t *ret_index) ERR_MUST_USE;
/* message->extras is copied as it is (message_field_append makes it). On failure the block is as
 * before. */
enum err block_add_message(struct block *block, const struct message_view *message) ERR_MUST_USE;
/* Any other record: body is what follows the 6 bytes of size, kind and flags. */
enum err block_add_record(struct block *block, enum record_kind kind,
                          struct bytes body) ERR_MUST_USE;

/* Writes header, padding and checksum. May be called again (the same block written to another
 * segment under the same number). */
void block_seal(struct block *block, enum block_kind kind, uint16_t flags, uint64_t group,
                uint64_t number, uint64_t epoch, uint64_t durable_number);
static inline size_t block_padded_bytes(const struct block *block)
{
    return (block->size_bytes + LIMIT_BLOCK_ALIGN_BYTES - 1) &
           ~(size_t)(LIMIT_BLOCK_ALIGN_BYTES - 1);
}

/* The header of an image, unchecked but for its size. */
struct block_header {
    uint32_t magic, crc32c, size_bytes, record_count, message_count;
    uint64_t number, epoch, durable_number, group;
    uint16_t kind, flags;
};
void block_header_read(const uint8_t image[BLOCK_HEADER_BYTES], struct block_header *ret_header);

/* Checks header and CRC, not the records. image may be longer; *ret_header is set on error too. */
enum err block_check(struct bytes image, struct block_header *ret_header,
                     struct diag *diag) ERR_MUST_USE;

/* Checks everything (magic, sizes, CRC, every record's inner bounds) and builds the index. The
 * image is copied. ERR_CORRUPT says in diag what and at which offset. */
enum err block_parse(struct bytes image, struct block **ret_block, struct diag *diag) ERR_MUST_USE;

/* Views of a block that was filled here or parsed. */
void block_message_get(const struct block *block, uint32_t message_index,
                       struct message_view *ret_message);
/* The same of a message's record by itself: a copy of what block_message_record tells. */
void message_record_get(const uint8_t *record, struct message_view *ret_message);
/* The record as it stands in the image, so that a reader who needs it later can keep its bytes. */
static inline struct bytes block_message_record(const struct block *block, uint32_t message_index)
{
    const uint8_t *record = block->image + block->messages[message_index].offset;
    return bytes_from(record, load_u32(record));
}
static inline uint8_t message_record_flags(const uint8_t *record)
{
    return record[5]; /* behind size and kind */
}
/* The messages of a route stand far apart: asks for the bytes of the one at message_index, and for
 * the index entry of the one after it, so that they are there when the walk comes to them.
 * Returns the one after it.
 * Always inlined: gcc 12 takes a function that only prefetches for one without effect, and drops
 * the call. */
__attribute__((always_inline)) static inline uint32_t
block_message_prefetch(const struct block *block, uint32_t message_index)
{
    const struct block_message *message = &block->messages[message_index];
    const uint8_t *at = block->image + message->offset;
    for (int line = 0; line < BLOCK_PREFETCH_LINES; line++)
        __builtin_prefetch(at + line * 64);
    if (message->next != BLOCK_END)
        __builtin_prefetch(&block->messages[message->next]);
    return message->next;
}
void block_route_get(const struct block *block, uint32_t route_index, struct route_view *ret_route);
/* Only whose it is, which is all that most need to know of a route, and much cheaper. */
void block_route_ids(const struct block *block, uint32_t route_index, struct bytes *ret_source_id,
                     struct bytes *ret_dataset_id);

/* Walks all records; *cursor starts at 0. False at the end. */
struct record_view {
    enum record_kind kind;
    uint8_t flags;
    struct bytes body;
};
bool block_record_next(const struct block *block, size_t *cursor, struct record_view *ret_record);
