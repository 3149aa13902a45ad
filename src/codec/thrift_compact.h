#pragma once
/*
 * Thrift's compact protocol, as much of it as Parquet's footers need: a writer that appends to a
 * buffer, and a reader that believes nothing. Pure; one thread at a time.
 *
 * Writer: errors stick in the buffer (buf->err), so check it once at the end. Fields are written in
 * rising order of id; structs nest at most THRIFT_DEPTH_MAX deep (ours: asserted).
 *
 * Reader: the first failure sticks (reader->err), puts the position at the end, and all later reads
 * give zeros; loops that ask thrift_next_field or a list's count therefore end. Bounds: depth, list
 * counts (no more elements than bytes are left), sizes (within the input).
 */
#include "base/buf.h"

#define THRIFT_DEPTH_MAX 16

enum thrift_type {
    THRIFT_STOP = 0,
    THRIFT_TRUE = 1, /* also the type of a list of booleans */
    THRIFT_FALSE = 2,
    THRIFT_BYTE = 3,
    THRIFT_I16 = 4,
    THRIFT_I32 = 5,
    THRIFT_I64 = 6,
    THRIFT_DOUBLE = 7,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_SET = 10,
    THRIFT_MAP = 11,
    THRIFT_STRUCT = 12,
};

struct thrift_writer {
    struct buf *out;
    int depth;
    int last_id[THRIFT_DEPTH_MAX];
};

void thrift_writer_init(struct thrift_writer *writer, struct buf *out);
/* The outermost struct, or a list's element that is one; thrift_end ends each. */
void thrift_begin(struct thrift_writer *writer);
void thrift_begin_field(struct thrift_writer *writer, int id);
void thrift_end(struct thrift_writer *writer);
void thrift_put_int(struct thrift_writer *writer, int id, enum thrift_type type, int64_t value);
void thrift_put_bool(struct thrift_writer *writer, int id, bool value);
void thrift_put_binary(struct thrift_writer *writer, int id, struct bytes value);
/* A field whose struct is encoded already (from thrift_begin to thrift_end). */
void thrift_put_encoded(struct thrift_writer *writer, int id, struct bytes encoded_struct);
void thrift_put_list(struct thrift_writer *writer, int id, enum thrift_type type, size_t count);
/* Elements of a list. */
void thrift_element_int(struct thrift_writer *writer, int64_t value);
void thrift_element_bool(struct thrift_writer *writer, bool value);
void thrift_element_binary(struct thrift_writer *writer, struct bytes value);

struct thrift_reader {
    const uint8_t *at;
    const uint8_t *end;
    int depth;
    int last_id[THRIFT_DEPTH_MAX];
    enum err err;
};

void thrift_reader_init(struct thrift_reader *reader, struct bytes input);
void thrift_enter(
    struct thrift_reader *reader); /* a struct; ends when thrift_next_field is false */
bool thrift_next_field(struct thrift_reader *reader, int *ret_id, enum thrift_type *ret_type);
/* Each takes the field's type and fails when it is another. */
int64_t thrift_get_int(struct thrift_reader *reader, enum thrift_type type);
bool thrift_get_bool(struct thrift_reader *reader, enum thrift_type type);
struct bytes thrift_get_binary(struct thrift_reader *reader, enum thrift_type type);
/* The number of elements, whose type must be the one given. */
size_t thrift_get_list(struct thrift_reader *reader, enum thrift_type type,
                       enum thrift_type element_type);
bool thrift_element_get_bool(struct thrift_reader *reader);
void thrift_skip(struct thrift_reader *reader, enum thrift_type type);
void thrift_fail(struct thrift_reader *reader, enum err err);
