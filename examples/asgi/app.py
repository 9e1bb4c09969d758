"""An ASGI application without a framework: who answers, and how often it did."""

import json
import os

answered = 0


async def app(scope, receive, send):
    """Answer every request with this worker's number and pid."""
    global answered  # noqa: PLW0603  one process, one counter
    if scope["type"] != "http":
        return
    answered += 1
    body = json.dumps(
        {
            "instance": os.environ.get("NODE_APP_INSTANCE"),
            "pid": os.getpid(),
            "answered": answered,
        }
    ).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
