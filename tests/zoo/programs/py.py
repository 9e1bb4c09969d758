"""Python servers that have no command of their own: `py.py NAME PORT|PATH`."""

import asyncio
import os
import sys

name, where = sys.argv[1], sys.argv[2]
port = int(where) if where.isdigit() else 0
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from wsgi import app


def threading_http():
    import http.server

    class H(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"%d %s" % (os.getpid(), self.path.encode())
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    http.server.ThreadingHTTPServer(("0.0.0.0", port), H).serve_forever()


def socketserver_forking():
    import socketserver

    class H(socketserver.StreamRequestHandler):
        def handle(self):
            line = self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            body = b"%d %s" % (os.getppid(), line.split()[1])
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    socketserver.ForkingTCPServer.allow_reuse_address = True
    socketserver.ForkingTCPServer(("0.0.0.0", port), H).serve_forever()


def asyncio_streams():
    async def handle(reader, writer):
        line = await reader.readline()
        while (await reader.readline()).strip():
            pass
        body = b"%d %s" % (os.getpid(), line.split()[1])
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    async def main():
        server = await (
            asyncio.start_server(handle, "0.0.0.0", port)
            if port
            else asyncio.start_unix_server(handle, where)
        )
        await server.serve_forever()

    asyncio.run(main())


def xmlrpc():
    from xmlrpc.server import SimpleXMLRPCServer

    class H(SimpleXMLRPCServer):
        allow_reuse_address = True

    SimpleXMLRPCServer(("0.0.0.0", port), logRequests=False).serve_forever()


def wsgiref():
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class H(WSGIRequestHandler):
        def log_message(self, *_):
            pass

    make_server("0.0.0.0", port, app, handler_class=H).serve_forever()


def cheroot():
    from cheroot import wsgi

    wsgi.Server(("0.0.0.0", port) if port else where, app).start()


def cherrypy():
    import cherrypy

    cherrypy.config.update(
        {"server.socket_port": port, "server.socket_host": "0.0.0.0", "log.screen": False}
    )
    cherrypy.tree.graft(app, "/")
    cherrypy.engine.signals.subscribe()
    cherrypy.engine.start()
    cherrypy.engine.block()


def tornado():
    import tornado.ioloop
    import tornado.web

    class H(tornado.web.RequestHandler):
        def get(self, path):
            self.write(f"{os.getpid()} /{path}")

    async def main():
        tornado.web.Application([(r"/(.*)", H)]).listen(port, address="0.0.0.0")
        await asyncio.Event().wait()

    asyncio.run(main())


def tornado_fork():
    import tornado.httpserver
    import tornado.netutil
    import tornado.process
    import tornado.web

    class H(tornado.web.RequestHandler):
        def get(self, path):
            self.write(f"{os.getpid()} /{path}")

    found = tornado.netutil.bind_sockets(port, "0.0.0.0")
    tornado.process.fork_processes(2)

    async def main():
        server = tornado.httpserver.HTTPServer(tornado.web.Application([(r"/(.*)", H)]))
        server.add_sockets(found)
        await asyncio.Event().wait()

    asyncio.run(main())


def aiohttp():
    from aiohttp import web

    async def index(request):
        return web.Response(text=f"{os.getpid()} {request.path}")

    a = web.Application()
    a.router.add_get("/{x:.*}", index)
    web.run_app(a, **({"host": "0.0.0.0", "port": port} if port else {"path": where}), print=None)


def twisted():
    from twisted.internet import reactor
    from twisted.web import resource, server

    class R(resource.Resource):
        isLeaf = True

        def render_GET(self, request):
            return b"%d %s" % (os.getpid(), request.path)

    reactor.listenTCP(port, server.Site(R())) if port else reactor.listenUNIX(
        where, server.Site(R())
    )
    reactor.run()


def bottle():
    import bottle

    @bottle.route("/<x:re:.*>")
    def index(x):
        return f"{os.getpid()} /{x}"

    bottle.run(host="0.0.0.0", port=port, quiet=True)


def flask():
    import logging

    import flask

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    a = flask.Flask("x")

    @a.route("/<path:x>")
    @a.route("/", defaults={"x": ""})
    def index(x):
        return f"{os.getpid()} /{x}"

    a.run(host="0.0.0.0", port=port)


def gevent_pywsgi():
    from gevent import monkey

    monkey.patch_all()
    from gevent.pywsgi import WSGIServer

    WSGIServer(("0.0.0.0", port), app, log=None).serve_forever()


def eventlet_wsgi():
    import eventlet

    eventlet.monkey_patch()
    from eventlet import wsgi

    wsgi.server(eventlet.listen(("0.0.0.0", port)), app, log_output=False)


def pyramid():
    from pyramid.config import Configurator
    from pyramid.response import Response
    from waitress import serve

    with Configurator() as c:
        c.add_route("x", "/{x:.*}")
        c.add_view(lambda r: Response(f"{os.getpid()} {r.path}"), route_name="x")
        serve(c.make_wsgi_app(), host="0.0.0.0", port=port, _quiet=True)


def sanic():
    import sanic

    a = sanic.Sanic("zoo", configure_logging=False)

    @a.get("/<x:path>")
    async def index(request, x):
        return sanic.text(f"{os.getpid()} /{x}")

    a.run(host="0.0.0.0", port=port, single_process=True, access_log=False, motd=False)


def robyn():
    sys.argv[1:] = ["--log-level", "ERROR", "--processes", "1"]
    from robyn import Robyn

    a = Robyn(__file__)

    @a.get("/*extra")
    async def index(request):
        return f"{os.getpid()} {request.url.path}"

    @a.get("/")
    async def root(request):
        return f"{os.getpid()} /"

    a.start(host="0.0.0.0", port=port)


def websockets_server():
    import http

    import websockets.asyncio.server as s

    async def main():
        def process(connection, request):
            return connection.respond(http.HTTPStatus.OK, f"{os.getpid()} {request.path}")

        async def handler(ws):
            pass

        async with s.serve(handler, "0.0.0.0", port, process_request=process) as server:
            await server.serve_forever()

    import logging

    logging.disable(logging.CRITICAL)
    asyncio.run(main())


def waitress():
    import waitress

    waitress.serve(
        app, **({"host": "0.0.0.0", "port": port} if port else {"unix_socket": where}), _quiet=True
    )


globals()[name]()
