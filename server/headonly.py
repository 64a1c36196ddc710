"""HEAD: what GET would answer, without the body."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadOnly:
    """Around the application: HEAD is answered wherever GET is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        streams = asyncio.Event()

        async def head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})
                kinds = [value for name, value in message.get("headers", []) if name.lower() == b"content-type"]
                if any(kind.startswith(b"text/event-stream") for kind in kinds):
                    streams.set()

        async def gone() -> Message:
            await streams.wait()  # to what has no end its reader is gone as soon as it has the head
            return {"type": "http.disconnect"}

        # a copy, since the server looks at the method of its own while it sends; of this version streams listen to gone
        inner = {**scope, "method": "GET", "asgi": {**scope["asgi"], "spec_version": "2.3"}}
        await self._app(inner, gone, head)
        scope["route"] = inner.get("route")  # by which requests are counted
