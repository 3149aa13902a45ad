#include "support/tls_rig.h"

#include "support/temp_folder.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

static void must(bool good)
{
    if (!good) {
        ERR_print_errors_fp(stderr);
        abort();
    }
}

static void extension_add(X509 *certificate, int kind, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, kind, value);
    must(extension && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
}

static X509 *certificate_new(const struct tls_paper *paper, EVP_PKEY *key)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    must(certificate && X509_set_version(certificate, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), paper->from_s);
    X509_gmtime_adj(X509_getm_notAfter(certificate), paper->to_s);
    X509_NAME *subject = X509_get_subject_name(certificate);
    must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)paper->name,
                                    -1, -1, 0) == 1);
    must(X509_set_pubkey(certificate, key) == 1);
    return certificate;
}

const char *tls_rig_path(const struct tls_rig *rig, const char *file)
{
    static char paths[4][400];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", rig->folder, file);
    return path;
}

static void files_write(const struct tls_rig *rig, const char *name, X509 *certificate,
                        EVP_PKEY *key)
{
    char file[100];
    snprintf(file, sizeof(file), "%s.pem", name);
    FILE *out = fopen(tls_rig_path(rig, file), "we");
    must(out && PEM_write_X509(out, certificate) == 1 && fclose(out) == 0);
    snprintf(file, sizeof(file), "%s.key", name);
    out = fopen(tls_rig_path(rig, file), "we");
    must(out && PEM_write_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(out) == 0);
}

void tls_rig_init(struct tls_rig *rig)
{
    const struct tls_paper paper = {.name = "authority", .from_s = -86400, .to_s = 86400};
    temp_folder_make(rig->folder, sizeof(rig->folder));
    rig->key = EVP_EC_gen("P-256");
    must(rig->key);
    rig->certificate = certificate_new(&paper, rig->key);
    X509_set_issuer_name(rig->certificate, X509_get_subject_name(rig->certificate));
    extension_add(rig->certificate, NID_basic_constraints, "critical,CA:TRUE");
    must(X509_sign(rig->certificate, rig->key, EVP_sha256()) > 0);
    files_write(rig, "authority", rig->certificate, rig->key);
    snprintf(rig->ca_file, sizeof(rig->ca_file), "%s", tls_rig_path(rig, "authority.pem"));
}

void tls_rig_fini(struct tls_rig *rig)
{
    X509_free(rig->certificate);
    EVP_PKEY_free(rig->key);
    temp_folder_remove(rig->folder);
}

void tls_rig_issue(struct tls_rig *rig, const struct tls_paper *paper)
{
    char names[300];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    must(key);
    X509 *certificate = certificate_new(paper, key);
    X509_set_issuer_name(certificate, X509_get_subject_name(rig->certificate));
    if (paper->host)
        snprintf(names, sizeof(names), "DNS:%s", paper->host);
    if (paper->address)
        snprintf(names, sizeof(names), "IP:%s", paper->address);
    if (paper->host || paper->address)
        extension_add(certificate, NID_subject_alt_name, names);
    must(X509_sign(certificate, rig->key, EVP_sha256()) > 0);
    files_write(rig, paper->name, certificate, key);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void tls_server_init(struct tls_server *server, const struct tls_rig *rig, const char *name,
                     bool wants_certificate, int version)
{
    char file[100];
    *server = (struct tls_server){.context = SSL_CTX_new(TLS_server_method())};
    must(server->context);
    SSL_CTX_set_min_proto_version(server->context, version);
    SSL_CTX_set_max_proto_version(server->context, version);
    snprintf(file, sizeof(file), "%s.pem", name);
    must(SSL_CTX_use_certificate_chain_file(server->context, tls_rig_path(rig, file)) == 1);
    snprintf(file, sizeof(file), "%s.key", name);
    must(SSL_CTX_use_PrivateKey_file(server->context, tls_rig_path(rig, file), SSL_FILETYPE_PEM) ==
         1);
    if (wants_certificate) {
        must(SSL_CTX_load_verify_file(server->context, rig->ca_file) == 1);
        SSL_CTX_set_verify(server->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                           NULL);
    }
    server->ssl = SSL_new(server->context);
    server->in = BIO_new(BIO_s_mem());
    server->out = BIO_new(BIO_s_mem());
    must(server->ssl && server->in && server->out);
    BIO_set_mem_eof_return(server->in, -1);
    SSL_set_bio(server->ssl, server->in, server->out);
    SSL_set_accept_state(server->ssl);
}

void tls_server_fini(struct tls_server *server)
{
    SSL_free(server->ssl);
    SSL_CTX_free(server->context);
}

static void drain(struct tls_server *server, struct buf *out)
{
    char room[4096];
    for (int got; (got = BIO_read(server->out, room, sizeof(room))) > 0;)
        must(buf_append(out, room, (size_t)got) == ERR_OK);
}

void tls_server_take(struct tls_server *server, struct bytes in, struct buf *plain, struct buf *out)
{
    char room[4096];
    int got = 0;
    ERR_clear_error();
    if (in.size > 0)
        must(BIO_write(server->in, in.data, (int)in.size) == (int)in.size);
    if (!server->is_open)
        server->is_open = SSL_do_handshake(server->ssl) == 1;
    while (server->is_open && (got = SSL_read(server->ssl, room, sizeof(room))) > 0)
        must(buf_append(plain, room, (size_t)got) == ERR_OK);
    server->has_failed = ERR_peek_error() != 0;
    ERR_clear_error();
    drain(server, out);
}

void tls_server_send(struct tls_server *server, struct bytes plain, struct buf *out)
{
    must(SSL_write(server->ssl, plain.data, (int)plain.size) == (int)plain.size);
    drain(server, out);
}

void tls_server_end(struct tls_server *server, struct buf *out)
{
    SSL_shutdown(server->ssl);
    drain(server, out);
}
