#pragma once
/*
 * The bodies of the records that block.h names but does not look into: a connector's state, MQTT
 * sessions and identities, LANDED and UPLOADED. Encoders append the body for block_add_record;
 * decoders give views of it and refuse anything that does not fit (ERR_CORRUPT).
 *
 * Pure; any thread. Sizes: ids are at most 64 KiB, a body at most what a block holds.
 *
 *   STATE          source text16 | key text16 | value_size u32 | value     (empty value: gone)
 *   SESSION        source text16
 *   IDENTITY_FREE  source text16 | through u64 | packet_identifier u32
 *                  (UINT32_MAX: all of QoS 1 in blocks <= through; else this one, PUBREL came)
 *   LANDED         see record.c
 *   UPLOADED       cut_id u64
 */
#include "base/buf.h"
#include "journal/journal.h"

enum err record_state_encode(struct buf *body, struct bytes source_id, struct bytes key,
                             struct bytes value) ERR_MUST_USE;
enum err record_session_encode(struct buf *body, struct bytes source_id) ERR_MUST_USE;
/* A PINGRESP: the QoS 1 identities of messages in blocks <= through_block are free. */
enum err record_identities_free_encode(struct buf *body, struct bytes source_id,
                                       uint64_t through_block) ERR_MUST_USE;
/* A PUBREL: this identifier leaves the received set. */
enum err record_identity_release_encode(struct buf *body, struct bytes source_id,
                                        uint16_t packet_identifier) ERR_MUST_USE;
enum err record_landed_encode(struct buf *body, const struct landed *landed) ERR_MUST_USE;
enum err record_uploaded_encode(struct buf *body, uint64_t cut_id) ERR_MUST_USE;

/* The source's name that identities of one of its sessions are kept under: the source itself, or
 * for all but the first of several connections "source NUL session". key is the room for it; very
 * long ids stay as they are. */
#define RECORD_SESSION_KEY_BYTES 512
struct bytes record_session_key(struct bytes source_id, uint8_t session,
                                uint8_t key[RECORD_SESSION_KEY_BYTES]);

struct record_state {
    struct bytes source_id, key, value;
};
struct record_identity_free {
    struct bytes source_id;
    uint64_t through_block;
    bool one; /* only packet_identifier */
    uint16_t packet_identifier;
};
enum err record_state_decode(struct bytes body, struct record_state *ret_state) ERR_MUST_USE;
enum err record_session_decode(struct bytes body, struct bytes *ret_source_id) ERR_MUST_USE;
enum err record_identity_free_decode(struct bytes body,
                                     struct record_identity_free *ret_free) ERR_MUST_USE;
/* Views point into body, but ret_landed->files is allocated: mem_free it (never NULL on success
 * unless there are no files). */
enum err record_landed_decode(struct bytes body, struct landed *ret_landed,
                              struct landed_file **ret_files) ERR_MUST_USE;
enum err record_uploaded_decode(struct bytes body, uint64_t *ret_cut_id) ERR_MUST_USE;

/* A cursor over bytes from outside. What does not fit reads as zero or empty and sets bad. */
struct record_reader {
    const uint8_t *at;
    size_t left;
    bool bad;
};
struct record_reader record_reader_of(struct bytes body);
uint8_t record_u8(struct record_reader *reader);
uint16_t record_u16(struct record_reader *reader);
uint32_t record_u32(struct record_reader *reader);
uint64_t record_u64(struct record_reader *reader);
struct bytes record_bytes(struct record_reader *reader, size_t size);
struct bytes record_text16(struct record_reader *reader);
struct bytes record_text32(struct record_reader *reader);
bool record_end(const struct record_reader *reader); /* all read, nothing bad */

void record_append_text16(struct buf *body, struct bytes text);
void record_append_text32(struct buf *body, struct bytes text);
