"""The ASGI application: addresses of the KServe v2 protocol, limits, and what errors become."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ronn.errors import CancelledError, InputError, QueueFullError, RonnError, RunTimeoutError, UnsupportedError
from ronn.plan.budget import parse_size, size_text
from ronn_serve._version import __version__
from ronn_serve.metrics import Metrics
from ronn_serve.models import Models, Served
from ronn_serve.protocol import HEADER, InferRequest, ProtocolError, answer, decode

LARGE = 1 << 16
"""Bytes from which on JSON is read and written by another thread, so that others are served meanwhile."""

CLIENT_LEFT = 499
EXTENSIONS = ["binary_tensor_data"]
log = logging.getLogger("ronn.serve")


def create_app(
    served: Sequence[Served],
    *,
    max_request: int | str = "64MB",
    metrics: bool = True,
    failed: Callable[[Served, Exception], None] | None = None,
) -> Starlette:
    """An application that serves models; they are loaded when it starts, and it is ready when all of them are.

    max_request: bytes that the body of a request may have, as a number or as ``"64MB"``. metrics: whether ``/metrics``
    is there. failed: told when a model cannot be loaded (the others are served).
    """
    api = _Api(Models(served), parse_size(max_request), Metrics() if metrics else None, failed)
    model = "/v2/models/{name}"
    routes: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("/v2", "GET", api.server),
        ("/v2/health/live", "GET", api.live),
        ("/v2/health/ready", "GET", api.ready),
    ]
    for base in (model, f"{model}/versions/{{version}}"):
        routes += [
            (base, "GET", api.metadata),
            (f"{base}/ready", "GET", api.model_ready),
            (f"{base}/infer", "POST", api.infer),
        ]
    if metrics:
        routes.append(("/metrics", "GET", api.metrics))
    return Starlette(
        routes=[Route(path, handler, methods=[method]) for path, method, handler in routes],
        lifespan=api.lifespan,
        exception_handlers={404: _not_found, 405: _wrong_method},
    )


class _Api:
    def __init__(
        self,
        models: Models,
        largest: int,
        metrics: Metrics | None,
        failed: Callable[[Served, Exception], None] | None,
    ) -> None:
        self._models = models
        self._largest = largest
        self._metrics = metrics
        self._failed = failed

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        if self._metrics is not None:
            self._metrics.install(self._models)
        loading = [asyncio.create_task(self._load(m)) for m in self._models.by_name.values()]
        try:
            yield
        finally:
            for task in loading:
                task.cancel()
            await asyncio.gather(*loading, return_exceptions=True)
            await asyncio.gather(*(m.close() for m in self._models.by_name.values()))
            if self._metrics is not None:
                self._metrics.close()

    async def _load(self, model: Served) -> None:
        try:
            await model.load()
        except Exception as e:
            log.error("model %s: %s", model.name, e)
            if self._failed is not None:
                self._failed(model, e)
            return
        assert model.batcher is not None
        log.info("model %s is ready: %s", model.name, model.batcher.batching)

    # --- about the server and its models

    async def server(self, request: Request) -> Response:
        return JSONResponse({"name": "ronn-serve", "version": __version__, "extensions": EXTENSIONS})

    async def live(self, request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        ready = self._models.ready
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def metadata(self, request: Request) -> Response:
        try:
            return JSONResponse(self._find(request).metadata())
        except RonnError as e:
            return _error(e)

    async def model_ready(self, request: Request) -> Response:
        try:
            model = self._find(request)
        except RonnError as e:
            return _error(e)
        body: dict[str, Any] = {"name": model.name, "ready": model.ready}
        return JSONResponse(body if model.ready else {**body, "error": model.reason}, 200 if model.ready else 503)

    async def metrics(self, request: Request) -> Response:
        assert self._metrics is not None
        content, kind = await asyncio.to_thread(self._metrics.page)
        return Response(content, headers={"content-type": kind})

    def _find(self, request: Request) -> Served:
        return self._models.find(request.path_params["name"], request.path_params.get("version"))

    # --- inference

    async def infer(self, request: Request) -> Response:
        if self._metrics is None:
            return await self._infer(request)
        known = request.path_params["name"] in self._models.by_name
        with self._metrics.request(request.path_params["name"] if known else "") as note:
            response = await self._infer(request)
            note(response.status_code)
        return response

    async def _infer(self, request: Request) -> Response:
        try:
            model = self._find(request)
            body = await self._body(request)
            length = _header_length(request)
            wanted = await _beside(len(body), lambda: decode(body, length))
            results = await _until_gone(request, model.run(wanted))
            if results is None:
                return Response(status_code=CLIENT_LEFT)
            return await _answer(wanted, results, model)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)
        except RonnError as e:
            return _error(e)
        except Exception:
            log.exception("a request to %s failed", request.url.path)
            return JSONResponse({"error": "the server failed; its log has the reason"}, 500)

    async def _body(self, request: Request) -> bytes:
        announced = request.headers.get("content-length", "0")
        if announced.isdigit() and int(announced) > self._largest:
            raise self._too_large(int(announced))
        parts, total = [], 0
        async for part in request.stream():
            total += len(part)
            if total > self._largest:
                raise self._too_large(total)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _too_large(self, size: int) -> ProtocolError:
        limit = size_text(self._largest)
        return ProtocolError(
            f"the request has {size} bytes or more; this server takes up to {limit} (--max-request)", 413
        )


def _header_length(request: Request) -> int | None:
    given = request.headers.get(HEADER)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 15:
        raise ProtocolError(f"{HEADER}: {given!r} is no number of bytes")
    return int(given)


async def _beside(size: int, work: Callable[[], Any]) -> Any:
    """Does something that takes long for many bytes on another thread then."""
    return await asyncio.to_thread(work) if size > LARGE else work()


async def _until_gone(request: Request, run: Awaitable[dict[str, Any]]) -> dict[str, Any] | None:
    """What ``run`` gives; None when the client went away first, and the run was cancelled."""
    task = asyncio.ensure_future(run)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    finally:
        for other in (task, gone):
            other.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _answer(request: InferRequest, results: dict[str, Any], model: Served) -> Response:
    size = sum(getattr(r, "nbytes", LARGE) for r in results.values())
    body, length = await _beside(size, lambda: answer(request, results, model.name, model.version).encode())
    if length is None:
        return Response(body, media_type="application/json")
    return Response(body, media_type="application/octet-stream", headers={HEADER: str(length)})


def _error(error: RonnError) -> JSONResponse:
    """What an error of a request becomes. Those that time cures say when to come again."""
    match error:
        case ProtocolError():
            status = error.status
        case QueueFullError():
            return JSONResponse({"error": error.message}, 503, {"retry-after": "1"})
        case RunTimeoutError():
            status = 504
        case CancelledError():
            status = 503
        case InputError():
            status = 400
        case UnsupportedError():
            status = 400
        case _:
            status = 500
    if status == 500:
        log.error("%s: %s", type(error).__name__, error)
    return JSONResponse({"error": str(error) if status == 400 else error.message}, status)


async def _not_found(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"there is nothing at {request.url.path}: see GET /v2"}, 404)


async def _wrong_method(request: Request, error: Exception) -> Response:
    allowed = getattr(error, "headers", None)
    return JSONResponse({"error": f"{request.method} is not for {request.url.path}"}, 405, allowed)
