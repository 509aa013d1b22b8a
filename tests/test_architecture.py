"""How the house is laid out, held to by tests."""

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import __version__

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for package in ("app", "model", "training") for path in (ROOT / package).rglob("*.py"))

LONGEST_FUNCTION = 50
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


def test_local_prediction_imports_no_volume_or_cluster_library():
    code = "import sys, model.predict; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"ray", "zarr", "tifffile", "imagecodecs"})


def test_versions_that_are_written_twice_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert project["dependencies"][0] == (ROOT / "requirements/torch.txt").read_text().split()[-1]


def _imports(path: Path, modules: set[str]) -> set[str]:
    """Returns the project's modules that a module imports when it is imported itself."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & modules) or ({node.module} & modules)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & modules
    return found


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _circles(graph: dict[str, set[str]]) -> list[str]:
    """Returns the nodes that reach themselves."""
    circles = []
    for start in graph:
        reached, waiting = set[str](), list(graph[start])
        while waiting:
            node = waiting.pop()
            if node not in reached:
                reached.add(node)
                waiting += graph.get(node, ())
        if start in reached:
            circles.append(start)
    return circles


def _graph() -> dict[str, set[str]]:
    modules = {_module(path) for path in SOURCES}
    return {_module(path): _imports(path, modules) for path in SOURCES}


def test_modules_import_each_other_in_no_circle():
    assert _circles(_graph()) == []


def test_training_packages_depend_on_each_other_in_one_direction():
    packages: dict[str, set[str]] = {}
    for module, imported in _graph().items():
        package = ".".join(module.split(".")[:2])
        others = {".".join(name.split(".")[:2]) for name in imported if name.startswith("training.")}
        packages.setdefault(package, set()).update(others - {package})
    assert len(packages) > len(_graph()) / 10
    assert _circles({name: others for name, others in packages.items() if name.startswith("training.")}) == []


def test_a_module_name_has_one_meaning():
    """Each package with a command has a module of that name."""
    names = Counter(path.stem for path in SOURCES if not path.stem.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == ["command"]


@pytest.mark.parametrize(("package", "most"), [("training", 12), ("model", 14)])
def test_a_package_has_few_entries(package, most):
    no_modules = {"__pycache__", "py.typed", "__init__.py", "README.md"}
    entries = [path for path in (ROOT / package).iterdir() if path.name not in no_modules]
    assert 0 < len(entries) <= most
