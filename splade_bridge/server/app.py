"""The page and the API as an application of ASGI: read only, for browsers of this machine.

Every answer says that nothing may be loaded from elsewhere, and that no other page may frame it.
A request for another host is refused, so that no name that is made to lead here (DNS rebinding)
lets a page from elsewhere read what is served.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from functools import partial

import orjson
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from splade_bridge.errors import BadInputError, MismatchError, SpladeBridgeError, UsageError
from splade_bridge.files.shown import shown
from splade_bridge.server.answers import Fault, Refusal
from splade_bridge.server.openapi import document
from splade_bridge.server.page_files import STYLES, asset_text
from splade_bridge.server.parameters import read_parameters
from splade_bridge.server.paths import PATHS, Path
from splade_bridge.server.served import NotThere, Served

log = logging.getLogger(__name__)

ASSETS = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": (STYLES, "text/css; charset=utf-8"),
    "/render.js": ("render.js", "text/javascript; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path -> file of the folder ``page`` beside this module, and its type."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


def application(served: Served, threads: int, hosts: Collection[str] | None) -> ASGIApp:
    """The page and the API.

    Args:
        threads: questions that are answered at a time; others wait for their turn.
        hosts: names that requests may ask for; None for any.
    """
    limiter = CapacityLimiter(threads)
    routes = [Route(f"/{path.name}", _answering(path, served, limiter)) for path in PATHS]
    described = orjson.dumps(document())
    routes.append(Route("/openapi.json", _constant(described, "application/json")))
    for path, (name, kind) in ASSETS.items():
        routes.append(Route(path, _constant(asset_text(name).encode(), kind)))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused})
    return Guarded(app, hosts)


def status_of(error: SpladeBridgeError) -> int:
    """The status that an error is answered with."""
    if isinstance(error, NotThere):
        return 404
    if isinstance(error, UsageError | BadInputError):
        return 400
    return 409 if isinstance(error, MismatchError) else 500


Endpoint = Callable[[Request], Awaitable[Response]]


def _answering(path: Path, served: Served, limiter: CapacityLimiter) -> Endpoint:
    method = getattr(served, path.name)

    async def endpoint(request: Request) -> Response:
        try:
            given = read_parameters(path.parameters, request.query_params.multi_items())
            found = await to_thread.run_sync(
                partial(method, **given), limiter=limiter, abandon_on_cancel=True
            )
        except SpladeBridgeError as error:
            if (status := status_of(error)) == 500:
                log.error("%s: %s", path.name, error)
            return _json(Refusal(Fault(shown(str(error)), type(error).__name__)), status)
        return _json(found)

    return endpoint


def _constant(content: bytes, kind: str) -> Endpoint:
    async def endpoint(_: Request) -> Response:
        return Response(content, media_type=kind)

    return endpoint


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    names = ", ".join(["/", *(f"/{path.name}" for path in PATHS), "/openapi.json"])
    message = {
        404: f"nothing is here; there are {names}",
        405: "only GET is answered: nothing can be changed",
    }.get(error.status_code, str(error.detail))
    return _json(Refusal(Fault(message, "UsageError")), error.status_code)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


class Guarded:
    """An application whose answers carry :data:`HEADERS`, for requests of known hosts alone."""

    def __init__(self, app: ASGIApp, hosts: Collection[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        if self._hosts is not None and _host(scope) not in self._hosts:
            wrong = Fault(
                "this name is not served: ask for the address that serve told", "UsageError"
            )
            await _json(Refusal(wrong), 421)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)


def _host(scope: Scope) -> str:
    """The host that a request asks for, without its port."""
    given: dict[bytes, bytes] = dict(scope["headers"])
    host: str = given.get(b"host", b"").decode("latin-1").lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
