"""What runs beside what, where pytest has several processes (pytest-xdist)."""

from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

# They start clusters, or look for one on this machine.
RAY = {"test_docs.py", "test_ray_pipeline.py", "test_ray_serve.py"}


class ByFile(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """A file's tests share what they start, so one process has them all, and one has all that start Ray."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "ray" if PurePath(file).name in RAY else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)
