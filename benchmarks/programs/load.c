/* load: HTTP requests at a bounded rate, every answer checked, every failure classified.
 *
 *   load PORT new|keep CONNECTIONS RATE HUNG_AFTER_MS
 *
 * Runs until SIGTERM and lets the requests under way end (or hang). Prints its counts as one
 * JSON object a line, each second and at the end. A request is `GET /N`, its only right answer `200` with the body `ok /N`.
 *
 *   new   a connection for each request (`Connection: close`)
 *   keep  requests one after the other on CONNECTIONS connections
 *
 * What a client may do about an end of its connection depends on the moment (RFC 9112
 * 9.3.1, RFC 9110 9.2.2), so they are told apart:
 *
 *   idle       closed before the first byte of a request was sent: nothing was asked
 *   announced  the answer said `Connection: close` (HTTP/1.0: did not say that it stays)
 *   race       the request was sent and no byte of an answer came: may be sent again when
 *              it is idempotent. On a connection made for one request it is a failure.
 *   middle     in the middle of an answer: a failure
 *   refused, reset (during connect), hung, wrong (status, body): failures
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum state { CLOSED, CONNECTING, IDLE, WAITING, READING };

struct client {
    int fd;
    enum state state;
    long number;      /* of the request under way */
    double since;     /* of that request, s */
    size_t have;      /* bytes of the answer */
    int announced;    /* the server said that it will close */
    int first;        /* no answer came on this connection yet */
    char answer[4096];
};

static struct { long ok, idle, announced, race, middle, refused, reset, hung, wrong, opened; } count;
static double slowest;
static volatile sig_atomic_t ending;
static int keep, poll_fd;
static struct sockaddr_in server;
static long numbers;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void stop(int signum) { (void)signum; ending = 1; }

static void note(struct client *c, const char *what, int error) {
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    own.sin_port = 0;
    if (c->fd >= 0) getsockname(c->fd, (struct sockaddr *)&own, &size);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    fprintf(stderr, "%ld.%03ld %s request %ld port %d after %.3f s, %zu bytes%s: %s\n", t.tv_sec,
            t.tv_nsec / 1000000, what, c->number, ntohs(own.sin_port), now() - c->since, c->have,
            c->first ? ", first" : "", error ? strerror(error) : "-");
}

static void drop(struct client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
}

static void tell(void) {
    printf("{\"ok\": %ld, \"refused\": %ld, \"reset\": %ld, \"hung\": %ld, \"wrong\": %ld, "
           "\"middle\": %ld, \"race\": %ld, \"idle\": %ld, \"announced\": %ld, \"opened\": %ld, "
           "\"slowest_ms\": %.1f}\n",
           count.ok, count.refused, count.reset, count.hung, count.wrong, count.middle, count.race,
           count.idle, count.announced, count.opened, slowest * 1e3);
    fflush(stdout);
}

static void watch(struct client *c, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(poll_fd, operation, c->fd, &event);
}

/* The connection ended or failed, with `error` or (0) by end of file. */
static void ended(struct client *c, int error) {
    switch (c->state) {
    case CONNECTING:
        if (error == ECONNREFUSED) count.refused++; else count.reset++;
        note(c, "connect", error);
        break;
    case IDLE:
        count.idle++;
        break;
    case WAITING:
        count.race++;
        if (!keep || c->first) note(c, "no answer", error);
        break;
    case READING:
        count.middle++;
        note(c, "in the middle", error);
        break;
    case CLOSED:
        break;
    }
    drop(c);
}

static void request(struct client *c) {
    char text[128];
    int size = snprintf(text, sizeof text, "GET /%ld HTTP/1.1\r\nHost: a\r\n%s\r\n", c->number,
                        keep ? "" : "Connection: close\r\n");
    ssize_t sent = send(c->fd, text, size, MSG_NOSIGNAL);
    if (sent < 0) {
        /* Not one byte was taken: the request was never sent. */
        c->state = IDLE;
        ended(c, errno);
        return;
    }
    c->have = 0;
    c->state = WAITING;
    watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
}

static void begin(struct client *c) {
    c->number = ++numbers;
    c->since = now();
    if (c->state == IDLE) {
        request(c);
        return;
    }
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = CONNECTING;
    c->announced = 0;
    c->first = 1;
    count.opened++;
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) < 0 && errno != EINPROGRESS) {
        if (errno == EADDRNOTAVAIL) {
            fprintf(stderr, "no free client port\n");
            exit(3);
        }
        ended(c, errno);
        return;
    }
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* 1: the answer is whole; 0: there is more to come; -1: it is not what was asked for. */
static int whole(struct client *c) {
    c->answer[c->have] = 0;
    char *end = strstr(c->answer, "\r\n\r\n");
    if (end == NULL) return c->have >= sizeof c->answer - 1 ? -1 : 0;
    if (strncmp(c->answer, "HTTP/1.", 7) || strncmp(c->answer + 8, " 200", 4)) return -1;
    char wanted[32];
    size_t size = snprintf(wanted, sizeof wanted, "ok /%ld", c->number);
    char *length = strcasestr(c->answer, "\r\ncontent-length:");
    char *chunked = strcasestr(c->answer, "\r\ntransfer-encoding:");
    char *body = end + 4;
    char *stays = strcasestr(c->answer, "\r\nconnection: keep-alive");
    c->announced = strcasestr(c->answer, "\r\nconnection: close") != NULL ||
                   (c->answer[7] == '0' && (stays == NULL || stays > end));
    if (length != NULL && length < end) {
        if ((size_t)atol(length + 17) != size) return -1;
        if (c->have - (body - c->answer) < size) return 0;
        return memcmp(body, wanted, size) ? -1 : 1;
    }
    if (chunked != NULL && chunked < end) return -1;
    return c->have - (body - c->answer) < size ? 0 : memcmp(body, wanted, size) ? -1 : 1;
}

static void readable(struct client *c) {
    for (;;) {
        char nothing[64];
        int idle = c->state == IDLE;
        ssize_t got = idle ? recv(c->fd, nothing, sizeof nothing, 0)
                           : recv(c->fd, c->answer + c->have, sizeof c->answer - 1 - c->have, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            ended(c, got < 0 ? errno : 0);
            return;
        }
        if (idle) {
            count.wrong++;
            note(c, "unasked", 0);
            drop(c);
            return;
        }
        c->have += got;
        c->state = READING;
        int is = whole(c);
        if (is == 0) continue;
        if (is < 0) {
            count.wrong++;
            note(c, "wrong answer", 0);
            fprintf(stderr, "%.300s\n", c->answer);
            drop(c);
            return;
        }
        count.ok++;
        if (now() - c->since > slowest) slowest = now() - c->since;
        c->first = 0;
        if (!keep || c->announced) {
            count.announced += keep;
            drop(c);
            return;
        }
        c->state = IDLE;
    }
}

static void happened(struct client *c, unsigned events) {
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) ended(c, error);
        else if (events & EPOLLOUT) request(c);
    } else if (c->state != CLOSED) {
        readable(c);
    }
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: load PORT new|keep CONNECTIONS RATE HUNG_AFTER_MS\n");
        return 2;
    }
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    keep = !strcmp(argv[2], "keep");
    int many = atoi(argv[3]);
    double pause = 1.0 / atof(argv[4]), hung = atof(argv[5]) / 1e3;
    struct client *clients = calloc(many, sizeof *clients);
    for (int i = 0; i < many; i++) clients[i].fd = -1;
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    poll_fd = epoll_create1(0);
    double next = now(), last_look = next, last_told = next;
    int turn = 0;
    for (;;) {
        double t = now();
        int busy = 0;
        for (int i = 0; i < many; i++) busy += clients[i].state > IDLE || clients[i].state == CONNECTING;
        if (ending && !busy) break;
        /* What could not be sent in time is not made up for. */
        if (next < t - 0.05) next = t - 0.05;
        for (int tried = 0; !ending && next <= t && tried < many; tried++) {
            struct client *c = &clients[turn++ % many];
            if (c->state == CLOSED || c->state == IDLE) {
                begin(c);
                next += pause;
            }
        }
        if (t - last_look > 0.1) {
            last_look = t;
            for (int i = 0; i < many; i++) {
                struct client *c = &clients[i];
                if (c->state != CLOSED && c->state != IDLE && t - c->since > hung) {
                    count.hung++;
                    note(c, "hung", 0);
                    drop(c);
                }
            }
        }
        if (t - last_told > 1) {
            last_told = t;
            tell();
        }
        struct epoll_event events[256];
        double until = next - now();
        int wait = ending || until > 0.05 ? 50 : until > 0.001 ? (int)(until * 1e3) : 1;
        int found = epoll_wait(poll_fd, events, 256, wait);
        for (int i = 0; i < found; i++) happened(events[i].data.ptr, events[i].events);
    }
    tell();
    return 0;
}
