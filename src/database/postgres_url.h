#pragma once
/* The URL of a PostgreSQL database: postgresql://[user[:password]@][host][:port][/database][?…].
 * Pure; any thread. No reason given here quotes the URL: it may hold a password. */
#include "base/buf.h"

#include <stdbool.h>

/* By its scheme. */
bool postgres_url_is(const char *url);
/* ERR_INVALID: libpq would not understand it, or would take a part of the password, written without
 * percent-encoding, for a host's or a database's name and show it. */
enum err postgres_url_check(const char *url, struct diag *diag) ERR_MUST_USE;
/* Appends the URL for people: rewritten, with "********" for passwords. */
enum err postgres_url_show(const char *url, struct buf *out) ERR_MUST_USE;
