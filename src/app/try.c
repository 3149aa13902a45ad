/*
 * The connector, the blocks, the decoder and the naming are those of the service; only the journal
 * is a list in memory, the catalog a database in memory, and nothing is uploaded.
 */
#include "app/try.h"

#include "app/try_print.h"
#include "app/try_url.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "connectors/registry.h"
#include "lake/catalog.h"
#include "os/clock.h"
#include "pipeline/ingest_loop.h"
#include "sources/ingestion_id.h"
#include "sources/source.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define TRY_MESSAGES_DEFAULT 20
#define TRY_SECONDS_DEFAULT  10
#define TRY_BYTES_MAX        (64 * MIB)

struct try_options {
    const char *url;
    uint32_t messages_max;
    uint32_t seconds_max;
    bool json;
};

struct
try {
    struct mutex lock;
    struct condition changed;
    struct loop loop;
    struct ingest_loop *ingest;
    struct account_book *book;
    struct source *source;
    _Atomic uint64_t in_flight;
    struct block *blocks[TRY_BLOCKS_MAX];
    uint32_t block_count;
    uint64_t message_count;
    uint64_t byte_count;
};

/* --- the sink: blocks are kept, and called durable at once --- */

static enum err sink_submit(void *ctx, struct shipment *take_shipment, uint16_t flags,
                            uint64_t group)
{
    struct try *try = ctx;
    struct block *block = take_shipment->block;
    (void)flags;
    (void)group;
    mutex_lock(&try->lock);
    if (try->block_count < TRY_BLOCKS_MAX && try->byte_count < TRY_BYTES_MAX) {
        block->number = try->block_count + 1;
        try->blocks[try->block_count++] = block_ref(block);
        try->message_count += block->message_count;
        try->byte_count += block->size_bytes;
        condition_signal(&try->changed);
    }
    mutex_unlock(&try->lock);
    loop_post(take_shipment->loop_thread, &take_shipment->letter);
    return ERR_OK;
}

static bool sink_idle(void *ctx)
{
    (void)ctx;
    return true;
}

static bool sink_must_pause(void *ctx, const struct account *account)
{
    (void)ctx;
    (void)account;
    return false;
}

static enum err sink_state_get(void *ctx, struct bytes source_id, struct bytes key,
                               struct buf *ret_value)
{
    (void)ctx;
    (void)source_id;
    (void)key;
    (void)ret_value;
    return ERR_NOT_FOUND;
}

static void sink_identities(void *ctx, struct bytes source_id,
                            void (*on_identity)(void *ctx, uint16_t packet_identifier,
                                                uint64_t hash, uint64_t block, bool qos_2),
                            void *identity_ctx)
{
    (void)ctx;
    (void)source_id;
    (void)on_identity;
    (void)identity_ctx;
}

/* --- listening --- */

static enum err listen_begin(struct try *try, const struct try_target *target, struct diag *diag)
{
    const struct connector *connector = registry_find(target->type_name);
    const struct ingest_sink sink = {sink_submit,    sink_idle,       sink_must_pause,
                                     sink_state_get, sink_identities, try};
    const struct ingest_rule rule = {PARTITION_BY_EVENT, 24};
    struct buf id;
    if (!connector)
        return diag_set(diag, ERR_UNSUPPORTED, "there is no connector for '%s'", target->type_name);
    buf_init(&id, 4096);
    enum err err = account_book_new(&try->book);
    if (err == ERR_OK)
        err = loop_start(&try->loop, "try");
    if (err == ERR_OK)
        err = ingest_loop_new(&try->loop, &sink, &rule, try->book, &try->in_flight, &try->ingest);
    if (err == ERR_OK)
        err = ingestion_id_make(target->name, target->type_name, &id);
    if (err == ERR_OK)
        err = source_new(&(struct source_options){.connector = connector,
                                                  .name = target->name,
                                                  .ingestion_id = buf_cstr(&id),
                                                  .config = target->config,
                                                  .replica_id = target->replica_id,
                                                  .loop = &try->loop,
                                                  .ingest = try->ingest},
                         &try->source);
    buf_fini(&id);
    if (err == ERR_OK)
        source_start(try->source);
    return err;
}

/* Until enough has come, the time is over, or the connection failed for good. */
static enum err listen_wait(struct try *try, const struct try_options *options, struct diag *diag)
{
    int64_t until_ns = clock_monotonic_ns(&clock_system) + options->seconds_max * NS_PER_S;
    struct source_status status = {0};
    bool enough = false;
    while (!enough && clock_monotonic_ns(&clock_system) < until_ns) {
        mutex_lock(&try->lock);
        condition_wait_for(&try->changed, &try->lock, 100 * NS_PER_MS);
        enough = try->message_count >= options->messages_max;
        mutex_unlock(&try->lock);
        source_status_get(try->source, &status);
        if (status.state == SOURCE_ERROR && try->message_count == 0)
            return diag_set(diag, ERR_NETWORK, "%s", status.last_error);
    }
    if (try->message_count == 0)
        return diag_set(diag, ERR_TIMEOUT,
                        status.state == SOURCE_ACTIVE
                            ? "connected, but nothing was published within %u s: is the topic "
                              "right, and does anything publish to it?"
                            : "no connection within %u s",
                        options->seconds_max);
    return ERR_OK;
}

static void listen_end(struct try *try)
{
    if (try->source) {
        source_stop(try->source);
        (void)source_wait_stopped(try->source, clock_monotonic_ns(&clock_system) + 3 * NS_PER_S);
    }
    if (try->ingest)
        ingest_loop_close(try->ingest);
    loop_stop(&try->loop);
    ingest_loop_free(try->ingest);
    source_free(try->source);
    account_book_free(try->book);
}

/* --- the command --- */

static void help(FILE *out)
{
    fputs("Usage: ingestor try <url> [options]\n\n"
          "Connects, prints the schema it infers, where rows would go and the first rows.\n"
          "Stores nothing, and takes no message from anybody.\n\n"
          "  mqtt://[user:password@]host[:port]/topic/filter   (default topic: #)\n\n"
          "  --messages N   stop after N messages (default 20)\n"
          "  --seconds N    stop after N seconds (default 10)\n"
          "  --json         print JSON\n"
          "  --help         this text\n\n"
          "Example: ingestor try mqtt://localhost/smartcity/#\n",
          out);
}

static bool number_option(const char *text, uint32_t max, uint32_t *ret_number)
{
    char *end = NULL;
    unsigned long number = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || number < 1 || number > max)
        return false;
    *ret_number = (uint32_t)number;
    return true;
}

static bool options_read(int argc, char **argv, struct try_options *options)
{
    static const struct option longs[] = {{"messages", required_argument, NULL, 'n'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    int letter;
    optind = 0;
    while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        bool good = letter == 'j' ||
                    (letter == 'n' && number_option(optarg, 100000, &options->messages_max)) ||
                    (letter == 's' && number_option(optarg, 3600, &options->seconds_max));
        options->json = options->json || letter == 'j';
        if (letter != '?' && !good)
            fprintf(stderr, "ingestor try: '%s' is not a number in range\n", optarg);
        if (!good)
            return false;
    }
    if (optind != argc - 1) {
        fputs("ingestor try: give one URL, as in: ingestor try mqtt://localhost/smartcity/#\n",
              stderr);
        return false;
    }
    options->url = argv[optind];
    return true;
}

static enum err run(const struct try_options *options, struct diag *diag)
{
    struct try_target target = {0};
    struct try *try = mem_zalloc(1, sizeof(*try));
    if (!try)
        return ERR_NO_MEMORY;
    mutex_init(&try->lock);
    condition_init(&try->changed);
    enum err err = try_url_parse(options->url, &target, diag);
    if (err == ERR_OK) {
        err = listen_begin(try, &target, diag);
        if (err == ERR_OK)
            err = listen_wait(try, options, diag);
        listen_end(try);
    }
    if (err == ERR_OK)
        err = try_print(try->blocks, try->block_count, options->messages_max, options->json, stdout,
                        diag);
    for (uint32_t i = 0; i < try->block_count; i++)
        block_unref(try->blocks[i]);
    try_target_fini(&target);
    condition_fini(&try->changed);
    mutex_fini(&try->lock);
    mem_free(try);
    return err;
}

int try_main(int argc, char **argv)
{
    struct try_options options = {.messages_max = TRY_MESSAGES_DEFAULT,
                                  .seconds_max = TRY_SECONDS_DEFAULT};
    struct diag diag = {0};
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_AUTO);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            help(stdout);
            return 0;
        }
    }
    if (!options_read(argc, argv, &options))
        return 2;
    enum err err = run(&options, &diag);
    if (err == ERR_OK)
        return 0;
    fprintf(stderr, "ingestor try: %s\n", diag.text[0] ? diag.text : err_text(err));
    return err_class(err) == ERR_CLASS_PERMANENT && err == ERR_INVALID ? 2 : 1;
}
