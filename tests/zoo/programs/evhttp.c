#include <event2/event.h>
#include <event2/http.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void answer(struct evhttp_request *q, void *x) {
    struct evbuffer *b = evbuffer_new(); evbuffer_add_printf(b, "%d %s", getpid(), evhttp_request_get_uri(q));
    evhttp_send_reply(q, 200, "OK", b); evbuffer_free(b);
}
int main(int c, char **v) {
    struct event_base *e = event_base_new(); struct evhttp *h = evhttp_new(e);
    if (evhttp_bind_socket(h, "0.0.0.0", atoi(v[1]))) { perror("bind"); return 1; }
    evhttp_set_gencb(h, answer, NULL); event_base_dispatch(e);
}
