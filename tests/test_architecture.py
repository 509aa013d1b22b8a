"""Tests the layout of the code: imports, names, sizes, and the mirror of tests."""

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


def test_serving_imports_nothing_of_training_and_of_the_client():
    code = "import sys, app.application, app.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    # tqdm is not among them: torch imports it if it is there
    assert loaded.isdisjoint({"training", "tensorboard", "skimage", "scipy", "matplotlib", "httpx"})
    assert "app.client" not in done.stdout.split()


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


# Test modules, and the modules that they test besides the module with the same name.
TESTED_IN = {
    "tests/app/test_admission.py": ["app/request_log"],
    "tests/app/test_routes.py": ["app/parameters", "app/pipeline", "app/upload"],
    "tests/app/test_local_scheduler.py": ["app/scheduler", "app/tile_queue"],
    "tests/app/test_local_backend.py": ["app/engine_settings"],
    "tests/app/saving/test_label_route.py": ["app/saving/label_form"],
    "tests/app/client/test_clients.py": ["app/client/exchange"],
    "tests/app/ray_serve/test_front.py": ["app/ray_serve/builder"],
    "tests/end_to_end/test_process.py": ["app/server"],
    "tests/model/engines/test_pytorch.py": ["model/engines/engine"],
    "tests/model/engines/test_openvino.py": ["model/engines/tracing"],
    "tests/model/images/test_decoding.py": ["model/images/opencv", "model/images/webp", "model/images/image_errors"],
    "tests/model/outputs/test_output.py": ["model/outputs/limits"],
    "tests/model/outputs/test_overlay.py": ["model/outputs/colours"],
    "tests/model/predict/test_predict.py": ["model/predict/command", "model/predict/progress_bar", "model/errors"],
    "tests/model/predict/test_local_pipeline.py": ["model/predict/jobs"],
    "tests/model/predict/volumes/test_predict_volumes.py": [
        f"model/predict/volumes/{name}"
        for name in (
            *("measurements", "result", "run_volumes", "source", "space"),
            *("tiff_volume", "volume_jobs", "volume_run"),
        )
    ],
    "tests/model/packages/test_packaged_weights.py": ["model/packages/packaged_file", "model/packages/trial"],
    "tests/model/packages/test_reach.py": ["model/packages/packaged_net"],
    "tests/model/test_weights_file.py": ["model/engines/graph_weights"],
    "tests/training/test_evaluate.py": [
        f"training/scoring/{name}"
        for name in ("class_evaluation", "evaluation", "pixel_scores", "prediction_scoring", "selection", "tables")
    ],
    "tests/training/data/test_pairing.py": [
        f"training/data/{name}"
        for name in ("matching", "names", "pair_files", "labels/polygons", "labels/array_files", "labels/stored_label")
    ],
    "tests/training/data/test_inspection.py": ["training/data/appearance", "training/data/shapes"],
    "tests/training/data/test_image_cache.py": ["training/data/free_memory"],
    "tests/training/data/test_folder.py": ["training/data_error"],
    "tests/training/distributed/test_torch_processes.py": [
        f"training/distributed/{name}" for name in ("collectives", "joining", "processes", "sync_batch_norm")
    ],
    "tests/training/export/test_export.py": ["training/export/command", "training/export/openvino_graph"],
    "tests/training/export/test_bioimageio.py": ["training/export/documentation"],
    "tests/training/loop/test_trainer.py": ["training/loop/display", "training/loop/machine", "training/loop/progress"],
    "tests/training/loop/test_time_budget.py": ["training/loop/clock"],
    "tests/training/report/test_html_report.py": [
        f"training/report/{name}" for name in ("charts", "findings", "pictures")
    ],
    "tests/training/run/test_resume.py": ["training/loop/signals"],
    "tests/training/run/test_run.py": [
        *(f"training/run/{name}" for name in ("command", "command_line", "job", "options", "preparation")),
        *("training/run/provenance", "training/run/training_options", "training/recipe"),
        "training/data/labels/label_options",
    ],
    "tests/training/scoring/test_measures.py": ["training/scoring/centrelines"],
}


def test_every_module_is_mirrored_by_a_test_module():
    modules = {str(path.relative_to(ROOT).with_suffix("")) for path in SOURCES if not path.stem.startswith("__")}
    elsewhere = [module for listed in TESTED_IN.values() for module in listed]
    mirrored = {name for name in modules if (ROOT / _mirror(name)).exists()}
    assert [path for path in TESTED_IN if not (ROOT / path).exists()] == []
    assert sorted(elsewhere) == sorted(modules - mirrored)


def _mirror(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"tests/{folder}/test_{name}.py"


def test_names_of_tests_are_under_70_characters():
    names = {
        function.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for function in _functions(path)
        if function.name.startswith("test_")
    }
    assert len(names) > 1000
    assert [name for name in names if len(name) >= 70] == []


def test_a_class_name_has_one_meaning():
    names = Counter(
        node.name for path in SOURCES for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)
    )
    assert len(names) > 100
    assert [name for name, count in names.items() if count > 1] == []
