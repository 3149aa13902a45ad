#pragma once
/*
 * Events to JSON text: what the readers of other formats (CBOR, MessagePack, CSV, SenML) feed, so
 * that their payloads reach the columns by the one decoder there is. Writes the device dialect
 * (codec/json.h: NaN and the infinities are numbers) without white space. Pure; lives for one
 * payload; nothing recurses.
 *
 * An object's events alternate between a key and a value; where a key is due any scalar may come
 * and becomes its text, and a container becomes its JSON text (one inside another key is
 * ERR_TOO_DEEP: each level would double the escapes). Failures are sticky in writer->out->err;
 * containers deeper than LIMIT_JSON_DEPTH are ERR_TOO_DEEP.
 */
#include "base/buf.h"
#include "base/limits.h"

struct json_writer_frame {
    size_t key_begin; /* the container is a key: where its text begins */
    bool object;
    bool started;  /* something stands in it */
    bool is_value; /* object: the value of a key is due */
    bool is_key;
};

struct json_writer {
    struct buf *out;
    uint32_t depth;
    bool in_key;
    struct json_writer_frame frames[LIMIT_JSON_DEPTH];
};

void json_writer_init(struct json_writer *writer, struct buf *out);

enum err json_writer_begin(struct json_writer *writer, bool object) ERR_MUST_USE;
enum err json_writer_end(struct json_writer *writer) ERR_MUST_USE;
/* UTF-8, checked by the caller. */
enum err json_writer_text(struct json_writer *writer, struct bytes text);
/* Not finite: NaN, Infinity, -Infinity. Others keep a fraction or exponent, and their value. */
enum err json_writer_double(struct json_writer *writer, double number);
/* magnitude, or -1 - magnitude. */
enum err json_writer_integer(struct json_writer *writer, bool negative, uint64_t magnitude);
/* A scalar's JSON text: a number, true, false, null, or a string with its quotes. */
enum err json_writer_raw(struct json_writer *writer, struct bytes json);

/* Appends a finite double's shortest text that reads back as it; always with '.' or 'e', for a
 * literal without either is an integer that 2^53 bounds. */
enum err json_double_append(struct buf *out, double number);
