#include "net/tls.h"

#include "base/alloc.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/*
 * The context holds OpenSSL's and what the sentences name. A layer holds one SSL between two memory
 * BIOs; ciphertext that came is always taken whole, so neither grows beyond what one read brought
 * or one write made.
 */

struct tls_context {
    SSL_CTX *ssl;
    bool verify;
    uint32_t references; /* layers, and the owner */
    char *ca_file;
    char *cert_file;
    char *server_name;
};

struct tls {
    struct stream_layer layer; /* first */
    struct tls_context *context;
    SSL *ssl;
    BIO *in;
    BIO *out;
    char name[TLS_NAME_BYTES_MAX + 1]; /* that the certificate must be for */
    bool has_received;                 /* plaintext */
    int verify_error;                  /* X509_V_ERR_…, with the certificate it is about */
    char subject[128];
    char day[40]; /* until or from when it is valid */
};

/* --- context -----------------------------------------------------------------------------------
 */

/* The topmost cause that OpenSSL has queued, as a text; empties the queue. */
static const char *cause_take(void)
{
    unsigned long error = ERR_peek_last_error();
    ERR_clear_error();
    if (ERR_SYSTEM_ERROR(error))
        return strerror(ERR_GET_REASON(error));
    const char *text = ERR_reason_error_string(error);
    return text ? text : "unknown cause";
}

static int no_passphrase(char *text, int size, int writing, void *ctx)
{
    (void)text;
    (void)size;
    (void)writing;
    (void)ctx;
    return 0;
}

static enum err file_refused(struct diag *diag, const char *member, const char *path,
                             const char *hint)
{
    return diag_set(diag, ERR_INVALID, "tls.%s: cannot use %s: %s%s", member, path, cause_take(),
                    hint);
}

static enum err authorities_load(SSL_CTX *ssl, const struct tls_options *options, struct diag *diag)
{
    if (!options->verify)
        return ERR_OK;
    if (!options->ca_file) {
        SSL_CTX_set_default_verify_paths(ssl); /* what is missing shows at the first server */
        ERR_clear_error();
        return ERR_OK;
    }
    if (SSL_CTX_load_verify_file(ssl, options->ca_file) == 1)
        return ERR_OK;
    return file_refused(diag, "ca_file", options->ca_file, "; it must be certificates in PEM");
}

static enum err certificate_load(SSL_CTX *ssl, const struct tls_options *options, struct diag *diag)
{
    if (!options->cert_file)
        return options->key_file ? diag_set(diag, ERR_INVALID, "tls.key_file needs tls.cert_file")
                                 : ERR_OK;
    const char *key_file = options->key_file ? options->key_file : options->cert_file;
    SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ssl, options->cert_file) != 1)
        return file_refused(diag, "cert_file", options->cert_file,
                            "; it must be a certificate in PEM");
    if (SSL_CTX_use_PrivateKey_file(ssl, key_file, SSL_FILETYPE_PEM) != 1)
        return file_refused(diag, "key_file", key_file,
                            "; it must be the certificate's key in PEM, without a passphrase");
    if (SSL_CTX_check_private_key(ssl) != 1)
        return file_refused(diag, "key_file", key_file, "; it is not the key of tls.cert_file");
    return ERR_OK;
}

static bool text_copy(char **ret_copy, const char *text)
{
    *ret_copy = text ? mem_strdup(text) : NULL;
    return !text || *ret_copy;
}

static int on_verified(int good, X509_STORE_CTX *store);

static void context_settle(SSL_CTX *ssl, bool verify)
{
    SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS); /* 34 KiB for each idle connection */
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(ssl, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, on_verified);
}

enum err tls_context_new(const struct tls_options *options, struct tls_context **ret_context,
                         struct diag *diag)
{
    struct tls_context *context = mem_zalloc(1, sizeof(*context));
    if (!context)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory for TLS");
    ERR_clear_error();
    *context = (struct tls_context){.verify = options->verify, .references = 1};
    context->ssl = SSL_CTX_new(TLS_client_method());
    enum err err = ERR_OK;
    if (!context->ssl || !text_copy(&context->ca_file, options->ca_file) ||
        !text_copy(&context->cert_file, options->cert_file) ||
        !text_copy(&context->server_name, options->server_name))
        err = diag_set(diag, ERR_NO_MEMORY, "out of memory for TLS");
    if (err == ERR_OK) {
        context_settle(context->ssl, options->verify);
        err = authorities_load(context->ssl, options, diag);
    }
    if (err == ERR_OK)
        err = certificate_load(context->ssl, options, diag);
    if (err == ERR_OK)
        *ret_context = context;
    else
        tls_context_free(context);
    return err;
}

void tls_context_free(struct tls_context *context)
{
    if (!context || --context->references > 0)
        return;
    SSL_CTX_free(context->ssl);
    mem_free(context->ca_file);
    mem_free(context->cert_file);
    mem_free(context->server_name);
    mem_free(context);
}

/* --- what went wrong ---------------------------------------------------------------------------
 */

static void time_print(const ASN1_TIME *time, char *text, size_t size)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1 || strftime(text, size, "%Y-%m-%d", &parts) == 0)
        snprintf(text, size, "an unreadable date");
}

/* The first name of the certificate, for people: of the host if there is one, else the subject. */
static void subject_print(X509 *certificate, char *text, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    const GENERAL_NAME *first = sk_GENERAL_NAME_value(names, 0);
    text[0] = 0;
    if (first && first->type == GEN_DNS)
        snprintf(text, size, "%.*s", ASN1_STRING_length(first->d.dNSName),
                 (const char *)ASN1_STRING_get0_data(first->d.dNSName));
    if (!text[0] && X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
                                              text, (int)size) < 0)
        snprintf(text, size, "another name");
    for (char *at = text; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    GENERAL_NAMES_free(names);
}

static int on_verified(int good, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *tls = ssl ? SSL_get_app_data(ssl) : NULL;
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    if (good || !tls)
        return good;
    tls->verify_error = X509_STORE_CTX_get_error(store);
    if (certificate) {
        bool is_early = tls->verify_error == X509_V_ERR_CERT_NOT_YET_VALID;
        subject_print(certificate, tls->subject, sizeof(tls->subject));
        time_print(is_early ? X509_get0_notBefore(certificate) : X509_get0_notAfter(certificate),
                   tls->day, sizeof(tls->day));
    }
    return 0;
}

static enum err fail_unknown_authority(const struct tls *tls, struct diag *diag)
{
    const char *file = tls->context->ca_file;
    if (file)
        return diag_set(diag, ERR_REFUSED,
                        "its certificate (%s) is not signed by an authority in %s; set tls.ca_file "
                        "to the one that signed it",
                        tls->subject, file);
    return diag_set(diag, ERR_REFUSED,
                    "its certificate (%s) is signed by an authority that this machine does not "
                    "know; set tls.ca_file to that authority's certificate",
                    tls->subject);
}

static enum err fail_verify(const struct tls *tls, struct diag *diag)
{
    switch (tls->verify_error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return diag_set(diag, ERR_REFUSED,
                        "its certificate (%s) expired on %s; renew it there, or set this machine's "
                        "clock right",
                        tls->subject, tls->day);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return diag_set(diag, ERR_REFUSED,
                        "its certificate (%s) is valid only from %s on; set the clocks right",
                        tls->subject, tls->day);
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return diag_set(diag, ERR_REFUSED,
                        "its certificate is for %s, not for %s; connect to that name, or set "
                        "tls.server_name to it",
                        tls->subject, tls->name);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return fail_unknown_authority(tls, diag);
    default:
        return diag_set(diag, ERR_REFUSED, "its certificate (%s) cannot be trusted: %s",
                        tls->subject, X509_verify_cert_error_string(tls->verify_error));
    }
}

/* The other side's alert. */
static enum err fail_alert(const struct tls *tls, int alert, struct diag *diag)
{
    const char *own = tls->context->cert_file;
    const char *text = SSL_alert_desc_string_long(alert);
    switch (alert) {
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_DECRYPT_ERROR:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_ACCESS_DENIED:
        if (own)
            return diag_set(diag, ERR_AUTH, "it refused the client certificate in %s: %s", own,
                            text);
        break;
    case SSL_AD_HANDSHAKE_FAILURE:
    case SSL_AD_CERTIFICATE_REQUIRED:
        break;
    case SSL_AD_PROTOCOL_VERSION:
        return diag_set(diag, ERR_UNSUPPORTED,
                        "it speaks neither TLS 1.2 nor 1.3, and older ones are not safe");
    default:
        return diag_set(diag, ERR_REFUSED, "it ended TLS with the alert \"%s\"", text);
    }
    if (own)
        return diag_set(diag, ERR_REFUSED, "it refused the TLS handshake: %s", text);
    return diag_set(diag, ERR_AUTH,
                    "it refused the TLS handshake (%s): it may want a client certificate; set "
                    "tls.cert_file and tls.key_file",
                    text);
}

static enum err fail_ssl(struct tls *tls, struct diag *diag)
{
    unsigned long error = ERR_peek_error();
    int reason = ERR_GET_REASON(error);
    if (ERR_GET_LIB(error) != ERR_LIB_SSL)
        return diag_set(diag, ERR_PROTOCOL, "TLS failed: %s", cause_take());
    if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
        ERR_clear_error();
        return fail_alert(tls, reason - SSL_AD_REASON_OFFSET, diag);
    }
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        ERR_clear_error();
        return fail_verify(tls, diag);
    }
    if (!tls->layer.is_open &&
        (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_UNKNOWN_PROTOCOL ||
         reason == SSL_R_HTTP_REQUEST || reason == SSL_R_UNEXPECTED_MESSAGE)) {
        ERR_clear_error();
        return diag_set(diag, ERR_PROTOCOL,
                        "what answers there does not speak TLS; is it the plain port, or tls not "
                        "meant?");
    }
    return diag_set(diag, ERR_PROTOCOL, "TLS failed: %s", cause_take());
}

/* --- the layer ---------------------------------------------------------------------------------
 */

static struct tls *tls_of(struct stream_layer *layer)
{
    return (struct tls *)layer;
}

static enum err drain(struct tls *tls, struct buf *out)
{
    size_t pending = BIO_ctrl_pending(tls->out);
    if (pending == 0)
        return out->err;
    enum err err = buf_reserve(out, pending);
    if (err != ERR_OK)
        return err;
    int got = BIO_read(tls->out, out->data + out->size, (int)pending);
    out->size += got > 0 ? (size_t)got : 0;
    return ERR_OK;
}

/* What an operation of SSL that did not succeed means; ERR_AGAIN: more has to come. */
static enum err outcome(struct tls *tls, int result, struct diag *diag)
{
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return diag_set(diag, ERR_CLOSED, "it closed the connection");
    default:
        return fail_ssl(tls, diag);
    }
}

static enum err handshake(struct tls *tls, struct buf *out, struct diag *diag)
{
    ERR_clear_error();
    int result = SSL_connect(tls->ssl);
    enum err err = result == 1 ? ERR_OK : outcome(tls, result, diag);
    tls->layer.is_open = result == 1;
    enum err drained = drain(tls, out);
    if (err == ERR_AGAIN)
        err = ERR_OK;
    return err == ERR_OK ? drained : err;
}

static enum err tls_begin(struct stream_layer *layer, struct buf *out, struct diag *diag)
{
    return handshake(tls_of(layer), out, diag);
}

/* All plaintext there is. */
static enum err plain_read(struct tls *tls, struct buf *plain, struct diag *diag)
{
    for (;;) {
        enum err err = buf_reserve(plain, SSL3_RT_MAX_PLAIN_LENGTH);
        if (err != ERR_OK)
            return diag_set(diag, err, "%s for what came by TLS", err_text(err));
        size_t got = 0;
        ERR_clear_error();
        int result =
            SSL_read_ex(tls->ssl, plain->data + plain->size, SSL3_RT_MAX_PLAIN_LENGTH, &got);
        if (result != 1) {
            err = outcome(tls, result, diag);
            return err == ERR_AGAIN ? ERR_OK : err;
        }
        plain->size += got;
        tls->has_received = true;
    }
}

static enum err tls_receive(struct stream_layer *layer, struct bytes in, struct buf *plain,
                            struct buf *out, struct diag *diag)
{
    struct tls *tls = tls_of(layer);
    size_t written = 0;
    if (BIO_write_ex(tls->in, in.data, in.size, &written) != 1 || written != in.size)
        return diag_set(diag, ERR_NO_MEMORY, "out of memory for TLS");
    enum err err = ERR_OK;
    if (!layer->is_open)
        err = handshake(tls, out, diag);
    if (err == ERR_OK && layer->is_open)
        err = plain_read(tls, plain, diag);
    enum err drained = drain(tls, out);
    return err == ERR_OK ? drained : err;
}

static enum err tls_send(struct stream_layer *layer, struct bytes data, struct buf *out,
                         struct diag *diag)
{
    struct tls *tls = tls_of(layer);
    size_t written = 0;
    ERR_clear_error();
    int result = SSL_write_ex(tls->ssl, data.data, data.size, &written);
    if (result != 1) {
        enum err err = outcome(tls, result, diag);
        /* It only ever waits for memory, which does not make it wait. */
        return err == ERR_AGAIN ? diag_set(diag, ERR_PROTOCOL, "TLS cannot write") : err;
    }
    return drain(tls, out);
}

static void tls_end(struct stream_layer *layer, struct buf *out)
{
    struct tls *tls = tls_of(layer);
    if (!layer->is_open)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl); /* sends close_notify; theirs is not waited for */
    ERR_clear_error();
    enum err err = drain(tls, out);
    (void)err;
}

static void tls_lost(const struct stream_layer *layer, struct diag *diag)
{
    const struct tls *tls = (const struct tls *)layer;
    if (!layer->is_open)
        diag_set(diag, ERR_CLOSED,
                 "it closed the connection during the TLS handshake; is it a TLS port?");
    else if (!tls->has_received && !tls->context->cert_file)
        diag_set(diag, ERR_CLOSED,
                 "it closed the connection right after the TLS handshake; it may want a client "
                 "certificate (tls.cert_file and tls.key_file)");
}

static void tls_free(struct stream_layer *layer)
{
    struct tls *tls = tls_of(layer);
    SSL_free(tls->ssl); /* with both BIOs */
    tls_context_free(tls->context);
    mem_free(tls);
}

static const struct stream_layer_ops ops = {tls_begin, tls_receive, tls_send,
                                            tls_end,   tls_lost,    tls_free};

static bool is_address(const char *text)
{
    struct in6_addr room;
    return inet_pton(AF_INET, text, &room) == 1 || inet_pton(AF_INET6, text, &room) == 1;
}

/* Who the other side has to be. */
static bool name_expect(struct tls *tls)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
    bool by_address = is_address(tls->name);
    if (!by_address && SSL_set_tlsext_host_name(tls->ssl, tls->name) != 1)
        return false;
    if (!tls->context->verify)
        return true;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return by_address ? X509_VERIFY_PARAM_set1_ip_asc(param, tls->name) == 1
                      : SSL_set1_host(tls->ssl, tls->name) == 1;
}

enum err tls_layer_new(struct tls_context *context, const char *host,
                       struct stream_layer **ret_layer)
{
    struct tls *tls = mem_zalloc(1, sizeof(*tls));
    if (!tls)
        return ERR_NO_MEMORY;
    tls->layer.ops = &ops;
    tls->context = context;
    context->references++;
    snprintf(tls->name, sizeof(tls->name), "%s",
             context->server_name ? context->server_name : host);
    ERR_clear_error();
    tls->ssl = SSL_new(context->ssl);
    tls->in = tls->ssl ? BIO_new(BIO_s_mem()) : NULL;
    tls->out = tls->in ? BIO_new(BIO_s_mem()) : NULL;
    if (!tls->out) {
        BIO_free(tls->in);
        tls_free(&tls->layer);
        return ERR_NO_MEMORY;
    }
    BIO_set_mem_eof_return(tls->in, -1);
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    SSL_set_app_data(tls->ssl, tls);
    if (!name_expect(tls)) {
        tls_free(&tls->layer);
        return ERR_NO_MEMORY;
    }
    *ret_layer = &tls->layer;
    return ERR_OK;
}
