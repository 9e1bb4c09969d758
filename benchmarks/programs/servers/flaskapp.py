import logging
import sys

import flask

app = flask.Flask("x")
logging.getLogger("werkzeug").setLevel(logging.ERROR)


@app.route("/<number>")
def index(number):
    return "ok /" + number


if sys.argv[1] == "fd":
    from werkzeug.serving import make_server

    make_server("127.0.0.1", 0, app, threaded=True, fd=3).serve_forever()
else:
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
