/* lines write WRITER LINES KIND READY GO: append a line to READY, wait for the file GO,
   write LINES lines of 80 bytes to stdout in pieces of 4 KiB (as libc's stdout does into a
   pipe), and sleep. Each line has its writer and number in it: "#03:0000000123#". KIND is
   plain or json (each line an object). WRITER - means $NODE_APP_INSTANCE.

   lines read LINES WRITERS SAMPLES: read records from stdin until all lines were seen or
   nothing came for five seconds; write every 1009th record to SAMPLES and print
   "first_ns last_ns seen lost twice merged damaged bytes". `merged`: records with more
   than one line in them; `damaged`: lines of which a part is missing; `lost` are numbers
   that never came. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SIZE 80
#define TAIL 40 /* so many x follow the number in each line */
static char filler[TAIL + 1];

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void put(const char *data, size_t size) {
    while (size) {
        ssize_t done = write(1, data, size);
        if (done < 0) exit(4);
        data += done;
        size -= done;
    }
}

static int writer(char **argv) {
    const char *name = strcmp(argv[2], "-") ? argv[2] : getenv("NODE_APP_INSTANCE");
    int id = name ? atoi(name) : 0, json = strcmp(argv[4], "json") == 0;
    long lines = atol(argv[3]);
    int ready = open(argv[5], O_WRONLY | O_CREAT | O_APPEND, 0666);
    if (ready < 0 || write(ready, "ready\n", 6) != 6) return 2;
    while (access(argv[6], F_OK)) usleep(5000);
    char block[4096 + SIZE];
    size_t filled = 0;
    for (long n = 0; n < lines; n++) {
        const char *form = json ? "{\"m\":\"#%02d:%010ld#%sxxx\",\"status\":20%d}"
                                : "#%02d:%010ld#%s GET /index.html %d";
        int length = snprintf(block + filled, SIZE, form, id, n, filler, (int)(n % 10));
        memset(block + filled + length, '.', SIZE - 1 - length);
        block[filled + SIZE - 1] = '\n';
        filled += SIZE;
        if (filled >= 4096) {
            put(block, 4096);
            filled -= 4096;
            memmove(block, block + 4096, filled);
        }
    }
    put(block, filled);
    for (;;) pause();
}

static int reader(char **argv) {
    long wanted = atol(argv[2]), seen = 0, twice = 0, merged = 0, damaged = 0, records = 0;
    int writers = atoi(argv[3]);
    long each = wanted / writers;
    char *had = calloc(writers, each);
    FILE *samples = fopen(argv[4], "w");
    static char buffer[1 << 20];
    size_t held = 0;
    long long first = 0, last = 0, bytes = 0;
    while (seen < wanted) {
        struct pollfd input = {0, POLLIN, 0};
        if (poll(&input, 1, first ? 5000 : 60000) <= 0) break;
        ssize_t got = read(0, buffer + held, sizeof buffer - held - 1);
        if (got <= 0) break;
        long before = seen;
        size_t end = held + got;
        char *at = buffer, *stop;
        while ((stop = memchr(at, '\n', buffer + end - at))) {
            *stop = 0;
            int in_record = 0;
            for (char *token = at; (token = strchr(token, '#'));) {
                int id;
                long n;
                if (stop - token >= 15 + TAIL && token[3] == ':' && token[14] == '#'
                    && sscanf(token, "#%2d:%10ld#", &id, &n) == 2 && id < writers && n < each) {
                    in_record++;
                    if (memcmp(token + 15, filler, TAIL)) damaged++;
                    else if (had[id * each + n]++) twice++;
                    else seen++;
                    token += 15 + TAIL;
                } else {
                    damaged++;
                    token++;
                    while (*token && *token != '#') token++;
                    if (*token) token++;
                }
            }
            if (in_record > 1) merged++;
            if (in_record && records++ % 1009 == 0) fprintf(samples, "%s\n", at);
            at = stop + 1;
        }
        if (seen != before) {
            last = now();
            if (!first) first = last;
        }
        bytes += got;
        held = buffer + end - at;
        if (held == sizeof buffer - 1) held = 0; /* a record of 1 MiB: not one of ours */
        memmove(buffer, at, held);
    }
    fclose(samples);
    printf("%lld %lld %ld %ld %ld %ld %ld %lld\n", first, last, seen, wanted - seen, twice,
           merged, damaged, bytes);
    return 0;
}

int main(int argc, char **argv) {
    memset(filler, 'x', TAIL);
    if (argc == 7 && strcmp(argv[1], "write") == 0) return writer(argv);
    if (argc == 5 && strcmp(argv[1], "read") == 0) return reader(argv);
    return 1;
}
