"""Metadata of the server, of the net and of its tensors. A size that each request chooses is -1."""

from typing import Any

from app import __version__
from app.served_net import ServedNet
from app.served_nets import ServedNets

VERSION = "1"
"""Of each model: a server has one set of weights of a name at a time."""

_IMAGE = "Image files of one page: PNG, JPEG, TIFF, BMP or WebP; in JSON, the base64 of each."
_INPUT = (
    "Pixel values, instead of image: 0..1, or 0..255 if the largest is above 1, or 0..65535 if it is above 255; "
    "C channels as the net takes them, or 1 or 3 that are converted."
)
_MASK = "0 and 255, or the class index of a net of several classes."
_PROBABILITY = "0..1, of each of K classes."
_MASK_PNG = "The mask of each image as a PNG file; in JSON, its base64."


def server_metadata() -> dict[str, Any]:
    """Name, version, and what of the protocol's extensions is there."""
    extensions = ["binary_tensor_data", "model_configuration", "model_repository"]
    return {"name": "unet-segmentation", "version": __version__, "extensions": extensions}


def repository_index(nets: ServedNets) -> list[dict[str, str]]:
    """Returns all nets; also one that is not in memory is ready, because the next request loads it."""
    return [{"name": name, "version": VERSION, "state": "READY", "reason": ""} for name in nets.names]


def model_metadata(net: ServedNet) -> dict[str, Any]:
    """The net's tensors: one of the inputs is sent, the outputs are for the choosing."""
    return {
        "name": net.description.name,
        "versions": [VERSION],
        "platform": net.engine.name,
        "inputs": _inputs(net),
        "outputs": _outputs(net),
    }


def model_config(net: ServedNet) -> dict[str, Any]:
    """Returns the fields of Triton's model configuration that apply here."""
    return {
        "name": net.description.name,
        "platform": net.engine.name,
        "max_batch_size": 0,  # Triton's way to say that the shapes hold N
        "input": [_configured(tensor) | {"optional": True} for tensor in _inputs(net)],
        "output": [_configured(tensor) for tensor in _outputs(net)],
    }


def _inputs(net: ServedNet) -> list[dict[str, Any]]:
    channels = net.description.architecture.in_channels
    return [_tensor("image", "BYTES", [-1], _IMAGE), _tensor("input", "FP32", [-1, channels, -1, -1], _INPUT)]


def _outputs(net: ServedNet) -> list[dict[str, Any]]:
    classes = net.description.architecture.classes
    return [
        _tensor("mask", "UINT8", [-1, 1, -1, -1], _MASK),
        _tensor("probability", "FP32", [-1, classes, -1, -1], _PROBABILITY),
        _tensor("mask_png", "BYTES", [-1], _MASK_PNG),
    ]


def _tensor(name: str, datatype: str, shape: list[int], description: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"description": description}}


def _configured(tensor: dict[str, Any]) -> dict[str, Any]:
    kind = {"BYTES": "TYPE_STRING"}.get(tensor["datatype"], f"TYPE_{tensor['datatype']}")
    return {"name": tensor["name"], "data_type": kind, "dims": tensor["shape"]}
