#include "api/stream_hub.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/thread.h"
#include "pipeline/clump.h"

#define STREAM_QUEUE_MAX    8192       /* clumps that wait for one client */
#define STREAM_CLIENT_BYTES (1 * MIB)  /* and their bytes; one larger clump may stand alone */
#define STREAM_PLACES_BYTES (32 * MIB) /* as many messages as the clumps can hold */
#define STREAM_PIECE_BYTES  (64 * KIB) /* written at once, about */
#define STREAM_HEARTBEAT_NS (15 * NS_PER_S)

/*
 * The clumps of one block stand together in a client's queue, but each is of one topic. Therefore
 * the first ones of the same block are written as one run, message by message in the order of the
 * block, and leave the queue together. What another worker brings of that block while the run is
 * written is a run of its own: only among datasets may the order differ from that of arrival.
 */

struct stream {
    struct stream *next;
    struct stream *previous;
    struct stream_hub *hub;
    struct clump *queue[STREAM_QUEUE_MAX]; /* a ring */
    uint32_t first;
    uint32_t count;
    size_t queue_bytes;
    uint32_t run_count; /* of the queue: those that are being written */
    struct buf places;  /* their messages, by the connection's thread only */
    size_t places_written;
    uint64_t dropped;  /* messages, not yet told */
    int64_t spoken_ns; /* when something was last written */
    bool greeted;
    void (*wake)(void *ctx); /* the connection sleeps */
    void *wake_ctx;
    size_t dataset_size;
    uint8_t dataset[];
};

struct stream_hub {
    struct recent *recent;
    const struct clock *clock;
    struct mutex subscription_lock; /* taken before any other */
    struct mutex lock;
    struct stream *streams;
    size_t count;
    size_t queue_bytes; /* over all clients, though they share */
    bool stopped;
};

/* With the lock. The lock stays held: a stream cannot go while it is being woken. */
static void stream_wake(struct stream *stream)
{
    void (*wake)(void *ctx) = stream->wake;
    stream->wake = NULL;
    if (wake)
        wake(stream->wake_ctx);
}

static bool stream_wants(const struct stream *stream, const struct clump *clump)
{
    return stream->dataset_size == 0 ||
           bytes_equal(clump->route->view.dataset_id,
                       bytes_from(stream->dataset, stream->dataset_size));
}

static bool stream_has_room(const struct stream *stream, const struct clump *clump)
{
    size_t bytes = clump->size_bytes;
    return stream->count < STREAM_QUEUE_MAX &&
           (stream->count == 0 || stream->queue_bytes + bytes <= STREAM_CLIENT_BYTES) &&
           stream->hub->queue_bytes + bytes <= LIMIT_API_STREAM_BYTES;
}

static void stream_add(struct stream *stream, struct clump *clump)
{
    stream->dropped += clump->skipped;
    if (stream_has_room(stream, clump)) {
        clump_ref(clump);
        stream->queue[(stream->first + stream->count++) % STREAM_QUEUE_MAX] = clump;
        stream->queue_bytes += clump->size_bytes;
        stream->hub->queue_bytes += clump->size_bytes;
    } else {
        stream->dropped += clump->count;
    }
}

static void on_clumps(void *ctx, struct clump *const *clumps, size_t count)
{
    struct stream_hub *hub = ctx;
    mutex_lock(&hub->lock);
    for (struct stream *stream = hub->streams; stream; stream = stream->next) {
        bool any = false;
        for (size_t i = 0; i < count; i++) {
            if (!stream_wants(stream, clumps[i]))
                continue;
            stream_add(stream, clumps[i]);
            any = true;
        }
        if (any)
            stream_wake(stream);
    }
    mutex_unlock(&hub->lock);
}

/* NULL: none waits. */
static struct clump *stream_take(struct stream *stream)
{
    if (stream->count == 0)
        return NULL;
    struct clump *clump = stream->queue[stream->first];
    stream->first = (stream->first + 1) % STREAM_QUEUE_MAX;
    stream->count--;
    stream->queue_bytes -= clump->size_bytes;
    stream->hub->queue_bytes -= clump->size_bytes;
    return clump;
}

static enum err write_row(void *ctx, struct bytes json)
{
    struct buf *out = ctx;
    buf_text(out, "data: ");
    buf_append(out, json.data, json.size);
    return buf_text(out, "\n\n");
}

static const struct clump *run_clump(const struct stream *stream, uint32_t index)
{
    return stream->queue[(stream->first + index) % STREAM_QUEUE_MAX];
}

/* With the lock: those at the head of the queue that are of one block, unless a run is on. */
static void run_begin(struct stream *stream)
{
    if (stream->run_count > 0 || stream->count == 0)
        return;
    uint64_t block_number = run_clump(stream, 0)->block_number;
    stream->run_count = 1;
    while (stream->run_count < stream->count &&
           run_clump(stream, stream->run_count)->block_number == block_number)
        stream->run_count++;
    stream->places_written = 0;
    buf_clear(&stream->places);
}

static void run_end(struct stream *stream)
{
    mutex_lock(&stream->hub->lock);
    for (; stream->run_count > 0; stream->run_count--)
        clump_unref(stream_take(stream));
    mutex_unlock(&stream->hub->lock);
    buf_clear(&stream->places);
}

/* Without memory they are dropped. */
static void run_find(struct stream *stream, uint64_t *dropped)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < stream->run_count && err == ERR_OK; i++)
        err = clump_places_add(run_clump(stream, i), &stream->places);
    if (err == ERR_OK) {
        clump_places_order(&stream->places);
        return;
    }
    for (uint32_t i = 0; i < stream->run_count; i++)
        *dropped += run_clump(stream, i)->count;
    buf_fini(&stream->places);
    buf_init(&stream->places, STREAM_PLACES_BYTES);
}

/* Rows that cannot be rendered (memory) are dropped rows. */
static void place_write(const struct clump_place *place, struct buf *out, uint64_t *dropped)
{
    size_t before = out->size;
    enum err err = clump_place_rows(place, write_row, out);
    if (err == ERR_OK && out->err == ERR_OK)
        return;
    ++*dropped;
    out->size = before;
    out->err = ERR_OK;
}

/* As much of the run as makes a piece. */
static void run_write(struct stream *stream, struct buf *out, uint64_t *dropped)
{
    if (stream->places.size == 0)
        run_find(stream, dropped);
    const struct clump_place *places = (const void *)stream->places.data;
    size_t count = stream->places.size / sizeof(*places);
    size_t until = out->size + STREAM_PIECE_BYTES;
    while (stream->places_written < count && out->size < until)
        place_write(&places[stream->places_written++], out, dropped);
    if (stream->places_written == count)
        run_end(stream);
}

static enum err stream_next(void *ctx, struct buf *out, bool *ret_done)
{
    struct stream *stream = ctx;
    struct stream_hub *hub = stream->hub;
    mutex_lock(&hub->lock);
    int64_t now_ns = clock_monotonic_ns(hub->clock);
    bool stopped = hub->stopped;
    if (!stopped)
        run_begin(stream);
    bool rows = !stopped && stream->run_count > 0;
    uint64_t dropped = stream->dropped;
    stream->dropped = 0;
    bool heartbeat = now_ns - stream->spoken_ns >= STREAM_HEARTBEAT_NS;
    if (rows || dropped > 0 || heartbeat)
        stream->spoken_ns = now_ns;
    mutex_unlock(&hub->lock);

    if (!stream->greeted)
        buf_text(out, "retry: 3000\n: rows as they arrive\n\n");
    else if (heartbeat && !rows)
        buf_text(out, ": still here\n\n");
    stream->greeted = true;
    if (rows)
        run_write(stream, out, &dropped);
    if (dropped > 0)
        buf_printf(out, "event: dropped\ndata: {\"dropped\":%llu}\n\n",
                   (unsigned long long)dropped);
    *ret_done = stopped;
    return out->err == ERR_OK && out->size == 0 && !stopped ? ERR_AGAIN : out->err;
}

static bool stream_due(const struct stream *stream, int64_t now_ns)
{
    return stream->count > 0 || stream->dropped > 0 || stream->hub->stopped ||
           now_ns - stream->spoken_ns >= STREAM_HEARTBEAT_NS;
}

static void stream_wait(void *ctx, void (*wake)(void *ctx), void *wake_ctx)
{
    struct stream *stream = ctx;
    struct stream_hub *hub = stream->hub;
    mutex_lock(&hub->lock);
    stream->wake = wake;
    stream->wake_ctx = wake_ctx;
    if (stream_due(stream, clock_monotonic_ns(hub->clock)))
        stream_wake(stream);
    mutex_unlock(&hub->lock);
}

/* Subscribed while there are clients. Not under the lock: recent calls on_clumps under its own. */
static void subscription_update(struct stream_hub *hub)
{
    mutex_lock(&hub->subscription_lock);
    mutex_lock(&hub->lock);
    bool any = hub->count > 0 && !hub->stopped;
    mutex_unlock(&hub->lock);
    recent_subscribe(hub->recent, any ? on_clumps : NULL, hub);
    mutex_unlock(&hub->subscription_lock);
}

static void stream_free(void *ctx)
{
    struct stream *stream = ctx;
    struct stream_hub *hub = stream->hub;
    mutex_lock(&hub->lock);
    *(stream->previous ? &stream->previous->next : &hub->streams) = stream->next;
    if (stream->next)
        stream->next->previous = stream->previous;
    hub->count--;
    for (struct clump *clump; (clump = stream_take(stream));)
        clump_unref(clump);
    mutex_unlock(&hub->lock);
    buf_fini(&stream->places);
    mem_free(stream);
}

static enum err stream_add_client(struct stream_hub *hub, struct stream *stream)
{
    enum err err = ERR_OK;
    mutex_lock(&hub->lock);
    if (hub->stopped)
        err = ERR_STOPPED;
    else if (hub->count >= LIMIT_API_STREAM_CLIENTS)
        err = ERR_TOO_MANY;
    if (err == ERR_OK) {
        stream->spoken_ns = clock_monotonic_ns(hub->clock);
        stream->next = hub->streams;
        if (hub->streams)
            hub->streams->previous = stream;
        hub->streams = stream;
        hub->count++;
    }
    mutex_unlock(&hub->lock);
    return err;
}

enum err stream_hub_open(struct stream_hub *hub, struct bytes dataset_id,
                         struct api_response *response)
{
    if (!hub)
        return ERR_STOPPED;
    struct stream *stream = mem_zalloc(1, sizeof(*stream) + dataset_id.size);
    if (!stream)
        return ERR_NO_MEMORY;
    stream->hub = hub;
    stream->dataset_size = dataset_id.size;
    buf_init(&stream->places, STREAM_PLACES_BYTES);
    if (dataset_id.size > 0)
        memcpy(stream->dataset, dataset_id.data, dataset_id.size);
    enum err err = stream_add_client(hub, stream);
    if (err != ERR_OK) {
        mem_free(stream);
        return err;
    }
    subscription_update(hub);
    response->stream = stream;
    response->next = stream_next;
    response->wait = stream_wait;
    response->stream_free = stream_free;
    return ERR_OK;
}

enum err stream_hub_new(struct recent *recent, const struct clock *clock,
                        struct stream_hub **ret_hub)
{
    struct stream_hub *hub = mem_zalloc(1, sizeof(*hub));
    if (!hub)
        return ERR_NO_MEMORY;
    hub->recent = recent;
    hub->clock = clock;
    mutex_init(&hub->lock);
    mutex_init(&hub->subscription_lock);
    *ret_hub = hub;
    return ERR_OK;
}

void stream_hub_stop(struct stream_hub *hub)
{
    if (!hub)
        return;
    mutex_lock(&hub->lock);
    hub->stopped = true;
    for (struct stream *stream = hub->streams; stream; stream = stream->next)
        stream_wake(stream);
    mutex_unlock(&hub->lock);
    subscription_update(hub);
}

void stream_hub_tick(struct stream_hub *hub)
{
    if (!hub)
        return;
    int64_t now_ns = clock_monotonic_ns(hub->clock);
    mutex_lock(&hub->lock);
    for (struct stream *stream = hub->streams; stream; stream = stream->next)
        if (stream->wake && stream_due(stream, now_ns))
            stream_wake(stream);
    mutex_unlock(&hub->lock);
    /* Here, and not when a client leaves: nobody is in a hurry to be told less. */
    subscription_update(hub);
}

void stream_hub_free(struct stream_hub *hub)
{
    if (!hub)
        return;
    recent_subscribe(hub->recent, NULL, NULL);
    mutex_fini(&hub->lock);
    mutex_fini(&hub->subscription_lock);
    mem_free(hub);
}
