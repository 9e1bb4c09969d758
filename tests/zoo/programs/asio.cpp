// Boost.Asio as its tutorial has it: the acceptor is in epoll before it is bound.
#include <boost/asio.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <memory>
#include <string>
#include <unistd.h>
using namespace boost::asio;
template <class P> struct session : std::enable_shared_from_this<session<P>> {
    typename P::socket s; streambuf in; std::string out;
    session(typename P::socket x) : s(std::move(x)) {}
    void start() {
        auto me = this->shared_from_this();
        async_read_until(s, in, "\r\n\r\n", [me](boost::system::error_code e, size_t) {
            if (e) return;
            std::istream i(&me->in); std::string m, p; i >> m >> p;
            std::string b = std::to_string(getpid()) + " " + p;
            me->out = "HTTP/1.0 200 OK\r\nContent-Length: " + std::to_string(b.size()) + "\r\n\r\n" + b;
            async_write(me->s, buffer(me->out), [me](boost::system::error_code, size_t) {});
        });
    }
};
template <class P> void accept(typename P::acceptor &a) {
    a.async_accept([&a](boost::system::error_code e, typename P::socket s) {
        if (!e) std::make_shared<session<P>>(std::move(s))->start();
        accept<P>(a);
    });
}
int main(int, char **v) {
    io_context c; std::string w = v[1];
    if (w.find('/') == std::string::npos) {
        ip::tcp::acceptor a(c, ip::tcp::endpoint(ip::tcp::v4(), std::stoi(w))); accept<ip::tcp>(a); c.run();
    } else {
        local::stream_protocol::acceptor a(c, local::stream_protocol::endpoint(w)); accept<local::stream_protocol>(a); c.run();
    }
}
