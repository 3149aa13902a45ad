/* The TLS layer against OpenSSL's server side, byte by byte through memory. */
#include "net/tls.h"

#include "base/alloc.h"
#include "support/tls_rig.h"

#include <openssl/pem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
/* cmocka wants those four first */
#include <cmocka.h>

#define HOUR_S 3600L

static struct tls_rig rig;

/* One client and one server, and what is on its way between them. */
struct pair {
    struct tls_context *context;
    struct stream_layer *client;
    struct tls_server server;
    struct buf to_server;
    struct buf to_client;
    struct buf server_plain;
    struct buf client_plain;
    size_t step; /* so many bytes at a time to the client; 0: all */
    enum err err;
    struct diag diag;
};

static int rig_setup(void **state)
{
    (void)state;
    tls_rig_init(&rig);
    tls_rig_issue(&rig, &(struct tls_paper){"good", "broker.test", NULL, -HOUR_S, HOUR_S});
    tls_rig_issue(&rig, &(struct tls_paper){"address", NULL, "127.0.0.1", -HOUR_S, HOUR_S});
    tls_rig_issue(&rig, &(struct tls_paper){"expired", "broker.test", NULL, -2 * HOUR_S, -HOUR_S});
    tls_rig_issue(&rig, &(struct tls_paper){"early", "broker.test", NULL, HOUR_S, 2 * HOUR_S});
    tls_rig_issue(&rig, &(struct tls_paper){"client", NULL, NULL, -HOUR_S, HOUR_S});
    return 0;
}

static int rig_teardown(void **state)
{
    (void)state;
    tls_rig_fini(&rig);
    return 0;
}

static void pair_init(struct pair *pair, const struct tls_options *options, const char *host,
                      const char *server, bool wants_certificate, int version)
{
    *pair = (struct pair){0};
    assert_int_equal(tls_context_new(options, &pair->context, &pair->diag), ERR_OK);
    assert_int_equal(tls_layer_new(pair->context, host, &pair->client), ERR_OK);
    tls_server_init(&pair->server, &rig, server, wants_certificate, version);
    struct buf *bufs[] = {&pair->to_server, &pair->to_client, &pair->server_plain,
                          &pair->client_plain};
    for (int i = 0; i < 4; i++)
        buf_init(bufs[i], 4 << 20);
}

static void pair_fini(struct pair *pair)
{
    pair->client->ops->free(pair->client);
    tls_context_free(pair->context);
    tls_server_fini(&pair->server);
    buf_fini(&pair->to_server);
    buf_fini(&pair->to_client);
    buf_fini(&pair->server_plain);
    buf_fini(&pair->client_plain);
}

static void client_take(struct pair *pair, struct bytes in)
{
    size_t step = pair->step > 0 ? pair->step : in.size;
    for (size_t at = 0; at < in.size && pair->err == ERR_OK; at += step) {
        size_t size = in.size - at < step ? in.size - at : step;
        pair->err = pair->client->ops->receive(pair->client, bytes_from(in.data + at, size),
                                               &pair->client_plain, &pair->to_server, &pair->diag);
    }
}

/* Carries bytes until both are silent or the client has failed. */
static void carry(struct pair *pair)
{
    while (pair->to_server.size > 0 || pair->to_client.size > 0) {
        if (pair->to_server.size > 0)
            tls_server_take(&pair->server, buf_bytes(&pair->to_server), &pair->server_plain,
                            &pair->to_client);
        buf_clear(&pair->to_server);
        struct buf arrived = pair->to_client;
        buf_init(&pair->to_client, 4 << 20);
        client_take(pair, buf_bytes(&arrived));
        buf_fini(&arrived);
    }
}

static void shake_hands(struct pair *pair)
{
    pair->err = pair->client->ops->begin(pair->client, &pair->to_server, &pair->diag);
    assert_int_equal(pair->err, ERR_OK);
    carry(pair);
}

static void client_say(struct pair *pair, const void *data, size_t size)
{
    assert_int_equal(pair->client->ops->send(pair->client, bytes_from(data, size), &pair->to_server,
                                             &pair->diag),
                     ERR_OK);
}

static struct tls_options trusting(void)
{
    return (struct tls_options){.ca_file = rig.ca_file, .verify = true};
}

static void talk(const struct tls_options *options, const char *host, const char *server,
                 bool wants_certificate, int version, size_t step)
{
    struct pair pair;
    uint8_t *large = malloc(100000);
    memset(large, 7, 100000);
    pair_init(&pair, options, host, server, wants_certificate, version);
    pair.step = step;
    shake_hands(&pair);
    assert_string_equal(pair.diag.text, "");
    assert_true(pair.client->is_open);
    client_say(&pair, "CONNECT", 7);
    tls_server_send(&pair.server, BYTES_LITERAL("CONNACK"), &pair.to_client);
    carry(&pair);
    assert_true(bytes_equal_text(buf_bytes(&pair.server_plain), "CONNECT"));
    assert_true(bytes_equal_text(buf_bytes(&pair.client_plain), "CONNACK"));
    client_say(&pair, large, 100000);
    tls_server_send(&pair.server, bytes_from(large, 100000), &pair.to_client);
    carry(&pair);
    assert_int_equal(pair.server_plain.size, 100007);
    assert_int_equal(pair.client_plain.size, 100007);
    assert_memory_equal(pair.client_plain.data + 7, large, 100000);
    tls_server_end(&pair.server, &pair.to_client);
    carry(&pair);
    assert_int_equal(pair.err, ERR_CLOSED);
    pair.client->ops->end(pair.client, &pair.to_server);
    assert_true(pair.to_server.size > 0);
    pair_fini(&pair);
    free(large);
}

static void bytes_go_both_ways(void **state)
{
    (void)state;
    struct tls_options options = trusting();
    talk(&options, "broker.test", "good", false, TLS1_3_VERSION, 0);
    talk(&options, "broker.test", "good", false, TLS1_2_VERSION, 0);
    talk(&options, "broker.test", "good", false, TLS1_3_VERSION, 1);
    talk(&options, "127.0.0.1", "address", false, TLS1_3_VERSION, 0);
    options.server_name = "broker.test";
    talk(&options, "10.1.2.3", "good", false, TLS1_3_VERSION, 0);
}

static void a_client_certificate_is_shown(void **state)
{
    (void)state;
    struct tls_options options = trusting();
    options.cert_file = tls_rig_path(&rig, "client.pem");
    options.key_file = tls_rig_path(&rig, "client.key");
    talk(&options, "broker.test", "good", true, TLS1_3_VERSION, 0);
    talk(&options, "broker.test", "good", true, TLS1_2_VERSION, 0);
}

static void without_verify_all_is_taken(void **state)
{
    (void)state;
    struct tls_options options = {.verify = false};
    talk(&options, "elsewhere.test", "expired", false, TLS1_3_VERSION, 0);
}

/* The handshake fails; the sentence has these words, and the server learns of it. */
static void fails(const struct tls_options *options, const char *host, const char *server,
                  enum err err, const char *words)
{
    struct pair pair;
    pair_init(&pair, options, host, server, false, TLS1_3_VERSION);
    shake_hands(&pair);
    assert_int_equal(pair.err, err);
    assert_false(pair.client->is_open);
    assert_true(pair.server.has_failed);
    if (!strstr(pair.diag.text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, pair.diag.text);
    pair_fini(&pair);
}

static void a_bad_certificate_is_named(void **state)
{
    (void)state;
    struct tls_options options = trusting();
    fails(&options, "broker.test", "expired", ERR_REFUSED, "(broker.test) expired on 20");
    fails(&options, "broker.test", "early", ERR_REFUSED, "valid only from 20");
    fails(&options, "other.test", "good", ERR_REFUSED, "is for broker.test, not for other.test");
    fails(&options, "127.0.0.1", "good", ERR_REFUSED, "is for broker.test, not for 127.0.0.1");
    options.ca_file = tls_rig_path(&rig, "client.pem");
    fails(&options, "broker.test", "good", ERR_REFUSED, "not signed by an authority in");
    options.ca_file = NULL;
    fails(&options, "broker.test", "good", ERR_REFUSED, "does not know; set tls.ca_file");
}

static void a_missing_client_certificate_is_named(void **state)
{
    (void)state;
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    struct tls_options options = trusting();
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        pair_init(&pair, &options, "broker.test", "good", true, versions[i]);
        shake_hands(&pair);
        assert_int_equal(pair.err, ERR_AUTH);
        assert_non_null(strstr(pair.diag.text, "tls.cert_file and tls.key_file"));
        pair_fini(&pair);
    }
}

static void a_refused_client_certificate_is_named(void **state)
{
    (void)state;
    struct pair pair;
    struct tls_rig other;
    tls_rig_init(&other);
    tls_rig_issue(&other, &(struct tls_paper){"stranger", NULL, NULL, -HOUR_S, HOUR_S});
    struct tls_options options = trusting();
    options.cert_file = tls_rig_path(&other, "stranger.pem");
    options.key_file = tls_rig_path(&other, "stranger.key");
    pair_init(&pair, &options, "broker.test", "good", true, TLS1_3_VERSION);
    shake_hands(&pair);
    assert_int_equal(pair.err, ERR_AUTH);
    assert_non_null(strstr(pair.diag.text, "it refused the client certificate in"));
    pair_fini(&pair);
    tls_rig_fini(&other);
}

static void what_is_no_tls_is_named(void **state)
{
    (void)state;
    static const char *const answers[] = {"\x20\x02\x00\x00\x00\x00\x00\x00",
                                          "HTTP/1.1 400 Bad Request\r\n\r\n"};
    static const size_t sizes[] = {8, 28};
    struct tls_options options = trusting();
    for (int i = 0; i < 2; i++) {
        struct pair pair;
        pair_init(&pair, &options, "broker.test", "good", false, TLS1_3_VERSION);
        assert_int_equal(pair.client->ops->begin(pair.client, &pair.to_server, &pair.diag), ERR_OK);
        client_take(&pair, bytes_from(answers[i], sizes[i]));
        assert_int_equal(pair.err, ERR_PROTOCOL);
        assert_non_null(strstr(pair.diag.text, "does not speak TLS"));
        pair_fini(&pair);
    }
}

static void a_lost_connection_is_explained(void **state)
{
    (void)state;
    struct pair pair;
    struct tls_options options = trusting();
    pair_init(&pair, &options, "broker.test", "good", false, TLS1_3_VERSION);
    struct diag diag = {0};
    pair.client->ops->lost(pair.client, &diag);
    assert_non_null(strstr(diag.text, "is it a TLS port?"));
    shake_hands(&pair);
    diag = (struct diag){0};
    pair.client->ops->lost(pair.client, &diag);
    assert_non_null(strstr(diag.text, "may want a client certificate"));
    tls_server_send(&pair.server, BYTES_LITERAL("x"), &pair.to_client);
    carry(&pair);
    diag = (struct diag){0};
    pair.client->ops->lost(pair.client, &diag);
    assert_string_equal(diag.text, "");
    pair_fini(&pair);
}

/* A server that changes a byte of what it sends. */
static void a_tampered_record_ends_it(void **state)
{
    (void)state;
    struct pair pair;
    struct tls_options options = trusting();
    pair_init(&pair, &options, "broker.test", "good", false, TLS1_3_VERSION);
    shake_hands(&pair);
    tls_server_send(&pair.server, BYTES_LITERAL("hello"), &pair.to_client);
    pair.to_client.data[pair.to_client.size - 1] ^= 1;
    carry(&pair);
    assert_int_equal(pair.err, ERR_PROTOCOL);
    assert_int_equal(pair.client_plain.size, 0);
    pair_fini(&pair);
}

static void refuses(const char *ca, const char *certificate, const char *key, const char *words)
{
    struct tls_context *context = NULL;
    struct diag diag = {0};
    struct tls_options options = {
        .ca_file = ca, .cert_file = certificate, .key_file = key, .verify = true};
    assert_int_equal(tls_context_new(&options, &context, &diag), ERR_INVALID);
    assert_null(context);
    if (!strstr(diag.text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, diag.text);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    const char *good = tls_rig_path(&rig, "client.pem");
    const char *key = tls_rig_path(&rig, "client.key");
    refuses("/nowhere/ca.pem", NULL, NULL, "tls.ca_file: cannot use /nowhere/ca.pem");
    refuses(key, NULL, NULL, "tls.ca_file: cannot use");
    refuses(rig.ca_file, "/nowhere/x", NULL, "tls.cert_file: cannot use /nowhere/x");
    refuses(rig.ca_file, good, "/nowhere/x", "tls.key_file: cannot use /nowhere/x");
    refuses(rig.ca_file, good, tls_rig_path(&rig, "good.key"), "tls.key_file");
    refuses(rig.ca_file, NULL, key, "needs tls.cert_file");
}

static void an_encrypted_key_is_refused(void **state)
{
    (void)state;
    const char *path = tls_rig_path(&rig, "locked.key");
    FILE *out = fopen(path, "we");
    assert_int_equal(PEM_write_PrivateKey(out, rig.key, EVP_aes_128_cbc(),
                                          (const unsigned char *)"secret", 6, NULL, NULL),
                     1);
    fclose(out);
    refuses(rig.ca_file, tls_rig_path(&rig, "client.pem"), path, "without a passphrase");
}

static void failed_allocations_leave_nothing(void **state)
{
    (void)state;
    struct tls_options options = trusting();
    for (uint64_t k = 1;; k++) {
        struct tls_context *context = NULL;
        struct stream_layer *layer = NULL;
        struct diag diag = {0};
        mem_fail_at(k);
        enum err err = tls_context_new(&options, &context, &diag);
        if (err == ERR_OK)
            err = tls_layer_new(context, "broker.test", &layer);
        bool failed = mem_failed();
        mem_fail_at(0);
        if (layer)
            layer->ops->free(layer);
        tls_context_free(context);
        if (!failed)
            break;
        assert_int_equal(err, ERR_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways),
        cmocka_unit_test(a_client_certificate_is_shown),
        cmocka_unit_test(without_verify_all_is_taken),
        cmocka_unit_test(a_bad_certificate_is_named),
        cmocka_unit_test(a_missing_client_certificate_is_named),
        cmocka_unit_test(a_refused_client_certificate_is_named),
        cmocka_unit_test(what_is_no_tls_is_named),
        cmocka_unit_test(a_lost_connection_is_explained),
        cmocka_unit_test(a_tampered_record_ends_it),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(an_encrypted_key_is_refused),
        cmocka_unit_test(failed_allocations_leave_nothing),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
