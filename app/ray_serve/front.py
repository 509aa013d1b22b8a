"""The deployment that serves HTTP: the service's own application, with engines in other replicas."""

import asyncio
import logging
from typing import Any

from fastapi import FastAPI
from prometheus_client import Gauge
from ray import serve
from ray.exceptions import TaskCancelledError
from ray.serve.handle import DeploymentHandle
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.application import assemble
from app.logs import configure_logs
from app.ray_serve.cluster_scheduler import ClusterScheduler, Engines
from app.ray_serve.in_flight import InFlightLimit
from app.ray_serve.messages import UNUSABLE, Served, weights_of
from app.served_net import ServedNet
from app.served_nets import ServedNets, with_former_default
from app.service import Service
from app.settings import load_settings
from app.startup import Startup

log = logging.getLogger(__name__)

# Of the largest tiles, how many are on their way to each replica of the engine: one is computed, the others wait there.
AHEAD = 3

# Between two looks at how many replicas there are.
LOOK_S = 10.0


class BehindProxy:
    """Corrects two differences between Ray Serve's proxy and a plain ASGI server.

    The proxy adds its own X-Request-ID, so this class removes ours from responses. When a client disconnects, the
    proxy's `receive` may raise TaskCancelledError and would then wait forever; this class reports a disconnect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = False

        async def receive_or_gone() -> Message:
            nonlocal gone
            if not gone:
                try:
                    return await receive()
                except TaskCancelledError:
                    gone = True
            return {"type": "http.disconnect"}

        async def send_without_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["X-Request-ID"]
            await send(message)

        await self.app(scope, receive_or_gone, send_without_id)


@serve.deployment(name="Front", max_ongoing_requests=1000)
@serve.ingress()
class Front:
    """A replica."""

    def __init__(self, engine: "DeploymentHandle[Any]") -> None:
        """`engine`: a handle of the deployment `Engine`."""
        self._engine = engine
        self._settings = load_settings()
        configure_logs(self._settings.log_level)
        self._limit = AHEAD * self._settings.tile**2
        self._flight = InFlightLimit(self._limit)
        self._configured = False

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve's hook, see `serve.ingress`. Waits until an engine has the weights."""
        startup = Startup()
        served: list[Served] = await self._engine.find.remote(None)
        service = Service(self._settings, Engines(self._engine, served, self._flight, self._settings.tile))
        self._engines = Gauge(
            "segment_engines", "Replicas of the engine that this front knows.", registry=service.metrics.registry
        )
        self._app = assemble(service, startup)
        self._app.add_middleware(BehindProxy)
        self._looking = asyncio.create_task(self._look())
        return self._app

    async def reconfigure(self, user_config: object) -> None:
        """Switches new requests to other nets; requests in progress finish with the old nets.

        Weights that cannot be used change nothing but the log. A new replica does not start if its weights cannot be
        used.
        """
        service: Service = self._app.state.service
        try:
            served: list[Served] = await self._engine.find.remote(weights_of(user_config))
        except UNUSABLE as error:
            if not self._configured:
                raise
            log.error("weights stay as they were", extra={"fields": {"problem": str(error)}})
            return
        self._configured = True
        await asyncio.to_thread(service.wait_until_loaded)  # this comes right after the start, too
        former = service.nets
        nets = ServedNets(_net_of(each, former) for each in served)
        if [*nets] != [*former]:
            service.serve(with_former_default(nets, former))
            log.info("weights", extra={"fields": {"models": [net.label for net in nets]}})

    async def _look(self) -> None:
        """Keeps the limit of tiles on their way at this front's share of what the engines can have."""
        here = serve.get_replica_context()
        deployments = here.deployment, self._engine.deployment_name
        while True:
            try:
                fronts, engines = await asyncio.to_thread(_running, here.app_name, *deployments)
            except Exception:
                log.exception("replicas could not be counted: the limits stay as they were")
            else:
                self._engines.set(engines)
                self._flight.set_limit(self._limit * max(1, engines) // max(1, fronts))
            await asyncio.sleep(LOOK_S)


def _net_of(served: Served, nets: ServedNets) -> ServedNet:
    """Returns the net that is served already, if its file and weights are the same; else a new one."""
    known = nets.get(served.description.name)
    scheduler = (known or nets.default).scheduler
    assert isinstance(scheduler, ClusterScheduler)  # noqa: S101
    if known and served.reference == scheduler.reference:
        return known
    return scheduler.serving(served).net(known.name if known else None)


def _running(application: str, *deployments: str) -> list[int]:
    """Returns the number of running replicas of each deployment."""
    found = serve.status().applications[application].deployments
    running: Any = "RUNNING"  # it says that the keys are of an enumeration; they are text
    return [found[name].replica_states.get(running, 0) for name in deployments]
