"""TorchScript, for torch in Python, C++ and Java; only `torch.jit.load` reads it."""

import warnings
from pathlib import Path

import torch

from model.engines.tracing import trace
from model.weights_file import Weights
from training.export import parity


def write(weights: Weights, path: Path) -> list[str]:
    """The file, with the weights' description as an extra file in it; returns what the check found.

    Raises ParityError, WeightsError, OSError.
    """
    # as bytes, so that a full disk is an OSError: the writer of torch.jit has an error of its own
    path.write_bytes(trace(weights.build_net()).save_to_buffer(_extra_files=weights.description.to_metadata()))
    return parity.check(weights, parity.without_gradients(load(path)))


def load(path: Path) -> torch.nn.Module:
    """A file that was written here."""
    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated, and still what other programs load
        net: torch.jit.ScriptModule = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return net
