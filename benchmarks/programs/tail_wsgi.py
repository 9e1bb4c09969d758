"""`GET /?S` is answered after S seconds, in which the worker answers nobody else."""

import time


def app(env, start_response):
    time.sleep(float(env["QUERY_STRING"] or 0.0))
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
