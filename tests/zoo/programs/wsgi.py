import os


def app(environ, start):
    body = b"%d %s" % (os.getpid(), environ["PATH_INFO"].encode())
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


application = app
