#include "database/dialect.h"

/* No AUTOINCREMENT: the Python service's tables have none. */
const struct dialect dialect_sqlite = {
    .id = "INTEGER NOT NULL PRIMARY KEY",
    .count = "INTEGER",
    .number = "FLOAT",
    .date = "DATETIME",
    .boolean = "BOOLEAN",
    .json = "JSON",
};

const struct dialect dialect_postgres = {
    .id = "SERIAL NOT NULL PRIMARY KEY",
    .count = "BIGINT",
    .number = "DOUBLE PRECISION",
    .date = "TIMESTAMP WITHOUT TIME ZONE",
    .boolean = "BOOLEAN",
    .json = "JSON",
};

static const char *replacement(const struct dialect *dialect, struct bytes word)
{
    const struct {
        const char *word;
        const char *text;
    } words[] = {
        {"{ID}", dialect->id},     {"{COUNT}", dialect->count},     {"{NUMBER}", dialect->number},
        {"{DATE}", dialect->date}, {"{BOOLEAN}", dialect->boolean}, {"{JSON}", dialect->json},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (bytes_equal_text(word, words[i].word))
            return words[i].text;
    return NULL;
}

enum err dialect_expand(const struct dialect *dialect, const char *sql, struct buf *out)
{
    while (*sql) {
        size_t plain = strcspn(sql, "{");
        buf_append(out, sql, plain);
        sql += plain;
        if (!*sql)
            break;
        size_t size = strcspn(sql, "}");
        const char *text = sql[size] ? replacement(dialect, bytes_from(sql, size + 1)) : NULL;
        if (!text)
            return ERR_BUG;
        buf_text(out, text);
        sql += size + 1;
    }
    return out->err;
}
