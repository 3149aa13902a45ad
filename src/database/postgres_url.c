#include "database/postgres_url.h"

#include <libpq-fe.h>
#include <string.h>

#define FORM "postgresql://user:password@host:port/database"

bool postgres_url_is(const char *url)
{
    return strncmp(url, "postgresql://", 13) == 0 || strncmp(url, "postgres://", 11) == 0;
}

static bool is_port_list(const char *text)
{
    return strspn(text, "0123456789,") == strlen(text);
}

static bool is_sound(const PQconninfoOption *option)
{
    static const char *const names[] = {"host", "hostaddr", "dbname"};
    if (!option->val)
        return true;
    if (strcmp(option->keyword, "port") == 0)
        return is_port_list(option->val);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(option->keyword, names[i]) == 0)
            return !strchr(option->val, '@');
    return true;
}

enum err postgres_url_check(const char *url, struct diag *diag)
{
    char *message = NULL;
    bool sound = true;
    PQconninfoOption *options = PQconninfoParse(url, &message);
    PQfreemem(message); /* it quotes the URL */
    if (!options)
        return diag_set(diag, ERR_INVALID,
                        "the PostgreSQL URL is not of the form " FORM
                        ", or has an option that libpq does not know");
    for (const PQconninfoOption *option = options; option->keyword; option++)
        sound = sound && is_sound(option);
    PQconninfoFree(options);
    if (sound)
        return ERR_OK;
    return diag_set(diag, ERR_INVALID,
                    "the PostgreSQL URL is not of the form " FORM
                    "; in the password, write @ as %%40, / as %%2F, : as %%3A");
}

static const char *option_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword; options++)
        if (strcmp(options->keyword, keyword) == 0)
            return options->val;
    return NULL;
}

static bool stands_before_query(const char *keyword, bool has_socket)
{
    return strcmp(keyword, "user") == 0 || strcmp(keyword, "password") == 0 ||
           strcmp(keyword, "port") == 0 || strcmp(keyword, "dbname") == 0 ||
           (strcmp(keyword, "host") == 0 && !has_socket);
}

static void show_address(const PQconninfoOption *options, bool has_socket, struct buf *out)
{
    const char *user = option_of(options, "user");
    const char *host = has_socket ? NULL : option_of(options, "host");
    const char *port = option_of(options, "port");
    const char *name = option_of(options, "dbname");
    bool has_password = option_of(options, "password") != NULL;
    buf_printf(out, "postgresql://%s%s%s%s%s%s%s%s", user ? user : "",
               has_password ? ":********" : "", user || has_password ? "@" : "", host ? host : "",
               port ? ":" : "", port ? port : "", name ? "/" : "", name ? name : "");
}

enum err postgres_url_show(const char *url, struct buf *out)
{
    char separator = '?';
    PQconninfoOption *options = PQconninfoParse(url, NULL);
    if (!options)
        return buf_text(out, "postgresql://********");
    const char *host = option_of(options, "host");
    bool has_socket = host && strchr(host, '/');
    show_address(options, has_socket, out);
    for (const PQconninfoOption *option = options; option->keyword; option++) {
        if (!option->val || stands_before_query(option->keyword, has_socket))
            continue;
        /* libpq marks what a form would hide. */
        bool is_secret = strchr(option->dispchar, '*') != NULL;
        buf_printf(out, "%c%s=%s", separator, option->keyword,
                   is_secret ? "********" : option->val);
        separator = '&';
    }
    PQconninfoFree(options);
    return out->err;
}
