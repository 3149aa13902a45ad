#include "database/postgres_link.h"

#include "base/limits.h"
#include "os/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#define RETRY_AFTER_NS NS_PER_S
#define SQLSTATE_SIZE  5

/* What the session must be like. Servers that do not know a setting are not bothered with it. The
 * keep-alives let the server see within about 8 s that we are gone, and free what we have locked.
 */
static const char session_sql[] =
    "SELECT set_config(s.name, v.value, false) FROM pg_catalog.pg_settings s JOIN (VALUES "
    "('timezone', 'UTC'), ('datestyle', 'ISO, YMD'), ('bytea_output', 'hex'), "
    "('extra_float_digits', '3'), ('statement_timeout', '5000'), ('lock_timeout', '4500'), "
    "('idle_in_transaction_session_timeout', '10000'), ('idle_session_timeout', '0'), "
    "('tcp_keepalives_idle', '2'), ('tcp_keepalives_interval', '2'), "
    "('tcp_keepalives_count', '3'), ('tcp_user_timeout', '8000')) "
    "v(name, value) ON lower(s.name) = v.name";

_Static_assert(DATABASE_BUSY_TIMEOUT_MS == 5000, "statement_timeout is written out above");

struct class_of_state {
    char prefix[SQLSTATE_SIZE + 1];
    enum err err;
};

/* The first that fits. Appendix A of PostgreSQL's manual. */
static const struct class_of_state states[] = {
    {"22001", ERR_TOO_LARGE},
    {"23", ERR_CONFLICT},
    {"25006", ERR_READ_ONLY},
    {"40", ERR_BUSY},
    {"42501", ERR_PERMISSION},
    {"28", ERR_PERMISSION},
    {"53100", ERR_NO_SPACE},
    {"53200", ERR_NO_MEMORY},
    {"53", ERR_BUSY},
    {"54", ERR_TOO_LARGE},
    {"55", ERR_BUSY},
    {"57014", ERR_BUSY},
    {"57", ERR_IO},
    {"58", ERR_IO},
    {"08", ERR_IO},
    {"XX001", ERR_CORRUPT},
    {"XX002", ERR_CORRUPT},
};

static enum err err_from_state(const char *state)
{
    for (size_t i = 0; state && i < sizeof(states) / sizeof(states[0]); i++)
        if (strncmp(state, states[i].prefix, strlen(states[i].prefix)) == 0)
            return states[i].err;
    return ERR_INVALID;
}

/* One line. libpq puts no password into its messages, and postgres_url_check sees to it that none
 * stands where it would. */
static void tell(char *ret_text, size_t size, const char *message)
{
    size_t used = 0;
    for (const char *at = message; *at && used + 1 < size; at++) {
        bool is_space = (unsigned char)*at <= ' ';
        if (!is_space || (used > 0 && ret_text[used - 1] != ' '))
            ret_text[used++] = is_space ? ' ' : *at;
    }
    while (used > 0 && ret_text[used - 1] == ' ')
        used--;
    ret_text[used] = 0;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

static enum err say(struct postgres_link *link, enum err err, const char *message,
                    struct diag *diag)
{
    char text[256];
    PGconn *connection = link->connection;
    tell(text, sizeof(text), or_empty(message));
    return diag_set(diag, err, "the PostgreSQL database %.64s at %.128s:%.16s: %s",
                    or_empty(connection ? PQdb(connection) : NULL),
                    or_empty(connection ? PQhost(connection) : NULL),
                    or_empty(connection ? PQport(connection) : NULL),
                    text[0] ? text : "the connection was lost");
}

static void drop(struct postgres_link *link)
{
    PQfinish(link->connection);
    link->connection = NULL;
    link->is_doomed = false;
}

enum err postgres_link_lost(struct postgres_link *link, struct diag *diag)
{
    const char *message = link->connection ? PQerrorMessage(link->connection) : NULL;
    enum err err = say(link, ERR_IO, message, diag);
    drop(link);
    return err;
}

/* Without a statement under way a server that shuts down says so as a notice. */
static void on_notice(void *ctx, const PGresult *result)
{
    struct postgres_link *link = ctx;
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state && (strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0))
        link->is_doomed = true;
}

void postgres_link_init(struct postgres_link *link, const char *url)
{
    *link = (struct postgres_link){.url = url};
}

void postgres_link_close(struct postgres_link *link)
{
    drop(link);
}

/* Milliseconds until then, at least 0. */
static int left_ms(int64_t deadline_ns)
{
    int64_t left_ns = deadline_ns - clock_monotonic_ns(&clock_system);
    return left_ns <= 0 ? 0 : (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS);
}

static int64_t deadline_of_answer(void)
{
    return clock_monotonic_ns(&clock_system) + POSTGRES_ANSWER_MS * NS_PER_MS;
}

/* False: the time is over. */
static bool wait_for(struct postgres_link *link, short events, int64_t deadline_ns)
{
    for (;;) {
        struct pollfd poll_fd = {.fd = PQsocket(link->connection), .events = events};
        int timeout_ms = left_ms(deadline_ns);
        int ready = poll(&poll_fd, 1, timeout_ms);
        if (ready > 0)
            return true;
        if (ready == 0 && timeout_ms == 0)
            return false;
        if (ready < 0 && errno != EINTR)
            return true; /* libpq will find out what is wrong */
    }
}

static enum err too_slow(struct postgres_link *link, struct diag *diag)
{
    enum err err = say(link, ERR_IO, "no answer within 6 s", diag);
    drop(link);
    return err;
}

static enum err flush(struct postgres_link *link, int64_t deadline_ns, struct diag *diag)
{
    int rest;
    while ((rest = PQflush(link->connection)) > 0) {
        if (!wait_for(link, POLLIN | POLLOUT, deadline_ns))
            return too_slow(link, diag);
        if (!PQconsumeInput(link->connection))
            return postgres_link_lost(link, diag);
    }
    return rest < 0 ? postgres_link_lost(link, diag) : ERR_OK;
}

/* NULL in *ret_result: that was the last one. */
static enum err next_result(struct postgres_link *link, int64_t deadline_ns, PGresult **ret_result,
                            struct diag *diag)
{
    while (PQisBusy(link->connection)) {
        if (!wait_for(link, POLLIN, deadline_ns))
            return too_slow(link, diag);
        if (!PQconsumeInput(link->connection) && PQstatus(link->connection) != CONNECTION_OK &&
            PQisBusy(link->connection))
            return postgres_link_lost(link, diag);
    }
    *ret_result = PQgetResult(link->connection);
    return ERR_OK;
}

/* The server's own words without its details: those quote data. */
static enum err err_of_result(struct postgres_link *link, const PGresult *result, struct diag *diag)
{
    switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE:
        return ERR_OK;
    case PGRES_EMPTY_QUERY:
        return diag_set(diag, ERR_INVALID, "an empty SQL statement");
    case PGRES_FATAL_ERROR:
        break;
    default: /* COPY and the like, which nobody here begins; it would go on for ever */
        drop(link);
        return diag_set(diag, ERR_INVALID, "a kind of SQL statement that is not for here");
    }
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (!state) /* libpq's own: the connection broke */
        return say(link, ERR_IO, PQresultErrorMessage(result), diag);
    return say(link, err_from_state(state), PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY),
               diag);
}

enum err postgres_link_finish(struct postgres_link *link, postgres_on_result on_result, void *ctx,
                              struct diag *diag)
{
    int64_t deadline_ns = deadline_of_answer();
    enum err first = flush(link, deadline_ns, diag); /* without success there is no connection */
    while (link->connection) {
        PGresult *result = NULL;
        enum err err = next_result(link, deadline_ns, &result, diag);
        if (err)
            return first ? first : err;
        if (!result)
            break;
        err = err_of_result(link, result, diag);
        if (!err && !first && on_result)
            err = on_result(ctx, result);
        PQclear(result);
        first = first ? first : err;
    }
    if (link->connection && PQstatus(link->connection) != CONNECTION_OK)
        drop(link);
    return first;
}

enum err postgres_link_exec(struct postgres_link *link, const char *sql, struct diag *diag)
{
    if (!PQsendQuery(link->connection, sql))
        return postgres_link_lost(link, diag);
    return postgres_link_finish(link, NULL, NULL, diag);
}

/* Reads what the server has sent unasked: that it is going away, or its end. */
static bool is_alive(struct postgres_link *link)
{
    if (!link->connection || PQstatus(link->connection) != CONNECTION_OK)
        return false;
    for (int i = 0; i < 16; i++) {
        struct pollfd poll_fd = {.fd = PQsocket(link->connection), .events = POLLIN};
        if (poll(&poll_fd, 1, 0) <= 0)
            break;
        if (!PQconsumeInput(link->connection))
            return false;
        (void)PQisBusy(link->connection); /* so that it looks at what it has read */
    }
    return !link->is_doomed && PQstatus(link->connection) == CONNECTION_OK &&
           PQtransactionStatus(link->connection) == PQTRANS_IDLE;
}

static enum err connect_now(struct postgres_link *link, struct diag *diag)
{
    /* What stands later goes before: the URL's own wishes, then ours that must be. */
    const char *const names[] = {"connect_timeout", "fallback_application_name", "tcp_user_timeout",
                                 "keepalives_idle", "keepalives_interval",       "keepalives_count",
                                 "dbname",          "client_encoding",           NULL};
    const char *const values[] = {"3", "ingestor", "8000", "2", "2", "3", link->url, "UTF8", NULL};
    drop(link);
    link->connection = PQconnectdbParams(names, values, 1);
    if (!link->connection)
        return ERR_NO_MEMORY;
    if (PQstatus(link->connection) != CONNECTION_OK)
        return postgres_link_lost(link, diag);
    (void)PQsetNoticeReceiver(link->connection, on_notice, link);
    if (PQsetnonblocking(link->connection, 1) != 0)
        return postgres_link_lost(link, diag);
    return postgres_link_exec(link, session_sql, diag);
}

enum err postgres_link_ensure(struct postgres_link *link, struct diag *diag)
{
    struct diag reason = {0};
    if (is_alive(link))
        return ERR_OK;
    if (clock_monotonic_ns(&clock_system) < link->retry_ns)
        return diag_set(diag, ERR_IO, "%s", link->reason);
    enum err err = connect_now(link, &reason);
    if (!err) {
        link->generation++;
        return ERR_OK;
    }
    drop(link);
    link->retry_ns = clock_monotonic_ns(&clock_system) + RETRY_AFTER_NS;
    (void)snprintf(link->reason, sizeof(link->reason), "%.255s",
                   reason.text[0] ? reason.text : err_text(err));
    return diag_set(diag, err == ERR_NO_MEMORY ? err : ERR_IO, "%s", link->reason);
}
