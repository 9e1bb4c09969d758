"""`GET /?S` is answered after S seconds, in which the worker answers others."""

import asyncio


async def app(scope, _receive, send):
    if scope["type"] != "http":
        return
    await asyncio.sleep(float(scope["query_string"] or 0.0))
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"ok"})
