"""Puts the application together: routes behind admission, loading at the start, draining at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from app import __version__, page
from app.admission import Admission
from app.local_backend import LocalBackend, find_nets
from app.net_example import router as net_example
from app.open_inference.endpoints import router as open_inference
from app.openapi import document, operation_id
from app.path_prefix import PathPrefix
from app.problems import install_problem_handlers
from app.request_log import RequestLog
from app.routes import router
from app.saving.label_route import router as labels
from app.server_kit.kit_routes import router as server_kit
from app.service import Service
from app.settings import Settings, load_settings
from app.startup import Startup
from app.weights_watcher import WeightsWatcher
from model.weights_file import WeightsError

log = logging.getLogger(__name__)

# What pages of other origins may send and read (CORS), besides the simple headers.
ACCEPTED_HEADERS = ("Authorization", "Content-Type", "X-API-Key", "X-Request-ID")
EXPOSED_HEADERS = (
    "Content-Disposition",
    "Retry-After",
    "Server-Timing",
    "X-Channel-Pages",
    "X-Channels",
    "X-Model",
    "X-Notice",
    "X-Pages",
    "X-Pixel-Size",
    "X-Places",
    "X-Request-ID",
    "X-Spacing",
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; settings from the environment unless given.

    The weights are read here, the engine is built and warmed while the server already answers `/healthz`; until it
    is, `/readyz` is 503. Raises SettingsError, WeightsError.
    """
    startup = Startup()
    startup.done("import")
    settings = settings or load_settings()
    found = find_nets(settings)
    startup.done("weights")
    backend = LocalBackend(settings, found.nets)
    service = Service(settings, backend)
    service.refused = found.refused
    if settings.weights is None or not settings.watch_s:
        return assemble(service, startup)
    return assemble(service, startup, WeightsWatcher(service, backend, settings.weights, settings.watch_s))


def assemble(service: Service, startup: Startup, watcher: WeightsWatcher | None = None) -> FastAPI:
    """The application of a service that is not loaded yet. `watcher`: picks up new weights while serving."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(service, startup, watcher))
        yield
        await loading
        if watcher:
            await asyncio.to_thread(watcher.close)
        await asyncio.to_thread(service.close)

    app = FastAPIOffline(
        title="U-Net segmentation",
        version=__version__,
        description="Images in, masks and objects out. Errors are problem documents (RFC 9457).",
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
    )
    app.state.service = service
    app.include_router(router)
    app.include_router(labels)
    app.include_router(net_example)
    app.include_router(page.router)
    app.include_router(open_inference)
    app.include_router(server_kit)  # the last one: its paths begin with any name
    app.openapi = document(app, needs_key=bool(service.settings.api_keys))  # type: ignore[method-assign]
    install_problem_handlers(app)
    # each middleware is outside those before it
    app.add_middleware(Admission, service=service)
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=("GET", "POST"),
            allow_headers=ACCEPTED_HEADERS,
            expose_headers=EXPOSED_HEADERS,
        )
    app.add_middleware(RequestLog, metrics=service.metrics)
    app.add_middleware(PathPrefix, root_path=service.settings.root_path)
    return app


async def _load(service: Service, startup: Startup, watcher: WeightsWatcher | None) -> None:
    startup.done("listen")
    try:
        await asyncio.to_thread(service.load, startup)
        if watcher:
            watcher.start()
    except WeightsError as error:
        service.failure = error  # one line says it all, and the process prints it: see app.__main__
    except Exception as error:  # whatever it is: a process that will never be ready must end
        service.failure = error
        log.exception("start failed")
