#pragma once
/*
 * One connection to a PostgreSQL server, with an end to every wait: about 3 s for each address
 * tried while connecting (a connect_timeout in the URL goes before), POSTGRES_ANSWER_MS for a
 * statement. A connection on which a wait ended early is closed: nobody knows what it is doing.
 *
 * One thread at a time. Reasons never hold the password. ERR_IO: no connection, or it was lost.
 */
#include "database/database.h"

#include <libpq-fe.h>

/* The server gives up after DATABASE_BUSY_TIMEOUT_MS by itself, and then says why. */
#define POSTGRES_ANSWER_MS (DATABASE_BUSY_TIMEOUT_MS + 1000)

struct postgres_link {
    const char *url;     /* borrowed */
    PGconn *connection;  /* NULL: none */
    bool is_doomed;      /* the server has said that it will close it */
    int64_t retry_ns;    /* not before this: everybody waiting would wait in vain */
    char reason[256];    /* why the last attempt failed */
    uint64_t generation; /* one more with every new connection */
};

void postgres_link_init(struct postgres_link *link, const char *url);
void postgres_link_close(struct postgres_link *link);

/* A connection that is alive as far as can be seen without asking: the one there is, or a new one.
 */
enum err postgres_link_ensure(struct postgres_link *link, struct diag *diag) ERR_MUST_USE;

/* Statements without parameters; rows are dropped. */
enum err postgres_link_exec(struct postgres_link *link, const char *sql,
                            struct diag *diag) ERR_MUST_USE;
/* After a successful PQsend…: takes all results to the end. on_result may be NULL; what it returns
 * first is returned at the end, as is what the server says. */
typedef enum err (*postgres_on_result)(void *ctx, PGresult *result);
enum err postgres_link_finish(struct postgres_link *link, postgres_on_result on_result, void *ctx,
                              struct diag *diag) ERR_MUST_USE;
/* diag: that the database cannot do what it should, for the connection's reason. ERR_IO. */
enum err postgres_link_lost(struct postgres_link *link, struct diag *diag) ERR_MUST_USE;
