"""The net behind FastAPI, as tutorials have it: no queue, no batches, no tiles.

Some tutorials write `def`, which FastAPI runs in threads, many at a time, and some `async def`, one at a time.
"""

from typing import Annotated

import uvicorn
from fastapi import FastAPI, File, Response, UploadFile

from benchmarks.peers.net import address, load_segmenter, to_input, to_png

app = FastAPI()
segmenter = load_segmenter()


@app.post("/predict")
def predict(file: Annotated[UploadFile, File()]) -> Response:
    """In a thread of FastAPI's pool."""
    return _mask(file.file.read())


@app.post("/async/predict")
async def predict_async(file: Annotated[UploadFile, File()]) -> Response:
    """On the event loop."""
    return _mask(await file.read())


def _mask(data: bytes) -> Response:
    probabilities = segmenter.engine.run(to_input(segmenter, data)[None])[0]
    return Response(to_png(segmenter, probabilities), media_type="image/png")


if __name__ == "__main__":
    host, port = address()
    uvicorn.run(app, host=host, port=port, log_level="warning")
