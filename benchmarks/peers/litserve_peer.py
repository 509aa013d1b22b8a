"""The net behind LitServe.

It has one worker with all threads, like the other servers; its documentation's worker per core suits nets of one
thread. As its documentation advises, it batches: up to 8 images, for which it waits at most 10 ms.
"""

import litserve
from fastapi import Request, Response

from benchmarks.peers.net import address, load_segmenter, to_input, to_png
from model.engines.engine import Array


class Api(litserve.LitAPI):
    """LitServe calls these in its worker, in this order; it stacks and unstacks arrays itself."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the engine knows its own
        self.segmenter = load_segmenter()

    def decode_request(self, request: Request) -> Array:
        # for a form, LitServe passes the form, whatever type is annotated
        return to_input(self.segmenter, request["file"].file.read())

    def predict(self, x: Array) -> Array:
        return self.segmenter.engine.run(x)

    def encode_response(self, output: Array) -> Response:
        return Response(to_png(self.segmenter, output), media_type="image/png")


if __name__ == "__main__":
    api = Api(max_batch_size=8, batch_timeout=0.01)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    host, port = address()
    server.run(host=host, port=port, num_api_servers=1, log_level="warning", generate_client_file=False)
