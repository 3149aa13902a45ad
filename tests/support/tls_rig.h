#pragma once
/*
 * Certificates and a TLS server for tests, in memory: an authority that signs what a test asks for,
 * into PEM files of a temporary folder, and a server without sockets that takes and gives bytes.
 * Aborts when OpenSSL fails. One thread.
 */
#include "base/buf.h"

#include <openssl/ssl.h>
#include <stdbool.h>

struct tls_rig {
    char folder[256];
    EVP_PKEY *key; /* the authority's */
    X509 *certificate;
    char ca_file[300];
};

/* What a certificate says. */
struct tls_paper {
    const char *name;    /* of the files: <name>.pem, <name>.key */
    const char *host;    /* subject alternative name; NULL: none */
    const char *address; /* the same */
    long from_s;         /* validity, from now */
    long to_s;
};

struct tls_server {
    SSL_CTX *context;
    SSL *ssl;
    BIO *in;
    BIO *out;
    bool is_open;
    bool has_failed;
};

void tls_rig_init(struct tls_rig *rig);
void tls_rig_fini(struct tls_rig *rig);
void tls_rig_issue(struct tls_rig *rig, const struct tls_paper *paper);
/* "<folder>/<file>", valid until the next call but three. */
const char *tls_rig_path(const struct tls_rig *rig, const char *file);

/* Serves with <name>.pem; wants_certificate: the client must have one that the authority signed.
 * version: TLS1_2_VERSION or TLS1_3_VERSION. */
void tls_server_init(struct tls_server *server, const struct tls_rig *rig, const char *name,
                     bool wants_certificate, int version);
void tls_server_fini(struct tls_server *server);
/* Takes ciphertext; appends what it means to plain and what it answers to out. */
void tls_server_take(struct tls_server *server, struct bytes in, struct buf *plain,
                     struct buf *out);
void tls_server_send(struct tls_server *server, struct bytes plain, struct buf *out);
void tls_server_end(struct tls_server *server, struct buf *out);
