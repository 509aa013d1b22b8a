"""Engines: a net made ready for one device and one precision. `choice` picks one; nothing else knows which runs."""

import sys

# With this module at hand, openvino tells its makers of each import. A service that is shown other people's images
# keeps quiet: None makes the module's import fail, as if it were not installed.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
