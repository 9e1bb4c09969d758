/* stamp FILE [CMD ARG…]: append the monotonic time in ns to FILE, then exec CMD or sleep.
   Static and tiny, so that what is measured is the init and not the program under it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char line[32];
    int length = snprintf(line, sizeof line, "%lld\n",
                          now.tv_sec * 1000000000LL + now.tv_nsec);
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, line, length) != length) return 1;
    close(fd);
    if (argc > 2) {
        execvp(argv[2], argv + 2);
        return 127;
    }
    pause();
    return 0;
}
