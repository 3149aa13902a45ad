#include "database/postgres_value.h"

#include "base/alloc.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* src/include/catalog/pg_type.dat; they never change. */
enum type {
    TYPE_UNKNOWN = 0, /* the server finds out from where the parameter stands */
    TYPE_BOOL = 16,
    TYPE_BYTEA = 17,
    TYPE_INT8 = 20,
    TYPE_INT2 = 21,
    TYPE_INT4 = 23,
    TYPE_OID = 26,
    TYPE_FLOAT4 = 700,
    TYPE_FLOAT8 = 701,
    TYPE_TIMESTAMPTZ = 1184,
    TYPE_NUMERIC = 1700,
};

#define NUMBER_BYTES 32

static size_t text_bytes(const struct database_value *value)
{
    switch (value->kind) {
    case DATABASE_INTEGER:
    case DATABASE_NUMBER:
        return NUMBER_BYTES;
    case DATABASE_TEXT:
        return value->bytes.size + 1;
    case DATABASE_BLOB:
    case DATABASE_NULL:
    default:
        return 0;
    }
}

/* A double says its type: it may stand where the Python service's table has an INTEGER. */
static size_t put(struct postgres_parameters *parameters, size_t index, char *text,
                  const struct database_value *value)
{
    size_t size = text_bytes(value);
    parameters->values[index] = text;
    switch (value->kind) {
    case DATABASE_INTEGER:
        (void)snprintf(text, size, "%lld", (long long)value->integer);
        break;
    case DATABASE_NUMBER:
        (void)snprintf(text, size, "%.17g", value->number);
        parameters->types[index] = TYPE_FLOAT8;
        break;
    case DATABASE_TEXT:
        if (value->bytes.size)
            memcpy(text, value->bytes.data, value->bytes.size);
        text[value->bytes.size] = 0;
        break;
    case DATABASE_BLOB:
        parameters->values[index] = value->bytes.data ? (const char *)value->bytes.data : "";
        parameters->sizes[index] = (int)value->bytes.size;
        parameters->formats[index] = 1;
        parameters->types[index] = TYPE_BYTEA;
        break;
    case DATABASE_NULL:
    default:
        parameters->values[index] = NULL;
        break;
    }
    return size;
}

enum err postgres_parameters_init(struct postgres_parameters *parameters,
                                  const struct database_value *values, size_t count,
                                  struct diag *diag)
{
    size_t size = 1;
    *parameters = (struct postgres_parameters){.texts = NULL};
    for (size_t i = 0; i < count; i++) {
        if (values[i].bytes.size > INT_MAX / 2)
            return diag_set(diag, ERR_TOO_LARGE, "a value of %zu bytes", values[i].bytes.size);
        if (values[i].kind == DATABASE_TEXT && values[i].bytes.size &&
            memchr(values[i].bytes.data, 0, values[i].bytes.size))
            return diag_set(diag, ERR_INVALID, "PostgreSQL stores no text with a NUL in it");
        size += text_bytes(&values[i]);
    }
    parameters->texts = mem_alloc(size);
    if (!parameters->texts)
        return ERR_NO_MEMORY;
    char *text = parameters->texts;
    for (size_t i = 0; i < count; i++)
        text += put(parameters, i, text, &values[i]);
    return ERR_OK;
}

void postgres_parameters_fini(struct postgres_parameters *parameters)
{
    mem_free(parameters->texts);
}

static unsigned nibble(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10) & 0xf;
}

/* "\x0aff", in its own place. */
static struct database_value blob_of(char *text, size_t size)
{
    size_t count = size >= 2 ? (size - 2) / 2 : 0;
    for (size_t i = 0; i < count; i++)
        text[i] = (char)(nibble(text[2 + 2 * i]) << 4 | nibble(text[3 + 2 * i]));
    return database_blob(bytes_from(text, count));
}

static struct database_value numeric_of(const char *text)
{
    char *end;
    errno = 0;
    long long integer = strtoll(text, &end, 10);
    if (*end == 0 && end != text && errno == 0)
        return database_integer(integer);
    return database_number(strtod(text, NULL));
}

/* The session's zone is UTC. */
static struct database_value without_zone(char *text, size_t size)
{
    if (size > 3 && strcmp(text + size - 3, "+00") == 0) {
        size -= 3;
        text[size] = 0;
    }
    return database_text(bytes_from(text, size));
}

struct database_value postgres_value(PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return database_null();
    char *text = PQgetvalue(result, row, column);
    size_t size = (size_t)PQgetlength(result, row, column);
    switch ((enum type)PQftype(result, column)) {
    case TYPE_BOOL:
        return database_integer(text[0] == 't');
    case TYPE_INT2:
    case TYPE_INT4:
    case TYPE_INT8:
    case TYPE_OID:
        return database_integer(strtoll(text, NULL, 10));
    case TYPE_FLOAT4:
    case TYPE_FLOAT8:
        return database_number(strtod(text, NULL));
    case TYPE_NUMERIC:
        return numeric_of(text);
    case TYPE_BYTEA:
        return blob_of(text, size);
    case TYPE_TIMESTAMPTZ:
        return without_zone(text, size);
    case TYPE_UNKNOWN:
    default:
        return database_text(bytes_from(text, size));
    }
}
