"""Runs the napari plugin of the Imaging Server Kit against a running service, and takes a picture of the window.

It needs an environment of its own, because napari and Qt are large:

    python3 -m venv napari-env
    napari-env/bin/pip install "imaging-server-kit[napari]==0.3.1" pyqt6
    xvfb-run napari-env/bin/python -m tests.end_to_end.napari_run http://localhost:8000 docs/example.png window.png

Without a display, xvfb-run gives one. A URL with a key is http://any:KEY@host:8000.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

PATIENCE_S = 120.0

# The package downloads this picture when it is imported. Only its demonstrations use the picture.
skimage.data.brain = lambda: np.zeros((2, 4, 4), np.uint16)


def wait_until(condition: Callable[[], object], process_events: Callable[[], None]) -> None:
    """Runs the window until a condition holds. Raises TimeoutError."""
    last = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > last:
            raise TimeoutError("the plugin did not finish")
        process_events()
        time.sleep(0.02)


def run(url: str, image: Path, picture: Path) -> None:
    """Connects, runs each output on the image, checks the layers, and saves a picture of the window."""
    import napari
    from qtpy.QtWidgets import QApplication

    viewer = napari.Viewer(show=True)
    viewer.window.resize(1280, 800)
    viewer.add_image(np.asarray(Image.open(image)), name="image")
    _, widget = viewer.window.add_plugin_dock_widget("imaging-server-kit", "Connect to server")
    runner, process_events = widget.runner_widget, QApplication.processEvents
    runner.server_url_field.setText(url)
    runner.connect_btn.click()
    net = runner.selected_algorithm_name
    print("algorithms:", runner.runner.algorithms)
    for output in ("mask", "boxes", "points", "instances"):
        widget.params_panel.ui_state["output"].qt_widget.setCurrentText(output)
        widget.params_panel.ui_state["min_area"].qt_widget.setValue(50)
        widget.run_btn.click()
        name = f"{net} {output}"
        wait_until(partial(is_done, widget, viewer, name), process_events)
        describe(viewer.layers[name])
    for name in ("mask", "boxes", "points"):
        viewer.layers[f"{net} {name}"].visible = False
    viewer.layers[f"{net} instances"].opacity = 0.5
    viewer.reset_view()
    for _ in range(50):
        process_events()
        time.sleep(0.02)
    viewer.screenshot(str(picture), canvas_only=False, flash=False)
    viewer.close()


def is_done(widget: Any, viewer: Any, name: str) -> bool:
    """Returns True if the plugin has added a layer and can run again."""
    return name in viewer.layers and widget.run_btn.isEnabled()


def describe(layer: Any) -> None:
    """Prints type, shape and number of objects of a layer."""
    data = np.asarray(layer.data)
    objects = len(np.unique(data)) - 1 if type(layer).__name__ == "Labels" else len(data)
    columns = list(getattr(layer, "features", {}))[:4]
    print(f"{layer.name}: {type(layer).__name__} {data.shape} {data.dtype}, {objects} values or objects, {columns}")


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
