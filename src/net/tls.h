#pragma once
/*
 * TLS of a client (1.2 and 1.3, OpenSSL's) as a layer of a stream: no I/O, ciphertext and plaintext
 * go through memory. One thread for a context and its layers.
 *
 * tls_context_new reads the files once; many connections share a context, which they keep alive.
 * The server's certificate is verified against ca_file, or the machine's authorities, and must be
 * for server_name (or, without it, for the host, which may be an address); both only when verify
 * is set. Renegotiation is refused. What goes wrong is ERR_REFUSED (the server's certificate),
 * ERR_AUTH (ours), ERR_PROTOCOL (no TLS at all), ERR_INVALID (our files).
 */
#include "net/stream_layer.h"

#define TLS_NAME_BYTES_MAX 255

struct tls_options {
    const char *ca_file;     /* PEM; NULL: the machine's authorities */
    const char *cert_file;   /* PEM, with the chain; NULL: no client certificate */
    const char *key_file;    /* PEM, not encrypted; NULL: it is in cert_file */
    const char *server_name; /* NULL: the host connected to */
    bool verify;
};

struct tls_context;

/* Texts are copied. */
enum err tls_context_new(const struct tls_options *options, struct tls_context **ret_context,
                         struct diag *diag) ERR_MUST_USE;
void tls_context_free(struct tls_context *context);

/* The layer for one connection; it may outlive the context. */
enum err tls_layer_new(struct tls_context *context, const char *host,
                       struct stream_layer **ret_layer) ERR_MUST_USE;
