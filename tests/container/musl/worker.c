/* A server linked to musl, as a program of Alpine's is: binds the port itself, tells its instance. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void stop(int number) { (void)number; _exit(0); }

int main(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8000)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    char answer[128], request[4096];
    const char *instance = getenv("NODE_APP_INSTANCE");

    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("bind, listen");
        return 1;
    }
    snprintf(answer, sizeof answer, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(instance ? instance : "none"), instance ? instance : "none");
    for (;;) {
        int connection = accept(listener, 0, 0);
        if (connection < 0) continue;
        if (read(connection, request, sizeof request) > 0)
            write(connection, answer, strlen(answer));
        close(connection);
    }
}
