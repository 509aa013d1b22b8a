"""The net behind Ray Serve: one replica with all threads, and batches, as its documentation advises.

Ray's own processes (store, scheduler, controller, proxy) use the CPU even without requests. This is one more reason to
run only one server of this benchmark at a time.
"""

import contextlib
import os
import signal
from typing import Annotated

import numpy as np
import ray
from fastapi import FastAPI, File, Response, UploadFile
from ray import serve

from benchmarks.peers.net import address, load_segmenter, to_input, to_png
from model.engines.engine import Array

app = FastAPI()


class Net:
    """The deployment: loads the net and answers batches."""

    def __init__(self) -> None:
        self.segmenter = load_segmenter()

    @app.post("/predict")
    async def predict(self, file: Annotated[UploadFile, File()]) -> Response:
        probabilities = await self.compute(to_input(self.segmenter, await file.read()))
        return Response(to_png(self.segmenter, probabilities), media_type="image/png")

    @serve.batch(max_batch_size=8, batch_wait_timeout_s=0.01)
    async def compute(self, tiles: list[Array]) -> list[Array]:
        return list(self.segmenter.engine.run(np.stack(tiles)))


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would tell its makers
    ray.init(include_dashboard=False, log_to_driver=False)
    host, port = address()
    serve.start(http_options={"host": host, "port": port})
    deployment = serve.deployment(max_ongoing_requests=32)(serve.ingress(app)(Net))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        serve.run(deployment.bind(), blocking=True)
    ray.shutdown()
