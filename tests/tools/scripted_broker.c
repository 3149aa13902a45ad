/* scaffolding of the next commit */
#include "support/broker_flood.h"
#include <getopt.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    struct flood_options options = {.qos = 1,
                                    .topic_count = 100,
                                    .message_count = 1000000,
                                    .payload_bytes = 200,
                                    .window = 65535,
                                    .topic_prefix = "smartcity/sensors"};
    static const struct option longs[] = {
        {"flood", no_argument, NULL, 'f'},         {"qos", required_argument, NULL, 'q'},
        {"topics", required_argument, NULL, 't'},  {"messages", required_argument, NULL, 'n'},
        {"payload", required_argument, NULL, 's'}, {"window", required_argument, NULL, 'w'},
        {"port", required_argument, NULL, 'p'},    {"exit", no_argument, NULL, 'x'},
        {"prefix", required_argument, NULL, 'P'},  {0}};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        unsigned long long v = optarg ? strtoull(optarg, NULL, 10) : 0;
        switch (c) {
        case 'q':
            options.qos = (uint8_t)v;
            break;
        case 't':
            options.topic_count = (uint32_t)v;
            break;
        case 'n':
            options.message_count = v;
            break;
        case 's':
            options.payload_bytes = (uint32_t)v;
            break;
        case 'w':
            options.window = (uint32_t)v;
            break;
        case 'p':
            options.port = (uint16_t)v;
            break;
        case 'x':
            options.exit_when_done = true;
            break;
        case 'P':
            options.topic_prefix = optarg;
            break;
        default:
            break;
        }
    }
    return flood_run(&options, stdout) != ERR_OK;
}
