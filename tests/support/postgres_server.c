#include "support/postgres_server.h"

#include "support/temp_folder.h"

#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_TRIES 600 /* of 100 ms */

static _Noreturn void give_up(const struct postgres_server *server, const char *doing)
{
    char command[256];
    (void)snprintf(command, sizeof(command), "cat '%s/log' >&2", server->folder);
    (void)fprintf(stderr, "postgres_server: cannot %s\n", doing);
    (void)!system(command); /* NOLINT */
    abort();
}

static bool find_programs(struct postgres_server *server)
{
    glob_t found;
    bool is_there = false;
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) == 0) {
        const char *path = found.gl_pathv[found.gl_pathc - 1];
        size_t size = strlen(path) - strlen("/initdb");
        is_there = size < sizeof(server->programs);
        if (is_there)
            (void)snprintf(server->programs, sizeof(server->programs), "%.*s", (int)size, path);
    }
    globfree(&found);
    return is_there;
}

/* PostgreSQL refuses to run as root. */
static void become_unprivileged(const struct postgres_server *server)
{
    const struct passwd *user = getuid() == 0 ? getpwnam("nobody") : NULL;
    if (user && (setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    (void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
    char log[160];
    (void)snprintf(log, sizeof(log), "%s/log", server->folder);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0 || chdir(server->folder) != 0)
        _exit(126);
}

static pid_t spawn(const struct postgres_server *server, const char *program,
                   const char *const *arguments)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "%s/%s", server->programs, program);
    pid_t pid = fork();
    if (pid < 0)
        give_up(server, "fork");
    if (pid == 0) {
        become_unprivileged(server);
        (void)execv(path, (char *const *)(void *)(size_t)arguments);
        _exit(127);
    }
    return pid;
}

static void wait_end(struct postgres_server *server, pid_t pid, bool must_succeed)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || (must_succeed && status != 0))
        give_up(server, "run it");
}

static void write_rules(const struct postgres_server *server)
{
    char path[160];
    (void)snprintf(path, sizeof(path), "%s/data/pg_hba.conf", server->folder);
    FILE *file = fopen(path, "we");
    if (!file || fputs("local all walled scram-sha-256\nlocal all all trust\n", file) < 0 ||
        fclose(file) != 0)
        give_up(server, "write pg_hba.conf");
}

static void make_cluster(struct postgres_server *server)
{
    char data[160];
    (void)snprintf(data, sizeof(data), "%s/data", server->folder);
    const char *const arguments[] = {"initdb",   "-D", data,   "-A",         "trust",     "-U",
                                     "ingestor", "-E", "UTF8", "--locale=C", "--no-sync", NULL};
    wait_end(server, spawn(server, "initdb", arguments), true);
    write_rules(server);
}

void postgres_server_start_again(struct postgres_server *server)
{
    char data[160];
    char sockets[160];
    (void)snprintf(data, sizeof(data), "%s/data", server->folder);
    (void)snprintf(sockets, sizeof(sockets), "unix_socket_directories=%s", server->folder);
    const char *const arguments[] = {"postgres",
                                     "-D",
                                     data,
                                     "-c",
                                     sockets,
                                     "-c",
                                     "listen_addresses=",
                                     "-c",
                                     "fsync=off",
                                     "-c",
                                     "shared_buffers=16MB",
                                     "-c",
                                     "max_connections=40",
                                     NULL};
    server->pid = spawn(server, "postgres", arguments);
    for (int i = 0; i < PATIENCE_TRIES; i++) {
        if (PQping(server->url) == PQPING_OK)
            return;
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) /* the one before still ends */
            server->pid = spawn(server, "postgres", arguments);
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    give_up(server, "reach it");
}

static void ignore_notice(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

long postgres_server_ask(const struct postgres_server *server, const char *sql)
{
    PGconn *connection = PQconnectdb(server->url);
    (void)PQsetNoticeProcessor(connection, ignore_notice, NULL);
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        (void)fprintf(stderr, "%s: %s\n", sql, PQerrorMessage(connection));
        give_up(server, "execute that");
    }
    long answer = PQntuples(result) > 0 ? strtol(PQgetvalue(result, 0, 0), NULL, 10) : 0;
    PQclear(result);
    PQfinish(connection);
    return answer;
}

bool postgres_server_start(struct postgres_server *server, const char **ret_reason)
{
    *server = (struct postgres_server){.pid = 0};
    if (!find_programs(server)) {
        *ret_reason = "there is no PostgreSQL in /usr/lib/postgresql";
        return false;
    }
    const struct passwd *user = getuid() == 0 ? getpwnam("nobody") : NULL;
    temp_folder_make(server->folder, sizeof(server->folder));
    if (user && chown(server->folder, user->pw_uid, user->pw_gid) != 0)
        give_up(server, "give its folder away");
    (void)snprintf(server->url, sizeof(server->url), "postgresql://ingestor@/postgres?host=%s",
                   server->folder);
    make_cluster(server);
    postgres_server_start_again(server);
    (void)postgres_server_ask(server, "CREATE USER walled PASSWORD 'pass word@1'");
    return true;
}

static void end(struct postgres_server *server, int signal_number)
{
    if (server->pid == 0)
        return;
    (void)kill(server->pid, signal_number);
    wait_end(server, server->pid, false);
    server->pid = 0;
}

void postgres_server_crash(struct postgres_server *server)
{
    end(server, SIGQUIT);
}

void postgres_server_shut_down(struct postgres_server *server)
{
    end(server, SIGINT);
}

void postgres_server_stop(struct postgres_server *server)
{
    end(server, SIGQUIT);
    if (server->folder[0])
        temp_folder_remove(server->folder);
    server->folder[0] = 0;
}
