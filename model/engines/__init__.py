"""Engines: a net made ready for one device and one precision. `choice` picks one; nothing else knows which runs."""

import sys

# openvino reports each import to its makers through this module. A service that handles other people's images must not:
# None makes the module's import fail, as if it were not installed.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
