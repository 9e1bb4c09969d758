"""ASGI frameworks, for uvicorn and others."""

import os


def fastapi():
    from fastapi import FastAPI, responses

    a = FastAPI()

    @a.get("/{x:path}", response_class=responses.PlainTextResponse)
    async def index(x: str):
        return f"{os.getpid()} /{x}"

    return a


def litestar():
    from litestar import Litestar, get

    @get("/{x:path}")
    async def index(x: str) -> str:
        return f"{os.getpid()} {x}"

    @get("/")
    async def root() -> str:
        return f"{os.getpid()} /"

    return Litestar([index, root])


def blacksheep():
    from blacksheep import Application

    a = Application()

    @a.router.get("/*")
    async def index(request):
        return f"{os.getpid()} {request.url.path.decode()}"

    return a
