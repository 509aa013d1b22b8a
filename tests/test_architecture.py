"""How the house is laid out, held to by tests."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import __version__

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("app", "model", "training") for path in (ROOT / package).rglob("*.py"))

LONGEST_FUNCTION = 60
LONGEST_MODEL_FILE = 250


def test_import_contracts_hold():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_short(path):
    long = [f.name for f in _functions(path) if (f.end_lineno or f.lineno) - f.lineno >= LONGEST_FUNCTION]
    assert long == []


@pytest.mark.parametrize("path", sorted((ROOT / "model").glob("*.py")), ids=lambda path: path.name)
def test_files_of_the_shared_package_are_short(path):
    assert len(path.read_text().splitlines()) <= LONGEST_MODEL_FILE


def test_serving_imports_nothing_that_only_training_installs():
    code = "import sys, app.application, app.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    # tqdm is not among them: torch imports it if it is there
    assert loaded.isdisjoint({"training", "tensorboard", "skimage", "scipy", "matplotlib"})


def test_predicting_images_here_imports_nothing_that_volumes_or_clusters_need():
    code = "import sys, model.predict; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"ray", "zarr", "tifffile", "imagecodecs"})


def test_versions_that_are_written_twice_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert project["dependencies"][0] == (ROOT / "requirements/torch.txt").read_text().split()[-1]
