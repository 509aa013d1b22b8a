"""The service on a Ray cluster: `serve run deploy/ray-serve.yaml`.

Two deployments: `Front` is the HTTP service as it is anywhere, but sends the tiles of its images to replicas of
`Engine`. All fronts share all engines, so an image is as fast as the cluster, and small images share batches.
"""

from app.ray_serve.builder import build

__all__ = ["build"]
