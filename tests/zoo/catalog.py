"""The servers that `make zoo` tries: how each is made, started and asked.

In a command `{port}` and `{path}` are the address, `{dir}` a folder of the run, `{programs}`
the folder of the programs, `{build}` that of what was compiled, `{py}` and `{js}` the tools
of the zoo's own environments; `{slot}` is pyinit's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Server:
    """One row of the table.

    `tcp` and `unix` are command lines; an empty one is not offered by the server. `needs`
    are programs (a name, or a path) without which the row is not tried. `build` is a shell
    line that compiles it once. `speaks` says how it is asked (`asking.py`). `direct`: node
    runs the program itself, so that the slow start comes in by NODE_OPTIONS.
    """

    name: str
    language: str
    tcp: str
    unix: str = ""
    needs: tuple[str, ...] = ()
    build: str = ""
    speaks: str = "http"
    direct: bool = False
    conf: str = ""
    env: tuple[tuple[str, str], ...] = ()
    # Seconds that it may take from exec to its first answer on an idle machine.
    slow: float = 0.0


def _py(name: str, title: str = "", unix: bool = False) -> Server:
    command = "{py} {programs}/py.py " + name
    return Server(
        title or name, "Python", f"{command} {{port}}", f"{command} {{path}}" if unix else ""
    )


def _tool(title: str, tcp: str, unix: str = "") -> Server:
    return Server(title, "Python", "{bin}/" + tcp, "{bin}/" + unix if unix else "")


def _js(name: str, title: str = "", unix: bool = False, speaks: str = "http") -> Server:
    command = "node {programs}/node.js " + name
    return Server(
        title or name,
        "Node",
        f"{command} {{port}}",
        f"{command} {{path}}" if unix else "",
        direct=True,
        speaks=speaks,
    )


def _c(name: str, language: str, compiler: str, file: str, args: str, unix: str = "") -> Server:
    out = "{build}/" + file.replace(".", "-")
    built = f"{compiler} -o {out} {{programs}}/{file}"
    if "%" in compiler:
        built = compiler.replace("%", f"-o {out} {{programs}}/{file}")
    return Server(
        name,
        language,
        f"{out} {args}",
        f"{out} {unix}" if unix else "",
        (compiler.split(maxsplit=1)[0],),
        built,
    )


def _java(name: str, file: str, args: str, jars: str = "") -> Server:
    where = f"{{build}}/{file}:{jars}" if jars else f"{{build}}/{file}"
    path = f"-cp {where}"
    made = f"javac -nowarn -d {{build}}/{file} {path} {{programs}}/{file}.java"
    flags = "-Xmx64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"
    return Server(
        name, "Java", f"java {flags} {path} {file} {args}", "", ("javac", "java"), made, slow=2.0
    )


_NETTY = "/usr/share/java/netty-all.jar:/usr/share/java/*"
_JETTY = (
    "/usr/share/java/jetty9-server.jar:/usr/share/java/jetty9-http.jar:/usr/share/java/jetty9-io.jar:"
    "/usr/share/java/jetty9-util.jar:/usr/share/java/servlet-api.jar:/usr/share/java/javax.servlet-api.jar:"
    "/usr/share/java/servlet-api-4.0.jar"
)

SERVERS: tuple[Server, ...] = (
    # -- Python
    _tool("http.server", "python -m http.server {port} -d {dir}/www"),
    _py("threading_http", "ThreadingHTTPServer"),
    _py("socketserver_forking", "ForkingTCPServer"),
    _py("asyncio_streams", "asyncio streams", unix=True),
    _py("wsgiref"),
    _tool(
        "uvicorn",
        "uvicorn asgi:app --host 0.0.0.0 --port {port} --log-level warning",
        "uvicorn asgi:app --uds {path} --log-level warning",
    ),
    _tool(
        "uvicorn --workers 2",
        "uvicorn asgi:app --host 0.0.0.0 --port {port} --log-level warning --workers 2",
    ),
    _tool("hypercorn", "hypercorn asgi:app -b 0.0.0.0:{port}", "hypercorn asgi:app -b unix:{path}"),
    _tool("granian", "granian --interface asgi asgi:app --host 0.0.0.0 --port {port} --no-ws"),
    _tool("daphne", "daphne -b 0.0.0.0 -p {port} asgi:app", "daphne -u {path} asgi:app"),
    _tool(
        "gunicorn sync",
        "gunicorn -b 0.0.0.0:{port} -w 2 wsgi:app",
        "gunicorn -b unix:{path} -w 2 wsgi:app",
    ),
    _tool("gunicorn gthread", "gunicorn -b 0.0.0.0:{port} -k gthread --threads 4 wsgi:app"),
    _tool("gunicorn gevent", "gunicorn -b 0.0.0.0:{port} -k gevent wsgi:app"),
    _tool(
        "gunicorn uvicorn-worker",
        "gunicorn -b 0.0.0.0:{port} -k uvicorn_worker.UvicornWorker asgi:app",
    ),
    _tool("gunicorn --preload", "gunicorn -b 0.0.0.0:{port} --preload -w 2 wsgi:app"),
    _py("waitress", unix=True),
    _py("cheroot", unix=True),
    _py("cherrypy", "CherryPy"),
    _py("tornado"),
    _py("tornado_fork", "tornado, forked"),
    _py("aiohttp", unix=True),
    _py("sanic", "Sanic"),
    _py("twisted", "Twisted", unix=True),
    _py("bottle", "Bottle"),
    _py("flask", "Flask"),
    Server(
        "Django runserver",
        "Python",
        "{py} {programs}/django_app.py runserver 0.0.0.0:{port} --noreload",
    ),
    _py("gevent_pywsgi", "gevent"),
    _py("eventlet_wsgi", "eventlet"),
    _py("pyramid", "Pyramid"),
    _py("robyn", "Robyn"),
    _py("websockets_server", "websockets"),
    Server("xmlrpc.server", "Python", "{py} {programs}/py.py xmlrpc {port}", speaks="proxy"),
    _tool(
        "FastAPI",
        "uvicorn --factory frameworks:fastapi --host 0.0.0.0 --port {port} --log-level warning",
    ),
    _tool(
        "Litestar",
        "uvicorn --factory frameworks:litestar --host 0.0.0.0 --port {port} --log-level warning",
    ),
    _tool(
        "BlackSheep",
        "uvicorn --factory frameworks:blacksheep --host 0.0.0.0 --port {port} --log-level warning",
    ),
    _tool("twistd web", "twistd --pidfile= -n web --listen tcp:{port} --path {dir}/www"),
    Server(
        "uWSGI",
        "Python",
        "uwsgi --plugin python3 --http-socket :{port} --wsgi-file {programs}/wsgi.py "
        "--processes 2 --master --die-on-term --disable-logging --need-app",
        needs=("uwsgi",),
    ),
    # -- Node, Deno, Bun
    _js("http", "node http", unix=True),
    _js("http4", "node http on 127.0.0.1"),
    _js("net", "node net"),
    _js("http2c", "node http2", speaks="http2"),
    _js("express", "Express", unix=True),
    _js("fastify", "Fastify", unix=True),
    _js("koa", "Koa"),
    _js("hapi"),
    _js("polka", "Polka"),
    _js("restify"),
    _js("connect"),
    _js("ws"),
    _js("socketio", "Socket.IO"),
    _js("h3"),
    _js("hono", "Hono"),
    _js("jsonserver", "json-server"),
    _js("nest", "NestJS"),
    _js("cluster", "node, workers of its own"),
    Server(
        "serve",
        "Node",
        "node {js}/serve/build/main.js -s {dir}/www -l {port} --no-port-switching",
        direct=True,
    ),
    Server("npx serve", "Node", "npx --no-install serve -s {dir}/www -l {port}", slow=2.0),
    Server(
        "http-server",
        "Node",
        "node {js}/http-server/bin/http-server {dir}/www -p {port} -s",
        direct=True,
    ),
    Server(
        "sirv",
        "Node",
        "node {js}/sirv-cli/bin.js {dir}/www --port {port} --host 0.0.0.0 --quiet --single",
        direct=True,
    ),
    Server(
        "micro",
        "Node",
        "node {js}/micro/dist/src/bin/micro.js -l tcp://0.0.0.0:{port} {programs}/micro.js",
        direct=True,
    ),
    Server(
        "Vite preview",
        "Node",
        "node {js}/vite/bin/vite.js preview --outDir {dir}/www --port {port} --strictPort --host 0.0.0.0",
        direct=True,
        slow=2.0,
    ),
    Server("npm start", "Node", "npm start --silent --prefix {programs}/npm", slow=2.0),
    Server("Deno", "Deno", "{js}/.bin/deno run -A --no-lock --no-config {programs}/deno.ts {port}"),
    Server("Bun", "Bun", "{js}/.bin/bun {programs}/bun.ts {port}"),
    Server("Elysia", "Bun", "{js}/.bin/bun {programs}/elysia.ts {port}"),
    # -- Go
    Server(
        "Go net/http",
        "Go",
        "{build}/go-server {port}",
        "{build}/go-server {path}",
        ("go",),
        "GO111MODULE=off GOCACHE={build}/gocache go build -o {build}/go-server {programs}/server.go",
    ),
    Server(
        "Go net/http, static",
        "Go",
        "{build}/go-static {port}",
        "",
        ("go",),
        "CGO_ENABLED=0 GO111MODULE=off GOCACHE={build}/gocache go build -o {build}/go-static {programs}/server.go",
    ),
    Server(
        "Caddy",
        "Go",
        "caddy run --adapter caddyfile --config {dir}/Caddyfile",
        needs=("caddy",),
        conf="Caddyfile",
    ),
    # -- Java
    _java("JDK HttpServer", "Jdk", "{port}"),
    _java("Java ServerSocket", "Blocking", "{port}"),
    _java("Netty, NIO", "Netty", "nio {port}", _NETTY),
    _java("Jetty", "Jetty", "{port}", _JETTY),
    # -- Ruby
    Server(
        "Puma",
        "Ruby",
        "puma -q -b tcp://0.0.0.0:{port} {programs}/config.ru",
        "puma -q -b unix://{path} {programs}/config.ru",
        ("puma",),
    ),
    Server(
        "Puma, cluster",
        "Ruby",
        "puma -q -w 2 -b tcp://0.0.0.0:{port} {programs}/config.ru",
        needs=("puma",),
    ),
    Server(
        "Unicorn",
        "Ruby",
        "unicorn -l 0.0.0.0:{port} {programs}/config.ru",
        "unicorn -l {path} {programs}/config.ru",
        ("unicorn",),
    ),
    Server(
        "Thin",
        "Ruby",
        "thin -q -a 0.0.0.0 -p {port} -R {programs}/config.ru start",
        needs=("thin",),
    ),
    Server("WEBrick", "Ruby", "ruby {programs}/webrick.rb {port}", needs=("ruby",)),
    Server("Sinatra", "Ruby", "ruby {programs}/rack.rb {port}", needs=("ruby",)),
    # -- PHP
    Server("php -S", "PHP", "php -S 0.0.0.0:{port} {programs}/index.php", needs=("php",)),
    Server(
        "PHP streams",
        "PHP",
        "php {programs}/stream.php {port}",
        "php {programs}/stream.php {path}",
        ("php",),
    ),
    Server(
        "PHP-FPM",
        "PHP",
        "php-fpm8.2 -F -R -y {dir}/fpm.conf",
        "php-fpm8.2 -F -R -y {dir}/fpm.conf",
        ("php-fpm8.2",),
        speaks="fcgi",
        conf="fpm.conf",
    ),
    # -- Perl
    Server(
        "Starman",
        "Perl",
        "starman --listen 0.0.0.0:{port} --workers 2 {programs}/app.psgi",
        "starman --listen {path} --workers 2 {programs}/app.psgi",
        ("starman",),
    ),
    Server(
        "Twiggy",
        "Perl",
        "twiggy --listen 0.0.0.0:{port} {programs}/app.psgi",
        "twiggy --listen {path} {programs}/app.psgi",
        ("twiggy",),
    ),
    Server(
        "plackup",
        "Perl",
        "plackup --port {port} -E deployment --no-default-middleware {programs}/app.psgi",
        needs=("plackup",),
    ),
    Server(
        "Mojolicious",
        "Perl",
        "perl {programs}/mojo.pl daemon -l http://0.0.0.0:{port}",
        needs=("perl",),
    ),
    Server("HTTP::Daemon", "Perl", "perl {programs}/daemon.pl {port}", needs=("perl",)),
    # -- others
    Server("Erlang gen_tcp", "Erlang", "escript {programs}/tcp.escript {port}", needs=("escript",)),
    Server(
        "Elixir gen_tcp", "Elixir", "elixir {programs}/tcp.exs {port}", needs=("elixir",), slow=2.0
    ),
    Server(
        "inets httpd",
        "Erlang",
        'erl -noinput -eval \'inets:start(), {ok, _} = inets:start(httpd, [{port, {port}}, {server_name, "zoo"}, '
        '{server_root, "{dir}"}, {document_root, "{dir}/www"}, {directory_index, ["index.html"]}]).\'',
        needs=("erl",),
        slow=1.0,
    ),
    Server("Copas", "Lua", "lua5.1 {programs}/copas_server.lua {port}", needs=("lua5.1",)),
    Server(
        "Guile web server",
        "Scheme",
        "guile --no-auto-compile {programs}/guile.scm {port}",
        needs=("guile",),
    ),
    Server("Tcl socket", "Tcl", "tclsh {programs}/server.tcl {port}", needs=("tclsh",)),
    Server(
        "Nim asynchttpserver",
        "Nim",
        "{build}/nim-server {port}",
        "",
        ("nim",),
        "nim c --hints:off --nimcache:{build}/nimcache -d:release -o:{build}/nim-server {programs}/server.nim",
    ),
    Server(
        "cohttp",
        "OCaml",
        "{build}/ml-server {port}",
        "",
        ("ocamlfind",),
        "cp {programs}/server.ml {build}/ && cd {build} && ocamlfind ocamlopt -thread -package cohttp-lwt-unix -linkpkg server.ml -o ml-server",
    ),
    Server(
        "Crystal HTTP::Server",
        "Crystal",
        "{build}/cr-server {port}",
        "",
        ("crystal",),
        "crystal build -o {build}/cr-server {programs}/server.cr",
    ),
    Server("httpuv", "R", "Rscript {programs}/httpuv.R {port}", needs=("Rscript",), slow=2.0),
    # -- C and C++
    _c("Boost.Asio", "C++", "g++ -O1 % -lpthread", "asio.cpp", "{port}", "{path}"),
    _c("libmicrohttpd, epoll", "C", "gcc -O1 -w % -lmicrohttpd", "mhd.c", "{port} epoll"),
    _c("libmicrohttpd, threads", "C", "gcc -O1 -w % -lmicrohttpd", "mhd.c", "{port} threads"),
    _c("libevent", "C", "gcc -O1 -w % -levent", "evhttp.c", "{port}"),
    _c("prefork", "C", "gcc -O1 -w %", "prefork.c", "{port}"),
    _c("select", "C", "gcc -O1 -w %", "select.c", "{port}"),
    Server(
        "nginx",
        "C",
        "nginx -c {dir}/nginx.conf -g 'pid {dir}/nginx.{slot}.pid;'",
        "nginx -c {dir}/nginx.conf -g 'pid {dir}/nginx.{slot}.pid;'",
        ("nginx",),
        conf="nginx.conf",
    ),
    Server(
        "haproxy",
        "C",
        "haproxy -db -f {dir}/haproxy.cfg",
        "haproxy -db -f {dir}/haproxy.cfg",
        ("haproxy",),
        conf="haproxy.cfg",
    ),
    Server(
        "haproxy -W", "C", "haproxy -W -f {dir}/haproxy.cfg", needs=("haproxy",), conf="haproxy.cfg"
    ),
    Server(
        "lighttpd",
        "C",
        "lighttpd -D -f {dir}/lighttpd.conf",
        needs=("lighttpd",),
        conf="lighttpd.conf",
    ),
    Server(
        "Apache httpd",
        "C",
        "sh -c 'mkdir -p {dir}/rt.$PYINIT_SLOT && exec apache2 -D FOREGROUND -f {dir}/apache.conf'",
        needs=("apache2",),
        conf="apache.conf",
    ),
    Server("H2O", "C", "h2o -c {dir}/h2o.conf", needs=("h2o",), conf="h2o.conf"),
    Server(
        "Varnish",
        "C",
        "varnishd -F -n {dir}/varnish.{slot} -a 0.0.0.0:{port} -f {dir}/default.vcl -s malloc,16m -j none",
        needs=("varnishd",),
        conf="default.vcl",
        slow=3.0,
    ),
    Server("busybox httpd", "C", "busybox httpd -f -p {port} -h {dir}/www", needs=("busybox",)),
    Server("mini-httpd", "C", "mini_httpd -D -p {port} -d {dir}/www", needs=("mini_httpd",)),
    Server("webfsd", "C", "webfsd -F -p {port} -r {dir}/www -f index.html", needs=("webfsd",)),
    Server(
        "tinyproxy",
        "C",
        "tinyproxy -d -c {dir}/tinyproxy.conf",
        needs=("tinyproxy",),
        conf="tinyproxy.conf",
        speaks="proxy",
    ),
    Server(
        "Squid",
        "C++",
        "squid -N -n z{port}s{slot} -f {dir}/squid.conf",
        needs=("squid",),
        conf="squid.conf",
        speaks="proxy",
        slow=2.0,
    ),
    Server(
        "Redis",
        "C",
        "redis-server --port {port} --bind 0.0.0.0 --protected-mode no --save '' --dir {dir}",
        "redis-server --port 0 --unixsocket {path} --save '' --dir {dir}",
        ("redis-server",),
        speaks="redis",
    ),
    Server(
        "memcached",
        "C",
        "memcached -u root -p {port} -U 0 -l 0.0.0.0",
        "memcached -u root -s {path}",
        ("memcached",),
        speaks="memcached",
    ),
    Server(
        "Mosquitto",
        "C",
        "mosquitto -c {dir}/mosquitto.conf",
        needs=("mosquitto",),
        speaks="mqtt",
        conf="mosquitto.conf",
    ),
)
