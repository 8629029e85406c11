/* The least that this machine lets a program spend on the agent's work: once a second it reads the five
 * files of the kernel that the agent's five services read, each with one pread on an open descriptor, and
 * posts small reports that the collector accepts over one connection.
 *
 *   floor PORT CLIENT REPORTS    REPORTS: 5, one a file, or 1 with a number of each file
 *
 * It runs until it is ended, or until the program that started it ends.
 * Build: cc -O2 -o floor floor.c
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
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FILES = 5, TEXT = 16 << 10, MESSAGE = 1 << 10 };

static const struct source {
    const char *path;
    const char *service;
    const char *field;
    const char *before; /* the number that is reported follows this */
} sources[FILES] = {
    {"/proc/stat", "LinuxCPU", "user", "cpu "},
    {"/proc/meminfo", "LinuxMemory", "MemAvailable", "MemAvailable:"},
    {"/proc/net/dev", "LinuxNetwork", "t_in", "lo:"},
    {"/proc/diskstats", "DiskIO", "major", ""},
    {"/proc/loadavg", "LinuxLoad", "load1", ""},
};

static int descriptors[FILES];
static char texts[FILES][TEXT];

static void read_all(void)
{
    for (int i = 0; i < FILES; i++) {
        ssize_t length = pread(descriptors[i], texts[i], TEXT - 1, 0);
        if (length < 0)
            err(1, "%s", sources[i].path);
        texts[i][length] = 0;
    }
}

/* Appends `"field":number` to a text; both files and fields are the program's own, so they fit. */
static int put_number(char *out, size_t room, int i)
{
    const char *at = strstr(texts[i], sources[i].before);
    at = at ? at + strlen(sources[i].before) : "";
    at += strspn(at, " ");
    int digits = (int)strspn(at, "0123456789.");
    return snprintf(out, room, ",\"%s\":%.*s", sources[i].field, digits ? digits : 1, digits ? at : "0");
}

/* Posts one report with the numbers of the files from `first` on, and waits for its acknowledgement. */
static void post(int server, const char *client, int first, int count)
{
    static unsigned seq;
    char body[MESSAGE], message[2 * MESSAGE], answer[MESSAGE];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int used = snprintf(body, sizeof body, "{\"client_id\":%s,\"service_name\":\"%s\",\"data\":{\"status\":0",
                        client, sources[first].service);
    for (int i = first; i < first + count; i++)
        used += put_number(body + used, sizeof body - used, i);
    used += snprintf(body + used, sizeof body - used, "},\"time\":%lld.%03ld,\"boot\":\"floor\",\"seq\":%u}",
                     (long long)now.tv_sec, now.tv_nsec / 1000000, seq++);
    int length = snprintf(message, sizeof message,
                          "POST /api/client/service/report/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                          "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                          used, body);
    if (write(server, message, length) != length)
        err(1, "sending a report");
    /* The answer is short enough to come in one piece. */
    ssize_t got = read(server, answer, sizeof answer - 1);
    if (got < 0)
        err(1, "waiting for an acknowledgement");
    answer[got] = 0;
    if (strncmp(answer, "HTTP/1.1 200", 12) != 0)
        errx(1, "the collector answered: %s", answer);
}

static int connect_to(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((unsigned short)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (server < 0 || connect(server, (struct sockaddr *)&address, sizeof address) < 0)
        err(1, "connecting to port %d", port);
    if (setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        err(1, "TCP_NODELAY");
    return server;
}

int main(int count, char **arguments)
{
    if (count != 4)
        errx(64, "usage: floor PORT CLIENT REPORTS");
    const char *client = arguments[2];
    int reports = atoi(arguments[3]) == 1 ? 1 : FILES;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    for (int i = 0; i < FILES; i++)
        if ((descriptors[i] = open(sources[i].path, O_RDONLY | O_CLOEXEC)) < 0)
            err(1, "%s", sources[i].path);
    int server = connect_to(atoi(arguments[1]));
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (;;) {
        due.tv_sec++;
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0)
            ;
        read_all();
        for (int i = 0; i < reports; i++)
            post(server, client, i, reports == 1 ? FILES : 1);
    }
}
