/* orphans N LITTER FILE: make N orphans as fast as one process after another can, and tell what
   PID 1 made of them. Writes "left CPU_NS WALL_NS\n" to FILE: how many of them are still
   there 20 ms after the last was made, and the CPU time that PID 1 has taken when all are
   gone (or a second later). A mother forks LITTER that end at once, and ends without
   waiting for them: then they are PID 1's. Runs inside PID 1's namespace, with its /proc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CPU_CLOCK_OF_1 ((clockid_t)((~1u << 3) | 2)) /* clock_getcpuclockid(3) */

static long long now(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time)) return -1;
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Processes of the namespace but for those that were there before. */
static int processes(void) {
    int count = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *each; (each = readdir(proc));)
        count += each->d_name[0] >= '0' && each->d_name[0] <= '9';
    closedir(proc);
    return count;
}

int main(int argc, char **argv) {
    if (argc != 4) return 1;
    int wanted = atoi(argv[1]), litter = atoi(argv[2]);
    usleep(500000); /* PID 1 has its own start to finish */
    int before = processes();
    long long cpu = now(CPU_CLOCK_OF_1), wall = now(CLOCK_MONOTONIC);
    for (int made = 0; made < wanted; made += litter) {
        pid_t mother = fork();
        if (mother < 0) return 2;
        if (mother == 0) {
            for (int n = 0; n < litter; n++)
                if (fork() == 0) _exit(0);
            _exit(0);
        }
        waitpid(mother, NULL, 0);
    }
    wall = now(CLOCK_MONOTONIC) - wall;
    usleep(20000);
    int left = processes() - before;
    for (int tries = 0; tries < 50 && processes() > before; tries++) usleep(20000);
    cpu = now(CPU_CLOCK_OF_1) - cpu;
    char line[96];
    int length = snprintf(line, sizeof line, "%d %lld %lld\n", left, cpu, wall);
    int fd = open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (fd < 0 || write(fd, line, length) != length) return 3;
    pause();
    return 0;
}
