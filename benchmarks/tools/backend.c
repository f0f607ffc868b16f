/* Fake model servers on one port, as cheap as a server can be: one thread, canned replies.
 *
 * usage: backend PORT [FIRST_US] [PACE_US] [EVENTS] [DELAY_US]
 *
 *   /embed                  768 floats, as Text Embeddings Inference answers
 *   /v1/retrieval           4 documents of 450 characters
 *   /rerank                 4 scores, as Text Embeddings Inference answers
 *   /v1/chat/completions    a completion; with "stream":true EVENTS server-sent events (128)
 *   anything else           35 bytes of JSON
 *
 * FIRST_US: from the request to the first event. PACE_US: between events; 0 is as fast as they are taken.
 * DELAY_US: from the request to the headers of every reply that is not a stream.
 * Each event is an HTTP chunk and a write of its own, and carries "@" and the 16 digits of CLOCK_MONOTONIC in
 * microseconds, from which load.c knows how long it was under way. A last event has the finish reason, and one with the
 * usage follows where "include_usage":true asks for it, as OpenAI does.
 */
#include "net.h"

enum { MAX_CONNECTIONS = 8192, FIRST_BUFFER = 16384 };

#define SSE_HEAD \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define EVENT_START \
    "data: {\"id\":\"cmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1725530204,\"model\":\"m\","

struct reply {
    char *bytes;
    int count;
};

/* What a stream still has to send, in this order. */
enum stage { TOKENS, FINISH, USAGE, DONE, ENDED };

struct connection {
    int fd;
    char *in;
    int used, capacity;
    bool active;               /* a reply is under way: the next request waits */
    long long due_us;          /* when the next piece goes out */
    const struct reply *delayed; /* a whole reply that waits; NULL: a stream */
    enum stage stage;
    int tokens_left;
    bool wants_usage;
    char out[512]; /* the event that is being written */
    int out_count, out_sent;
};

static struct connection *connections[MAX_CONNECTIONS];
static int active[MAX_CONNECTIONS], active_count; /* descriptors of connections with a reply under way */
static long long first_us, pace_us, delay_us;
static int events = 128;
static struct reply embedding, documents, scores, completion, small, unknown;
static struct reply own_embedding, own_documents, own_ranking; /* the same in the form of Weft's own services */

static struct reply with_status(const char *status, const char *body) {
    struct reply reply;
    reply.count = asprintf(&reply.bytes,
                           "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                           status, strlen(body), body);
    return reply;
}

static struct reply canned(const char *body) { return with_status("200 OK", body); }

static void make_replies(void) {
    static char text[65536], own[65536 + 64];
    int n = sprintf(text, "[[");
    for (int i = 0; i < 768; i++) n += sprintf(text + n, "%s%.8f", i ? "," : "", ((i * 7919) % 1000) / 1000.0 - 0.5);
    sprintf(text + n, "]]");
    embedding = canned(text);
    sprintf(own, "{\"embeddings\":%s,\"model\":\"m\"}", text);
    own_embedding = canned(own);
    n = sprintf(text, "{\"id\":\"r1\",\"initial_query\":\"What is deep learning?\",\"top_n\":1,\"retrieved_docs\":[");
    for (int i = 0; i < 4; i++) {
        n += sprintf(text + n, "%s{\"id\":\"d%d\",\"text\":\"", i ? "," : "", i);
        for (int k = 0; k < 50; k++) n += sprintf(text + n, "word%04d ", k * i);
        n += sprintf(text + n, "\"}");
    }
    sprintf(text + n, "]}");
    documents = canned(text);
    sprintf(own, "{\"documents\":%s", strchr(text, '['));
    own_documents = canned(own);
    char *best = strstr(text, "{\"id\":\"d2\"");
    sprintf(own, "{\"documents\":[%.*s,\"score\":0.97}]}", (int)(strchr(best, '}') - best), best);
    own_ranking = canned(own);
    scores = canned("[{\"index\":2,\"score\":0.97},{\"index\":0,\"score\":0.5},{\"index\":1,\"score\":0.2},"
                    "{\"index\":3,\"score\":0.1}]");
    completion = canned(
        "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1725530204,\"model\":\"m\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"Deep learning is a subset of machine learning that uses neural "
        "networks.\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":13,"
        "\"total_tokens\":25}}");
    unknown = with_status("404 Not Found", "{\"error\":{\"message\":\"it does not say\"}}");
    small = canned("{\"message\":\"hello\",\"ok\":true,\"n\":1}");
}

static void deactivate(struct connection *c) {
    for (int i = 0; i < active_count; i++)
        if (active[i] == c->fd) {
            active[i] = active[--active_count];
            break;
        }
    c->active = false;
}

static void forget(struct connection *c) {
    if (c->active) deactivate(c);
    connections[c->fd] = NULL;
    close(c->fd);
    free(c->in);
    free(c);
}

static void activate(struct connection *c, long long due_us) {
    c->active = true;
    c->due_us = due_us;
    active[active_count++] = c->fd;
}

static bool start_reply(struct connection *c, const char *path, const char *body, int count) {
    const struct reply *reply = &small;
    if (!strncmp(path, "/v1/embeddings", 14)) reply = &own_embedding;
    else if (!strncmp(path, "/v1/reranking", 13)) reply = &own_ranking;
    else if (!strncmp(path, "/v1/retrieval", 13) && count > 8 && !memcmp(body, "{\"query\"", 8)) reply = &own_documents;
    else if (!strncmp(path, "/v1/contract", 12)) reply = &unknown;
    else if (!strncmp(path, "/embed", 6)) reply = &embedding;
    else if (!strncmp(path, "/v1/retrieval", 13)) reply = &documents;
    else if (!strncmp(path, "/rerank", 7)) reply = &scores;
    else if (!strncmp(path, "/v1/chat/completions", 20)) {
        reply = &completion;
        if (memmem(body, count, "\"stream\":true", 13) || memmem(body, count, "\"stream\": true", 14)) {
            c->delayed = NULL;
            c->stage = TOKENS;
            c->tokens_left = events;
            c->wants_usage = memmem(body, count, "\"include_usage\":true", 20) != NULL;
            c->out_count = c->out_sent = 0;
            activate(c, now_us() + first_us);
            return write_all(c->fd, SSE_HEAD, sizeof SSE_HEAD - 1);
        }
    }
    if (!delay_us) return write_all(c->fd, reply->bytes, reply->count);
    c->delayed = reply;
    activate(c, now_us() + delay_us);
    return true;
}

/* Answer the requests that are complete in the buffer; false when the client is gone. */
static bool answer(struct connection *c) {
    while (!c->active) {
        struct head head = read_head(c->in, c->used);
        int body = head.content_length < 0 ? 0 : head.content_length;
        if (!head.bytes || c->used < head.bytes + body) return true;
        char *path = memchr(c->in, ' ', head.bytes);
        if (!path || !start_reply(c, path + 1, c->in + head.bytes, body)) return false;
        c->used -= head.bytes + body;
        memmove(c->in, c->in + head.bytes + body, c->used);
    }
    return true;
}

static void next_event(struct connection *c) {
    char event[400];
    int n = 0;
    if (c->stage == TOKENS && c->tokens_left == 0) c->stage = FINISH;
    switch (c->stage) {
    case TOKENS:
        n = sprintf(event,
                    EVENT_START "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"@%016lld \"},\"finish_reason\":null}]}\n\n",
                    now_us());
        c->tokens_left--;
        break;
    case FINISH:
        n = sprintf(event, EVENT_START "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
        c->stage = c->wants_usage ? USAGE : DONE;
        break;
    case USAGE:
        n = sprintf(event,
                    EVENT_START
                    "\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n",
                    events, events + 12);
        c->stage = DONE;
        break;
    default:
        n = sprintf(event, "data: [DONE]\n\n");
        c->stage = ENDED;
    }
    c->out_count = sprintf(c->out, "%x\r\n%s\r\n%s", n, event, c->stage == ENDED ? "0\r\n\r\n" : "");
    c->out_sent = 0;
}

/* Send what is due on one connection; false when the client is gone. */
static bool send_due(struct connection *c, long long now) {
    if (c->delayed) {
        deactivate(c);
        return write_all(c->fd, c->delayed->bytes, c->delayed->count) && answer(c);
    }
    if (c->out_sent == c->out_count) next_event(c);
    ssize_t written = write(c->fd, c->out + c->out_sent, c->out_count - c->out_sent);
    if (written < 0) return errno == EAGAIN; /* a client that does not read holds up only itself */
    c->out_sent += written;
    if (c->out_sent < c->out_count) return true;
    /* The pace is kept against the plan, not against when it was sent: a late event does not delay the rest. */
    c->due_us = pace_us ? c->due_us + pace_us : now;
    if (c->stage != ENDED) return true;
    deactivate(c);
    return answer(c);
}

static int wait_ms(void) {
    if (!active_count) return -1;
    long long now = now_us(), earliest = connections[active[0]]->due_us;
    for (int i = 1; i < active_count; i++)
        if (connections[active[i]]->due_us < earliest) earliest = connections[active[i]]->due_us;
    return earliest <= now ? 0 : (int)((earliest - now + 999) / 1000);
}

static void accept_all(int epoll, int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= MAX_CONNECTIONS) {
            close(fd);
            continue;
        }
        struct connection *c = calloc(1, sizeof *c);
        no_delay(fd);
        c->fd = fd;
        c->capacity = FIRST_BUFFER;
        c->in = malloc(c->capacity + 1);
        connections[fd] = c;
        watch(epoll, fd, c);
    }
}

static void read_from(struct connection *c) {
    if (c->used == c->capacity) c->in = realloc(c->in, (c->capacity *= 2) + 1);
    ssize_t count = read(c->fd, c->in + c->used, c->capacity - c->used);
    if (count < 0 && errno == EAGAIN) return;
    if (count > 0) {
        c->used += count;
        if (answer(c)) return;
    }
    forget(c);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: backend PORT [FIRST_US] [PACE_US] [EVENTS] [DELAY_US]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (argc > 2) first_us = atoll(argv[2]);
    if (argc > 3) pace_us = atoll(argv[3]);
    if (argc > 4) events = atoi(argv[4]);
    if (argc > 5) delay_us = atoll(argv[5]);
    make_replies();
    int listener = listen_on(atoi(argv[1])), epoll = epoll_create1(0);
    struct epoll_event ready[256];
    watch(epoll, listener, NULL);
    for (;;) {
        int count = epoll_wait(epoll, ready, 256, wait_ms());
        for (int i = 0; i < count; i++) {
            if (!ready[i].data.ptr) accept_all(epoll, listener);
            else read_from(ready[i].data.ptr);
        }
        long long now = now_us();
        for (int i = 0; i < active_count;) {
            struct connection *c = connections[active[i]];
            if (c->due_us <= now && !send_due(c, now)) forget(c);
            /* What ended has been replaced in this place by the last of the list. */
            if (i < active_count && connections[active[i]] == c) i++;
        }
    }
}
