/*
 * What is pushed to a source. A push that comes while the source connects waits until that is
 * decided: who makes a source and posts to it at once is not turned away. Those that wait are as
 * many as there are requests of the API.
 */
#include "sources/source_parts.h"

#include <stdio.h>

static void push_refuse(struct connector_push *push)
{
    push->status = 503;
    snprintf(push->message, sizeof(push->message), "the data source is not running: try again");
    push->done(push);
}

static struct connector_push *waiting_take(struct source *source)
{
    struct connector_push *push = source->push_first;
    if (!push)
        return NULL;
    source->push_first = push->next;
    push->next = NULL;
    return push;
}

static void waiting_add(struct source *source, struct connector_push *push)
{
    push->next = NULL;
    if (source->push_first)
        source->push_last->next = push;
    else
        source->push_first = push;
    source->push_last = push;
}

static void on_push_letter(struct letter *letter)
{
    struct connector_push *push =
        (struct connector_push *)((char *)letter - offsetof(struct connector_push, letter));
    struct source *source = push->host;
    if (source->step == STEP_CONNECTING && source->wanted && !(source->events & EVENT_FAILED))
        waiting_add(source, push);
    else if (source->step == STEP_RUNNING)
        source->connector->ops.push(source->state, push);
    else
        push_refuse(push);
}

void source_push(struct source *source, struct connector_push *push)
{
    push->host = source;
    push->letter.run = on_push_letter;
    loop_post(source->loop, &push->letter);
}

void source_pushes_deliver(struct source *source)
{
    struct connector_push *push;
    while ((push = waiting_take(source)))
        source->connector->ops.push(source->state, push);
}

void source_pushes_refuse(struct source *source)
{
    struct connector_push *push;
    while ((push = waiting_take(source)))
        push_refuse(push);
}
