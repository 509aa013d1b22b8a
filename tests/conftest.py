"""What runs beside what, where `pytest --dist loadgroup` has several processes."""

import pytest

# They start clusters, or look for one on this machine.
RAY = {"test_docs.py", "test_ray_pipeline.py", "test_ray_serve.py"}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which looks for the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests share what they start, so one process has them all."""
    for item in items:
        group = "ray" if item.path.name in RAY else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
