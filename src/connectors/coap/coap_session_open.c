#include "connectors/coap/coap_session_open.h"

#include "base/limits.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>

#define QUESTION_BYTES_MAX 1152 /* what RFC 7252 §4.6 lets everybody send */
#define CHAIN_DEPTH_MAX    8

/* --- libcoap's log ---------------------------------------------------------------------------- */

/* libcoap tells the reason of a failed handshake to its log and to nobody else. */
static _Thread_local char library_says[160];

const char *coap_library_says(void)
{
    return library_says;
}

void coap_library_forget(void)
{
    library_says[0] = '\0';
}

/* Without the session, "*  127.0.0.1:4711 <-> 127.0.0.1:5684 DTLS: ", which differs each time. */
static const char *without_session(const char *message)
{
    const char *arrow = strstr(message, " <-> ");
    const char *colon = arrow ? strstr(arrow, ": ") : NULL;
    if (colon)
        message = colon + 2;
    return message + strspn(message, " *");
}

static void on_log(coap_log_t level, const char *message)
{
    char line[sizeof(library_says)];
    (void)level;
    snprintf(line, sizeof(line), "%s", without_session(message));
    line[strcspn(line, "\r\n")] = '\0';
    log_debug("coap", "%s", line);
    if (!library_says[0]) /* the first of several says why, the others that */
        memcpy(library_says, line, sizeof(line));
}

static void library_begin(void)
{
    coap_startup();
    coap_set_log_handler(on_log);
    coap_set_log_level(LOG_WARNING);
    coap_dtls_set_log_level(LOG_WARNING);
}

coap_context_t *coap_session_context(struct diag *diag)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, library_begin);
    coap_context_t *context = coap_new_context(NULL);
    if (!context) {
        (void)diag_set(diag, ERR_NO_MEMORY, "out of memory for the CoAP session");
        return NULL;
    }
    if (coap_context_get_coap_fd(context) < 0) {
        (void)diag_set(diag, ERR_UNSUPPORTED, "this libcoap was built without epoll");
        coap_free_context(context);
        return NULL;
    }
    coap_context_set_block_mode(context, 0); /* blocks are put together by coap_body.h */
    coap_context_set_csm_max_message_size(context, COAP_TCP_MESSAGE_BYTES_MAX);
    return context;
}

/* --- sessions --------------------------------------------------------------------------------- */

/*
 * libcoap uses ca_file in a server only, and checks the chain but not for whom the certificate is:
 * OpenSSL does both, told here, before the server's first datagram is read.
 */
static bool verify_as_configured(coap_session_t *session, const struct coap_config *config)
{
    coap_tls_library_t library;
    SSL *ssl = coap_session_get_tls(session, &library);
    if (!ssl || library != COAP_TLS_LIBRARY_OPENSSL)
        return false;
    SSL_CTX *context = SSL_get_SSL_CTX(ssl);
    if ((config->ca_file ? SSL_CTX_load_verify_locations(context, config->ca_file, NULL)
                         : SSL_CTX_set_default_verify_paths(context)) != 1) {
        snprintf(library_says, sizeof(library_says), "the authorities (%.100s) cannot be read",
                 config->ca_file ? config->ca_file : "the machine's own");
        return false;
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    return X509_VERIFY_PARAM_set1_ip_asc(param, config->server_name) == 1 ||
           X509_VERIFY_PARAM_set1_host(param, config->server_name, 0) == 1;
}

static char *sni_of(const struct coap_config *config, char name[256])
{
    struct in_addr v4;
    if (strchr(config->server_name, ':') || inet_pton(AF_INET, config->server_name, &v4) == 1)
        return NULL; /* RFC 6066 §3: no addresses */
    snprintf(name, 256, "%s", config->server_name);
    return name;
}

static coap_session_t *open_with_certificates(coap_context_t *context,
                                              const struct coap_config *config,
                                              const coap_address_t *address)
{
    char name[256];
    coap_dtls_pki_t setup = {
        .version = COAP_DTLS_PKI_SETUP_VERSION,
        .verify_peer_cert = config->verify,
        .cert_chain_validation = 1,
        .cert_chain_verify_depth = CHAIN_DEPTH_MAX,
        .client_sni = sni_of(config, name),
        .pki_key = {.key_type = COAP_PKI_KEY_PEM},
    };
    setup.pki_key.key.pem.ca_file = config->ca_file;
    setup.pki_key.key.pem.public_cert = config->cert_file;
    setup.pki_key.key.pem.private_key = config->key_file;
    coap_session_t *session =
        coap_new_client_session_pki(context, NULL, address, COAP_PROTO_DTLS, &setup);
    if (!session || !config->verify || verify_as_configured(session, config))
        return session;
    coap_session_release(session);
    return NULL;
}

static coap_session_t *open_with_key(coap_context_t *context, const struct coap_config *config,
                                     const coap_address_t *address)
{
    char name[256];
    coap_dtls_cpsk_t setup = {.version = COAP_DTLS_CPSK_SETUP_VERSION,
                              .client_sni = sni_of(config, name)};
    setup.psk_info.identity.s = (const uint8_t *)config->psk_identity;
    setup.psk_info.identity.length = strlen(config->psk_identity);
    setup.psk_info.key.s = config->psk_key.data;
    setup.psk_info.key.length = config->psk_key.size;
    return coap_new_client_session_psk2(context, NULL, address, COAP_PROTO_DTLS, &setup);
}

coap_session_t *coap_session_open(coap_context_t *context, const struct coap_config *config,
                                  const struct sockaddr *address, struct diag *diag)
{
    coap_address_t to;
    coap_session_t *session;
    coap_address_init(&to);
    to.size = address->sa_family == AF_INET6 ? sizeof(to.addr.sin6) : sizeof(to.addr.sin);
    memcpy(&to.addr, address, to.size);
    coap_library_forget();
    if (config->scheme == COAP_SCHEME_UDP)
        session = coap_new_client_session(context, NULL, &to, COAP_PROTO_UDP);
    else if (config->scheme == COAP_SCHEME_TCP)
        session = coap_new_client_session(context, NULL, &to, COAP_PROTO_TCP);
    else if (config->psk_identity)
        session = open_with_key(context, config, &to);
    else
        session = open_with_certificates(context, config, &to);
    if (!session)
        (void)diag_set(diag, ERR_NETWORK, "no session with %s: %s", config->base,
                       library_says[0] ? library_says : "the socket or the keys cannot be used");
    return session;
}

/* --- questions -------------------------------------------------------------------------------- */

static uint8_t unescaped(const char **at)
{
    unsigned value = 0;
    const char *c = *at;
    if (*c != '%') {
        *at = c + 1;
        return (uint8_t)*c;
    }
    for (int i = 1; i <= 2; i++) /* the configuration, or the caller, has looked */
        value = value << 4 | (unsigned)(c[i] <= '9' ? c[i] - '0' : (c[i] | 0x20) - 'a' + 10);
    *at = c + 3;
    return (uint8_t)value;
}

/* Each part of [at, end), cut at the separator, is an option. */
static bool add_parts(coap_pdu_t *pdu, uint16_t option, const char *at, const char *end,
                      char separator)
{
    uint8_t part[COAP_SEGMENT_BYTES_MAX];
    while (at < end) {
        size_t size = 0;
        while (at < end && *at != separator) {
            if (size == sizeof(part))
                return false;
            part[size++] = unescaped(&at);
        }
        at++;
        if (!coap_add_option(pdu, option, size, part))
            return false;
    }
    return true;
}

static bool add_number(coap_pdu_t *pdu, uint16_t option, uint32_t value)
{
    uint8_t bytes[4];
    unsigned size = coap_encode_var_safe(bytes, sizeof(bytes), value);
    return coap_add_option(pdu, option, size, bytes) > 0;
}

static bool is_address(const char *host)
{
    struct in_addr v4;
    return strchr(host, ':') || inet_pton(AF_INET, host, &v4) == 1;
}

coap_pdu_t *coap_session_question(coap_session_t *session, const struct coap_config *config,
                                  const struct coap_question *question)
{
    const char *path_end = question->path + strcspn(question->path, "?");
    const char *end = path_end + strlen(path_end);
    coap_pdu_t *pdu =
        coap_pdu_init(question->confirmable ? COAP_MESSAGE_CON : COAP_MESSAGE_NON,
                      COAP_REQUEST_CODE_GET, coap_new_message_id(session), QUESTION_BYTES_MAX);
    if (!pdu)
        return NULL;
    /* in the order of their numbers */
    bool good =
        coap_add_token(pdu, COAP_TOKEN_BYTES, question->token) &&
        (is_address(config->host) ||
         coap_add_option(pdu, COAP_OPTION_URI_HOST, strlen(config->host),
                         (const uint8_t *)config->host)) &&
        (question->observe < 0 ||
         add_number(pdu, COAP_OPTION_OBSERVE, (uint32_t)question->observe)) &&
        add_parts(pdu, COAP_OPTION_URI_PATH, question->path, path_end, '/') &&
        (path_end == end || add_parts(pdu, COAP_OPTION_URI_QUERY, path_end + 1, end, '&')) &&
        (!question->has_block || add_number(pdu, COAP_OPTION_BLOCK2, question->block));
    if (good)
        return pdu;
    coap_delete_pdu(pdu);
    return NULL;
}
