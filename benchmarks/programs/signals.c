/* signals worker FILE: in the handler of SIGUSR1 write the time to FILE, which is mapped.
   signals send PID N FILE: send N signals to PID, one after the other was handled, and
   print for each how many ns it took to the worker's handler; -1 when it did not come
   within a second.

   The sender sleeps between two, so that PID 1 does: what is measured includes waking it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct shared {
    unsigned count; /* signals handled; also what the sender waits on */
    unsigned ready;
    long long handled_at;
} *shared;

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void handle(int number) {
    (void)number;
    shared->handled_at = now();
    __atomic_add_fetch(&shared->count, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &shared->count, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int main(int argc, char **argv) {
    const char *path = argv[argc - 1];
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0 || ftruncate(fd, sizeof *shared)) return 1;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) return 2;
    if (strcmp(argv[1], "worker") == 0) {
        struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
        sigaction(SIGUSR1, &action, NULL);
        __atomic_store_n(&shared->ready, 1, __ATOMIC_SEQ_CST);
        for (;;) pause();
    }
    pid_t pid = atoi(argv[2]);
    struct timespec second = {1, 0}, pause_between = {0, 300000};
    for (int n = atoi(argv[3]); n > 0; n--) {
        unsigned before = shared->count;
        long long sent = now();
        if (kill(pid, SIGUSR1)) return 3;
        while (__atomic_load_n(&shared->count, __ATOMIC_SEQ_CST) == before)
            if (syscall(SYS_futex, &shared->count, FUTEX_WAIT, before, &second, NULL, 0)
                && now() - sent > 1000000000LL) break;
        printf("%lld\n", shared->count == before ? -1 : shared->handled_at - sent);
        nanosleep(&pause_between, NULL);
    }
    return 0;
}
