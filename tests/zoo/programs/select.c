// select(2), a non-blocking listener set so before bind.
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>
int main(int c, char **v) {
    int s = socket(AF_INET6, SOCK_STREAM, 0), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    fcntl(s, F_SETFL, O_NONBLOCK);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(v[1]))};
    if (bind(s, (void *)&a, sizeof a)) { perror("bind"); return 1; }
    listen(s, 5);
    for (;;) {
        fd_set f; FD_ZERO(&f); FD_SET(s, &f); select(s + 1, &f, 0, 0, 0);
        int k = accept(s, 0, 0); if (k < 0) continue;
        char q[4096]; int n = 0, r;
        while (n < 4000 && (r = read(k, q + n, 4000 - n)) > 0) { n += r; q[n] = 0; if (strstr(q, "\r\n\r\n")) break; }
        char p[256] = "/"; sscanf(q, "%*s %255s", p);
        char b[300], o[500]; snprintf(b, 300, "%d %s", getpid(), p);
        snprintf(o, 500, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(b), b);
        write(k, o, strlen(o)); close(k);
    }
}
