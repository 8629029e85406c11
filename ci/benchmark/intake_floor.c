/* The least that this machine lets a collector spend: it receives requests with reports, finds their lines, appends
 * them to a file, syncs it once for all requests that wait, and then answers these.
 *
 *   intake_floor FILE
 *
 * It prints its address, and runs until it is ended, or until the program that started it ends.
 * Build: cc -O2 -o intake_floor intake_floor.c
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST = 2 << 20, ROUND = 128 };

struct connection {
    int client;
    size_t got;
    char *request;
};

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/* The body of a request that is whole; NULL before that. */
static char *body_of(struct connection *it, size_t *length)
{
    it->request[it->got] = 0;
    char *head_end = memmem(it->request, it->got < 4096 ? it->got : 4096, "\r\n\r\n", 4);
    if (!head_end)
        return NULL;
    char *value = strcasestr(it->request, "\r\ncontent-length:");
    *length = value && value < head_end ? strtoul(value + 17, NULL, 10) : 0;
    char *body = head_end + 4;
    return (size_t)(it->request + it->got - body) >= *length ? body : NULL;
}

static void write_all(int file, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t written = write(file, bytes, length);
        if (written < 0)
            err(1, "writing");
        bytes += written;
        length -= (size_t)written;
    }
}

/* Each line ends a report; the last one may have no end of line. */
static size_t append_lines(int file, const char *body, size_t length)
{
    size_t lines = 0;
    for (const char *at = body, *end = body + length; at < end; lines++) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        at = line_end ? line_end + 1 : end;
    }
    write_all(file, body, length);
    return lines;
}

int main(int count, char **arguments)
{
    if (count != 2)
        errx(64, "usage: intake_floor FILE");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    int file = open(arguments[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0)
        err(1, "%s", arguments[1]);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ready = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (listener < 0 || ready < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
        listen(listener, 512) < 0 || getsockname(listener, (struct sockaddr *)&address, &size) < 0)
        err(1, "listening");
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(ready, EPOLL_CTL_ADD, listener, &event);
    printf("http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    size_t lines = 0;
    for (;;) {
        struct epoll_event events[ROUND];
        int waiting[ROUND], found = epoll_wait(ready, events, ROUND, -1), answers = 0;
        for (int i = 0; i < found; i++) {
            struct connection *it = events[i].data.ptr;
            if (!it) {
                int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;
                if (client < 0)
                    continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                struct connection *new = calloc(1, sizeof *new);
                if (!new || !(new->request = malloc(REQUEST)))
                    err(1, "a connection");
                new->client = client;
                event = (struct epoll_event){.events = EPOLLIN, .data.ptr = new};
                epoll_ctl(ready, EPOLL_CTL_ADD, client, &event);
                continue;
            }
            ssize_t got = read(it->client, it->request + it->got, REQUEST - 1 - it->got);
            if (got <= 0) {
                close(it->client);
                free(it->request);
                free(it);
                continue;
            }
            it->got += (size_t)got;
            size_t length;
            char *body = body_of(it, &length);
            if (!body)
                continue;
            lines += append_lines(file, body, length);
            it->got = 0;
            waiting[answers++] = it->client;
        }
        if (answers > 0 && fdatasync(file) < 0)
            err(1, "syncing");
        for (int i = 0; i < answers; i++)
            write_all(waiting[i], answer, sizeof answer - 1);
    }
}
