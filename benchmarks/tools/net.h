/* What the three programs share: time, sockets on loopback, and reading HTTP/1.1 heads. */
#ifndef WEFT_BENCH_NET_H
#define WEFT_BENCH_NET_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

/* The clock that all processes of one machine share. */
static inline long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static inline void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline struct sockaddr_in loopback(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, (void *)&address, sizeof address) || listen(fd, 1024)) die("listen");
    return fd;
}

/* A blocking connection, or -1. */
static inline int dial(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(port);
    if (connect(fd, (void *)&address, sizeof address)) {
        close(fd);
        return -1;
    }
    no_delay(fd);
    return fd;
}

static inline void watch(int epoll, int fd, void *data) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

/* Write everything, waiting where the socket is full; false when the other side is gone. */
static inline bool write_all(int fd, const char *bytes, size_t count) {
    while (count > 0) {
        ssize_t written = write(fd, bytes, count);
        if (written < 0 && (errno == EAGAIN || errno == EINTR)) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, 1000);
            continue;
        }
        if (written <= 0) return false;
        bytes += written;
        count -= written;
    }
    return true;
}

/* The head of one message at the start of a buffer. */
struct head {
    int bytes;          /* of the head with its empty line; 0: it is not complete */
    int content_length; /* -1: not said */
    bool chunked;
    bool closes;
};

/* Reads a head in place; the buffer must have room for one more byte. */
static inline struct head read_head(char *buffer, int used) {
    struct head head = {.content_length = -1};
    char *end = memmem(buffer, used, "\r\n\r\n", 4);
    if (!end) return head;
    head.bytes = end - buffer + 4;
    *end = 0; /* so that the searches stop at the end of the head */
    char *length = strcasestr(buffer, "\r\ncontent-length:");
    if (length) head.content_length = atoi(length + 17);
    char *coding = strcasestr(buffer, "\r\ntransfer-encoding:");
    head.chunked = coding && strcasestr(coding, "chunked");
    head.closes = strcasestr(buffer, "\r\nconnection: close") != NULL;
    *end = '\r';
    return head;
}

#endif
