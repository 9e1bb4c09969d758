// A classic: bind, listen, fork four children that block in accept.
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
int main(int c, char **v) {
    int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(v[1]))};
    if (bind(s, (void *)&a, sizeof a)) { perror("bind"); return 1; }
    listen(s, 64);
    for (int i = 0; i < 4; i++) if (!fork()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            int k = accept(s, 0, 0); if (k < 0) continue;
            char q[4096]; int n = 0, r;
            while (n < 4000 && (r = read(k, q + n, 4000 - n)) > 0) { n += r; q[n] = 0; if (strstr(q, "\r\n\r\n")) break; }
            char p[256] = "/"; sscanf(q, "%*s %255s", p);
            char b[300], o[500]; snprintf(b, 300, "%d %s", getpid(), p);
            snprintf(o, 500, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(b), b);
            write(k, o, strlen(o)); close(k);
        }
    }
    for (;;) if (wait(0) < 0) pause();
}
