/*
 * The connector, the blocks, the decoder and the naming are those of the service; only the journal
 * is a list in memory (sources/probe.h), the catalog a database in memory, and nothing is uploaded.
 */
#include "app/try.h"

#include "app/try_print.h"
#include "app/try_url.h"
#include "base/alloc.h"
#include "base/log.h"
#include "connectors/registry.h"
#include "sources/probe.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define TRY_MESSAGES_DEFAULT 20
#define TRY_SECONDS_DEFAULT  10

struct try_options {
    const char *url;
    const char *data_path; /* NULL: not said */
    uint32_t messages_max;
    uint32_t seconds_max;
    bool json;
};

/* --- listening --- */

static enum err target_listen(const struct try_options *options, const struct try_target *target,
                              struct probe_result *ret_result, struct diag *diag)
{
    const struct connector *connector = registry_find(target->type_name);
    if (!connector)
        return diag_set(diag, ERR_UNSUPPORTED, "there is no connector for '%s'", target->type_name);
    enum err err = probe_run(&(struct probe_options){.connector = connector,
                                                     .name = target->name,
                                                     .config = target->config,
                                                     .messages_max = options->messages_max,
                                                     .seconds_max = options->seconds_max},
                             ret_result, diag);
    if (err == ERR_OK && ret_result->message_count > 0 && ret_result->error[0])
        fprintf(stderr, "ingestor try: %s\n", ret_result->error); /* a warning */
    if (err != ERR_OK || ret_result->message_count > 0)
        return err;
    if (ret_result->connected && !connector->display.real_time)
        return diag_set(diag, ERR_NETWORK, "%s",
                        ret_result->error[0] ? ret_result->error
                                             : "the answer came, and there is no record in it: is "
                                               "--data-path right?");
    if (ret_result->connected)
        return diag_set(diag, ERR_TIMEOUT,
                        "connected, but nothing came within %u s%s%s: is the address right, and "
                        "does anything publish there?",
                        options->seconds_max, ret_result->error[0] ? ": " : "", ret_result->error);
    return diag_set(diag, ERR_NETWORK, "%s",
                    ret_result->error[0] ? ret_result->error : "no connection within the time");
}

/* --- the command --- */

static void help(FILE *out)
{
    fputs("Usage: ingestor try <url> [options]\n\n"
          "Connects, prints the schema it infers, where rows would go and the first rows.\n"
          "Stores nothing, and takes no message from anybody.\n\n"
          "  mqtt://[user:password@]host[:port]/topic/filter   (default topic: #)\n"
          "  http[s]://[user:password@]host[:port]/path?query  (asked once)\n"
          "  coap://host[:port]/path    also coap+tcp://, coaps://identity:key@…; without a path\n"
          "                             what the server offers, with * in it what matches\n\n"
          "  --messages N      stop after N messages, show N rows (default 20)\n"
          "  --seconds N       stop after N seconds (default 10)\n"
          "  --data-path PATH  where the records are in an HTTP answer, as data.items\n"
          "  --json            print JSON\n"
          "  --help            this text\n\n"
          "Example: ingestor try mqtt://localhost/smartcity/#\n"
          "         ingestor try https://api.example.org/readings --data-path data.items\n"
          "         ingestor try coap://localhost/sensors/temperature\n",
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
                                          {"data-path", required_argument, NULL, 'd'},
                                          {"json", no_argument, NULL, 'j'},
                                          {0}};
    int letter;
    optind = 0;
    while ((letter = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        bool good = letter == 'j' || letter == 'd' ||
                    (letter == 'n' && number_option(optarg, 100000, &options->messages_max)) ||
                    (letter == 's' && number_option(optarg, 3600, &options->seconds_max));
        options->json = options->json || letter == 'j';
        options->data_path = letter == 'd' ? optarg : options->data_path;
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
    struct probe_result *result = mem_zalloc(1, sizeof(*result));
    if (!result)
        return ERR_NO_MEMORY;
    enum err err = try_url_parse(options->url, options->data_path, &target, diag);
    if (err == ERR_OK)
        err = target_listen(options, &target, result, diag);
    if (err == ERR_OK)
        err = try_print(result->blocks, result->block_count, options->messages_max, options->json,
                        stdout, diag);
    probe_result_fini(result);
    try_target_fini(&target);
    mem_free(result);
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
