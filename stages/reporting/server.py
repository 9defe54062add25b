"""Serves the report on this machine, for data that does not fit into a page: lists and questions come from Parquet.

It listens on 127.0.0.1 alone and answers GET alone. A request whose Host header names another host is refused, so that
no other page reads the data by DNS rebinding; so is one that the browser calls cross-site.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from stages.core.errors import UserError
from stages.reporting.encoding import encode_tables
from stages.reporting.question_index import QuestionIndex, read_filters
from stages.reporting.records import Tables

HOST = "127.0.0.1"
_MOST_ROWS = 500  # of a list, in one response
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


def application(
    page: str, index: QuestionIndex, question_tables: Callable[[str], Tables | None], gold: Path
) -> Starlette:
    """The routes. `question_tables`: the tables of the question with this id, None if there is none; `gold`: the page
    of the gold audit."""

    def questions(request: Request) -> dict[str, Any]:
        return index.page(read_filters(request.query_params), *_slice(request))

    def compare(request: Request) -> dict[str, Any]:
        query = request.query_params
        models = query.get("a", ""), query.get("b", "")
        return index.compare(models, query.get("show", ""), read_filters(query), *_slice(request))

    def question(request: Request) -> dict[str, Any] | None:
        tables = question_tables(request.query_params.get("id", ""))
        return None if tables is None else encode_tables(tables)

    async def root(request: Request) -> Response:
        return HTMLResponse(page, headers=_HEADERS)

    async def audit(request: Request) -> Response:
        return FileResponse(gold, headers=_HEADERS) if gold.is_file() else Response(status_code=404)

    routes = [Route("/", root), Route("/index.html", root), Route("/gold.html", audit)]
    for path, answer in (("questions", questions), ("compare", compare), ("question", question)):
        routes.append(Route(f"/api/{path}", _json(answer)))
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])])


def _json(answer: Callable[[Request], dict[str, Any] | None]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        if request.headers.get("sec-fetch-site") == "cross-site":
            problem = {"error": "this server answers its own page alone"}
            return JSONResponse(problem, status_code=403, headers=_HEADERS)
        try:
            value = await run_in_threadpool(answer, request)
        except (UserError, OSError, pl.exceptions.PolarsError) as error:
            return JSONResponse({"error": str(error)}, status_code=400, headers=_HEADERS)
        if value is None:
            return JSONResponse({"error": "there is no such question"}, status_code=404, headers=_HEADERS)
        return JSONResponse(value, headers=_HEADERS)

    return endpoint


def _slice(request: Request) -> tuple[int, int]:
    """The offset and the limit of a list. Raises UserError where one is no number."""
    values = [request.query_params.get(name, default) for name, default in (("offset", "0"), ("limit", "50"))]
    if not all(value.isdecimal() and len(value) < 10 for value in values):
        raise UserError(f"offset and limit are {' and '.join(map(repr, values))}; give whole numbers")
    offset, limit = map(int, values)
    return offset, min(limit, _MOST_ROWS)


def listening_socket(port: int) -> socket.socket:
    """A socket on 127.0.0.1; port 0: any free one. Raises UserError where the port is taken or not allowed."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen()  # now, or another server could bind the port until this one is ready
    except OSError as error:
        listener.close()
        raise UserError(
            f"--port {port} cannot be used ({error.strerror}); choose another port, or 0 for any free one"
        ) from None
    return listener


def serve(app: Starlette, listener: socket.socket) -> None:
    """Serves until Ctrl-C."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=1)
    with suppress(KeyboardInterrupt):  # which uvicorn raises again when it has ended
        uvicorn.Server(config).run(sockets=[listener])
