/* crash FILE MS: append "start T" to FILE (monotonic ns), live MS milliseconds, append
   "end T" and die by SIGKILL. From an end to the next start is what a crash costs. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int append(const char *path, const char *word) {
    struct timespec now;
    char line[48];
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "%s %lld\n", word,
                          now.tv_sec * 1000000000LL + now.tv_nsec);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    int failed = fd < 0 || write(fd, line, length) != length;
    close(fd);
    return failed;
}

int main(int argc, char **argv) {
    if (argc != 3 || append(argv[1], "start")) return 1;
    usleep(atoi(argv[2]) * 1000);
    if (append(argv[1], "end")) return 1;
    kill(getpid(), SIGKILL);
    pause();
    return 0;
}
