/* A load generator: keeps CONCURRENCY requests under way over keep-alive connections and prints one line of JSON.
 *
 * usage: load PORT PATH BODYFILE CONCURRENCY SECONDS [--chain] [--requests N] [--header "Name: value"]
 *
 * --chain     one unit of work is the four calls of the chain, made here straight to the backend: what is left of the
 *             time when there is no gateway.
 * --requests  ends when so many are done (and after SECONDS at the latest) instead of after SECONDS.
 *
 * The line: done, errors (transport, or a status other than 200), rps, p50 and p99 of a unit in microseconds, first50 and
 * first99 to the first byte of the last reply's body, events and the reads of the socket that brought at least one,
 * event50 and event99 from when backend.c made an event until it was read here, bytes, seconds.
 */
#include "net.h"

enum { MAX_SAMPLES = 4000000, MAX_HEAD = 16384, READ = 262144, MAX_ERRORS = 5000, STEPS = 4 };

/* Where the decoding of a body is. */
enum part { HEAD, BODY, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER, COMPLETE };

struct connection {
    int fd, step;
    enum part part;
    long long left; /* bytes of the body or of the chunk */
    bool closes, has_body, failed;
    char head[MAX_HEAD + 1];
    int head_used, line_used;
    char line[32];         /* of the chunk's size, or of the trailer: as much as is needed */
    int digits;            /* of a timestamp, -1: no "@" before */
    long long stamp, started;
};

struct samples {
    int *values, count;
};

static char *requests[STEPS];
static int request_sizes[STEPS], steps = 1, port, epoll;
static long long done, errors, events, reads, bytes, begun, wanted = -1;
static struct samples whole, first, delays;

static void add(struct samples *samples, long long value) {
    if (samples->count < MAX_SAMPLES) samples->values[samples->count++] = (int)value;
}

static int ascending(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

static int percentile(const struct samples *samples, double share) {
    if (!samples->count) return -1;
    int index = (int)(share * samples->count);
    return samples->values[index < samples->count ? index : samples->count - 1];
}

static void start(struct connection *c) {
    if (c->step == 0 && wanted >= 0 && begun++ >= wanted) return;
    if (c->fd < 0) {
        for (int tries = 0; (c->fd = dial(port)) < 0; tries++) {
            if (tries == 200) die("connect");
            usleep(10000);
        }
        watch(epoll, c->fd, c);
    }
    c->part = HEAD;
    c->head_used = c->line_used = 0;
    c->has_body = c->closes = c->failed = false;
    c->digits = -1;
    if (c->step == 0) c->started = now_us();
    write_all(c->fd, requests[c->step], request_sizes[c->step]);
}

static void drop(struct connection *c) {
    close(c->fd);
    c->fd = -1;
}

static void finish(struct connection *c) {
    if (c->closes) drop(c);
    if (++c->step == steps) {
        c->step = 0;
        done++;
        add(&whole, now_us() - c->started);
    }
    start(c);
}

/* Count the events in a piece of a body; true if there was one. */
static bool count_events(struct connection *c, const char *text, long long count, long long now) {
    bool found = false;
    for (long long i = 0; i < count; i++) {
        if (c->digits < 0) {
            const char *mark = memchr(text + i, '@', count - i);
            if (!mark) break;
            i = mark - text;
            c->digits = 0;
            c->stamp = 0;
        } else if (text[i] < '0' || text[i] > '9') {
            c->digits = -1;
        } else {
            c->stamp = c->stamp * 10 + (text[i] - '0');
            if (++c->digits < 16) continue;
            events++;
            found = true;
            add(&delays, now - c->stamp);
            c->digits = -1;
        }
    }
    return found;
}

/* Take bytes of a line until its line feed; returns how many were taken, sets *whole_line. */
static int take_line(struct connection *c, const char *text, int count, bool *whole_line) {
    const char *end = memchr(text, '\n', count);
    int taken = end ? end - text + 1 : count;
    int kept = taken < (int)sizeof c->line - 1 - c->line_used ? taken : (int)sizeof c->line - 1 - c->line_used;
    memcpy(c->line + c->line_used, text, kept);
    c->line_used += kept;
    c->line[c->line_used] = 0;
    *whole_line = end != NULL;
    return taken;
}

/* Read the body in a piece of input; true if it brought an event. Ends in COMPLETE when the reply is whole. */
static bool take_body(struct connection *c, const char *text, int count, long long now) {
    bool found = false, whole_line;
    while (count > 0 && c->part != COMPLETE) {
        int taken;
        switch (c->part) {
        case BODY:
        case CHUNK:
            if (!c->has_body && c->step == steps - 1) add(&first, now - c->started);
            c->has_body = true;
            taken = count < c->left ? count : (int)c->left;
            bytes += taken;
            found |= count_events(c, text, taken, now);
            c->left -= taken;
            if (!c->left) c->part = c->part == BODY ? COMPLETE : CHUNK_END;
            break;
        case CHUNK_SIZE:
            taken = take_line(c, text, count, &whole_line);
            if (!whole_line) break;
            c->left = strtoll(c->line, NULL, 16);
            c->part = c->left ? CHUNK : TRAILER;
            c->line_used = 0;
            break;
        case CHUNK_END:
            taken = take_line(c, text, count, &whole_line);
            if (whole_line) c->part = CHUNK_SIZE, c->line_used = 0;
            break;
        default: /* TRAILER: until an empty line */
            taken = take_line(c, text, count, &whole_line);
            if (!whole_line) break;
            if (c->line_used <= 2) c->part = COMPLETE;
            c->line_used = 0;
        }
        text += taken;
        count -= taken;
    }
    return found;
}

/* Take bytes of the head; returns how many of them belonged to it, -1 when it is too long. */
static int take_head(struct connection *c, const char *text, int count) {
    int before = c->head_used, kept = count < MAX_HEAD - before ? count : MAX_HEAD - before;
    memcpy(c->head + before, text, kept);
    c->head_used += kept;
    struct head head = read_head(c->head, c->head_used);
    if (!head.bytes) return c->head_used == MAX_HEAD ? -1 : count;
    c->head[head.bytes - 1] = 0;
    if (strncmp(c->head + 9, "200", 3)) {
        if (errors < 3) fprintf(stderr, "%.300s\n", c->head);
        errors++;
    }
    c->closes = head.closes;
    c->left = head.content_length;
    c->part = head.chunked ? CHUNK_SIZE : head.content_length > 0 ? BODY : COMPLETE;
    return head.bytes - before;
}

static void read_from(struct connection *c) {
    static char buffer[READ];
    if (c->fd < 0) return;
    ssize_t count = read(c->fd, buffer, sizeof buffer);
    int taken = 0;
    if (count > 0 && c->part == HEAD) taken = take_head(c, buffer, count);
    if (count <= 0 || taken < 0) {
        errors++;
        drop(c);
        c->step = 0;
        start(c);
        return;
    }
    if (c->part != HEAD && take_body(c, buffer + taken, count - taken, now_us())) reads++;
    if (c->part == COMPLETE) finish(c);
}

static void make_request(int index, const char *path, const char *body, int count, const char *header) {
    requests[index] = malloc(count + strlen(path) + strlen(header) + 200);
    request_sizes[index] = sprintf(
        requests[index],
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s%s\r\n", path,
        port, count, header, *header ? "\r\n" : "");
    memcpy(requests[index] + request_sizes[index], body, count);
    request_sizes[index] += count;
}

static int read_file(const char *path, char *buffer, int room) {
    FILE *file = fopen(path, "r");
    if (!file) die(path);
    int count = fread(buffer, 1, room, file);
    fclose(file);
    return count;
}

int main(int argc, char **argv) {
    if (argc < 6) {
        fprintf(stderr, "usage: load PORT PATH BODYFILE CONCURRENCY SECONDS [--chain] [--requests N] [--header H]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    static char body[1 << 20];
    const char *header = "", *last = argv[2];
    int concurrency = atoi(argv[4]), count = read_file(argv[3], body, sizeof body);
    port = atoi(argv[1]);
    for (int i = 6; i < argc; i++) {
        if (!strcmp(argv[i], "--chain")) steps = STEPS;
        else if (!strcmp(argv[i], "--requests") && i + 1 < argc) wanted = atoll(argv[++i]);
        else if (!strcmp(argv[i], "--header") && i + 1 < argc) header = argv[++i];
    }
    const char *chain[STEPS] = {"/embed", "/v1/retrieval", "/rerank", last};
    for (int i = 0; i < steps; i++) make_request(i, steps == 1 ? last : chain[i], body, count, header);
    struct samples *all[] = {&whole, &first, &delays};
    for (int i = 0; i < 3; i++) all[i]->values = malloc(MAX_SAMPLES * sizeof(int));
    epoll = epoll_create1(0);
    struct connection *connections = calloc(concurrency, sizeof *connections);
    long long begin = now_us(), end = begin + (long long)(atof(argv[5]) * 1e6);
    for (int i = 0; i < concurrency; i++) {
        connections[i].fd = -1;
        start(&connections[i]);
    }
    struct epoll_event ready[256];
    while (now_us() < end && errors < MAX_ERRORS && (wanted < 0 || done + errors < wanted)) {
        int found = epoll_wait(epoll, ready, 256, 20);
        for (int i = 0; i < found; i++) read_from(ready[i].data.ptr);
    }
    double seconds = (now_us() - begin) / 1e6;
    for (int i = 0; i < 3; i++) qsort(all[i]->values, all[i]->count, sizeof(int), ascending);
    printf("{\"done\":%lld,\"errors\":%lld,\"rps\":%.1f,\"p50\":%d,\"p99\":%d,\"first50\":%d,\"first99\":%d,"
           "\"events\":%lld,\"reads\":%lld,\"event50\":%d,\"event99\":%d,\"bytes\":%lld,\"seconds\":%.3f}\n",
           done, errors, done / seconds, percentile(&whole, .5), percentile(&whole, .99), percentile(&first, .5),
           percentile(&first, .99), events, reads, percentile(&delays, .5), percentile(&delays, .99), bytes, seconds);
    return 0;
}
