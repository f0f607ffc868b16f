/* The floor: what a gateway costs that does nothing but move bytes.
 *
 * usage: gateway PORT BACKEND_PORT CHAT_PORT
 *
 * A request goes through /embed, /v1/retrieval, /rerank and /v1/chat/completions, each fed the body of the reply before
 * it; a request with "stream":true has its last reply relayed as it comes. /sse makes the last call only. No validation,
 * no limits, no timeouts, one backend connection for each client connection. Not to be used, only to be compared with.
 */
#include "net.h"

enum { HOPS = 4, ROOM = 65536, MAX_REQUEST = 1 << 20 };

static const char *const paths[HOPS] = {"/embed", "/v1/retrieval", "/rerank", "/v1/chat/completions"};
static const char streamed_chat[] = "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";

/* One socket: a client's, or a backend's that belongs to it. */
struct side {
    int fd;
    struct side *client;  /* of a backend connection; NULL: this is a client */
    struct side *backend; /* of a client: where the first hops go */
    struct side *chat;    /* of a client: where the last hop goes; may be the same */
    char *in;
    int used, capacity;
    int hop;
    bool streams;  /* of a client: its request asked for a stream */
    bool relaying; /* of a backend: what it sends goes straight to the client */
};

static int epoll, backend_port, chat_port;
static char request[MAX_REQUEST];

static struct side *new_side(int fd, struct side *client) {
    struct side *side = calloc(1, sizeof *side);
    side->fd = fd;
    side->client = client;
    side->capacity = ROOM;
    side->in = malloc(side->capacity);
    watch(epoll, fd, side);
    return side;
}

static void send_hop(struct side *client, int hop, const char *body, int count) {
    struct side *to = hop == HOPS - 1 ? client->chat : client->backend;
    client->hop = hop;
    to->used = 0;
    to->relaying = false;
    if (count > MAX_REQUEST - 200) return;
    int head = sprintf(request,
                       "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
                       paths[hop], count);
    memcpy(request + head, body, count);
    write_all(to->fd, request, head + count);
}

static void from_client(struct side *client, struct head head) {
    int count = head.content_length < 0 ? 0 : head.content_length;
    if (client->used < head.bytes + count) return;
    const char *body = client->in + head.bytes;
    client->streams = memmem(body, count, "\"stream\":true", 13) != NULL;
    client->used = 0;
    bool is_relay = memmem(client->in, head.bytes, " /sse", 5) != NULL;
    send_hop(client, is_relay ? HOPS - 1 : 0, body, count);
}

static void from_backend(struct side *side, struct head head) {
    struct side *client = side->client;
    if (head.chunked) { /* the stream: from here on, bytes go through as they come */
        side->relaying = true;
        write_all(client->fd, side->in, side->used);
        side->used = 0;
        return;
    }
    if (side->used < head.bytes + head.content_length) return;
    side->used = 0;
    if (client->hop == HOPS - 1) write_all(client->fd, side->in, head.bytes + head.content_length);
    else if (client->hop == HOPS - 2 && client->streams)
        send_hop(client, HOPS - 1, streamed_chat, sizeof streamed_chat - 1);
    else send_hop(client, client->hop + 1, side->in + head.bytes, head.content_length);
}

static void accept_all(int listener) {
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
        no_delay(fd);
        struct side *client = new_side(fd, NULL);
        int backend = dial(backend_port), chat = chat_port == backend_port ? backend : dial(chat_port);
        if (backend < 0 || chat < 0) die("backend");
        client->backend = new_side(backend, client);
        client->chat = chat == backend ? client->backend : new_side(chat, client);
    }
}

static void read_from(struct side *side) {
    if (side->fd < 0) return;
    if (side->capacity - side->used < ROOM) side->in = realloc(side->in, side->capacity *= 2);
    ssize_t count = read(side->fd, side->in + side->used, side->capacity - side->used - 1);
    if (count <= 0) { /* the program lives as long as a measurement: memory of closed sides is not taken back */
        if (side->client) return;
        close(side->fd);
        close(side->backend->fd);
        if (side->chat != side->backend) close(side->chat->fd);
        side->fd = side->backend->fd = side->chat->fd = -1;
        return;
    }
    if (side->relaying) {
        write_all(side->client->fd, side->in, count);
        return;
    }
    side->used += count;
    struct head head = read_head(side->in, side->used);
    if (!head.bytes) return;
    if (side->client) from_backend(side, head);
    else from_client(side, head);
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: gateway PORT BACKEND_PORT CHAT_PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    backend_port = atoi(argv[2]);
    chat_port = atoi(argv[3]);
    epoll = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    struct epoll_event ready[256];
    watch(epoll, listener, NULL);
    for (;;) {
        int count = epoll_wait(epoll, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            if (!ready[i].data.ptr) accept_all(listener);
            else read_from(ready[i].data.ptr);
        }
    }
}
