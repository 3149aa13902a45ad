#pragma once
/*
 * A real PostgreSQL server of a test's own: in a temporary folder, on a unix socket in it, as an
 * unprivileged user when the test runs as root, gone with the test. Trusts everybody but the user
 * "walled", whose password is "pass word@1". One thread.
 */
#include <stdbool.h>
#include <sys/types.h>

struct postgres_server {
    char folder[128];
    char programs[256]; /* the folder of initdb and postgres */
    char url[256];      /* postgresql://ingestor@/postgres?host=… */
    pid_t pid;          /* 0: not running */
};

/* False: it cannot be had here, *ret_reason (static) says why. Aborts when it is there but does not
 * come up. */
bool postgres_server_start(struct postgres_server *server, const char **ret_reason);
/* With its folder. Fine when it never started. */
void postgres_server_stop(struct postgres_server *server);

/* All connections break at once, nothing is told to anybody. */
void postgres_server_crash(struct postgres_server *server);
/* Clean, but without waiting for the clients. */
void postgres_server_shut_down(struct postgres_server *server);
void postgres_server_start_again(struct postgres_server *server);
/* One statement over a connection of its own; aborts when it fails. Returns the first value as a
 * number. */
long postgres_server_ask(const struct postgres_server *server, const char *sql);
