/* Posts the bodies of a file over many connections at once, each waiting for its answer, as fast as they are taken.
 *
 *   player PORT PATH TYPE FILE CONNECTIONS
 *
 * FILE has one body after another, each behind its length in four bytes, the lowest first. It prints one JSON object:
 * requests, seconds, the median and the 99th percentile of the time to an answer, and how many were not answered 2xx.
 * It ends early if the program that started it does.
 * Build: cc -O2 -o player player.c
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 512, ANSWER = 256 << 10 };

struct connection {
    int server;
    struct iovec unsent[2];
    char head[HEAD], answer[ANSWER];
    size_t answered;
    double began;
};

static const char *path, *type;
static const uint8_t *next, *end;
static double *took;
static size_t answers, others;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Sends what the socket takes; the rest follows when it takes more. */
static void send_rest(struct connection *it)
{
    while (it->unsent[0].iov_len + it->unsent[1].iov_len > 0) {
        ssize_t sent = writev(it->server, it->unsent, 2);
        if (sent < 0)
            return;
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)sent < it->unsent[i].iov_len ? (size_t)sent : it->unsent[i].iov_len;
            it->unsent[i].iov_base = (char *)it->unsent[i].iov_base + part;
            it->unsent[i].iov_len -= part;
            sent -= (ssize_t)part;
        }
    }
}

/* Begins the next request; 0: there is none. */
static int begin(struct connection *it)
{
    if (end - next < 4)
        return 0;
    size_t length = next[0] | (size_t)next[1] << 8 | (size_t)next[2] << 16 | (size_t)next[3] << 24;
    int head = snprintf(it->head, HEAD,
                        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", path,
                        type, length);
    it->unsent[0] = (struct iovec){it->head, (size_t)head};
    it->unsent[1] = (struct iovec){(void *)(next + 4), length};
    next += 4 + length;
    it->answered = 0;
    it->began = now();
    send_rest(it);
    return 1;
}

/* Whether the answer is whole. */
static int is_answered(struct connection *it)
{
    it->answer[it->answered] = 0;
    char *head_end = strstr(it->answer, "\r\n\r\n");
    if (!head_end)
        return 0;
    size_t head = (size_t)(head_end + 4 - it->answer);
    char *length = strcasestr(it->answer, "\r\ncontent-length:");
    size_t body = length && length < head_end ? strtoul(length + 17, NULL, 10) : 0;
    return it->answered >= head + body;
}

static int by_size(const void *one, const void *other)
{
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

int main(int count, char **arguments)
{
    if (count != 6)
        errx(64, "usage: player PORT PATH TYPE FILE CONNECTIONS");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    path = arguments[2];
    type = arguments[3];
    int file = open(arguments[4], O_RDONLY | O_CLOEXEC), open_connections = atoi(arguments[5]);
    struct stat status;
    if (file < 0 || fstat(file, &status) < 0)
        err(1, "%s", arguments[4]);
    next = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (next == MAP_FAILED)
        err(1, "%s", arguments[4]);
    end = next + status.st_size;
    struct connection *all = calloc((size_t)open_connections, sizeof *all);
    /* No body is shorter than a byte. */
    took = calloc((size_t)status.st_size / 5 + 1, sizeof *took);
    int ready = epoll_create1(EPOLL_CLOEXEC);
    if (!all || !took || ready < 0)
        err(1, "beginning");
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)atoi(arguments[1])),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    double began = now();
    int busy = 0;
    for (int i = 0; i < open_connections; i++) {
        int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
        if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof address) < 0)
            err(1, "connecting to port %s", arguments[1]);
        if (setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
            fcntl(server, F_SETFL, O_NONBLOCK) < 0)
            err(1, "a socket");
        all[i].server = server;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[i]};
        if (epoll_ctl(ready, EPOLL_CTL_ADD, server, &event) < 0)
            err(1, "a socket");
        busy += begin(&all[i]);
    }
    while (busy > 0) {
        struct epoll_event events[128];
        int found = epoll_wait(ready, events, 128, -1);
        for (int i = 0; i < found; i++) {
            struct connection *it = events[i].data.ptr;
            send_rest(it);
            for (;;) {
                ssize_t got = read(it->server, it->answer + it->answered, ANSWER - 1 - it->answered);
                if (got == 0)
                    errx(1, "the server has closed a connection; it said: %.300s", it->answer);
                if (got < 0)
                    break;
                it->answered += (size_t)got;
                if (!is_answered(it))
                    continue;
                if (strncmp(it->answer, "HTTP/1.1 2", 10) != 0 && others++ == 0)
                    warnx("the server answered: %.300s", it->answer);
                took[answers++] = now() - it->began;
                if (!begin(it)) {
                    busy--;
                    break;
                }
            }
        }
    }
    double seconds = now() - began;
    qsort(took, answers, sizeof *took, by_size);
    double median = answers ? took[answers / 2] : 0, late = answers ? took[answers * 99 / 100] : 0;
    printf("{\"requests\": %zu, \"seconds\": %.6f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"others\": %zu}\n", answers,
           seconds, median * 1000, late * 1000, others);
}
