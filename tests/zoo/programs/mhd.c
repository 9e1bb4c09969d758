#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static enum MHD_Result answer(void *c, struct MHD_Connection *x, const char *url, const char *m, const char *v, const char *d, size_t *n, void **p) {
    char b[300]; snprintf(b, sizeof b, "%d %s", getpid(), url);
    struct MHD_Response *r = MHD_create_response_from_buffer(strlen(b), b, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result k = MHD_queue_response(x, 200, r); MHD_destroy_response(r); return k;
}
int main(int c, char **v) {
    unsigned f = strcmp(v[2], "epoll") ? MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD : MHD_USE_EPOLL_INTERNAL_THREAD;
    if (!MHD_start_daemon(f, atoi(v[1]), NULL, NULL, answer, NULL, MHD_OPTION_END)) { perror("mhd"); return 1; }
    for (;;) pause();
}
