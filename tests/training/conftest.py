"""Small labelled data, made by the project's own command."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.images.encoding import encode_png
from training import synthetic
from training.run import command as run
from training.run import job

WritePair = Callable[[Path, str, NDArray[np.uint8], NDArray[np.uint8]], None]


@pytest.fixture(scope="session")
def cells_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled images of 96 x 96."""
    folder = tmp_path_factory.mktemp("data") / "cells"
    assert synthetic.main(["--out", str(folder), "--count", "6", "--size", "96"]) == 0
    return folder


@pytest.fixture(scope="session")
def classes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of 64 x 64 with labels of three classes."""
    folder = tmp_path_factory.mktemp("data") / "classes"
    assert synthetic.main(["--out", str(folder), "--count", "5", "--size", "64", "--classes", "3"]) == 0
    return folder


@pytest.fixture
def write_pair() -> WritePair:
    """Writes an image and its label into the layout that training expects."""

    def write(folder: Path, stem: str, image: NDArray[np.uint8], label: NDArray[np.uint8]) -> None:
        for part, pixels in (("image", image), ("label", label)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / f"{stem}.png").write_bytes(encode_png(pixels))

    return write


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second less for each training."""
    monkeypatch.setattr(job, "report", lambda trainer: trainer.folder.report)


@pytest.fixture(scope="session")
def trained(cells_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training with the default recipe."""
    out = tmp_path_factory.mktemp("runs") / "default"
    assert run.main(["--data", str(cells_folder), "--out", str(out), *SHORT, "--name", "cells"]) == 0
    return out


@pytest.fixture(scope="session")
def trained_classes(classes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short training of three classes."""
    out = tmp_path_factory.mktemp("runs") / "classes"
    options = ["--data", str(classes_folder), "--out", str(out), *SHORT, "--crop", "32", "--val-fraction", "0.4"]
    assert run.main([*options, "--classes", "3", "--labels", "background", "cell", "nucleus"]) == 0
    return out


SHORT = ["--width", "4", "--steps", "4", "--batch", "2", "--workers", "0"]
