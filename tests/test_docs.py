"""The README is true: its snippets run, its tables are complete."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from app.metrics import Metrics
from app.settings import Settings
from model.images.decoding import decode_image
from model.unet import UNet, UNetConfig
from tests.support import forked
from tests.support.forked import Forked
from tests.support.servers import free_port

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for folder in (".", "app", "docs", "deploy", "deploy/kubernetes", "model", "model/weights", "training")
    for path in (ROOT / folder).glob("*.md")
)
README = (ROOT / "README.md").read_text()

# Commands that do not come back, that other tests and the container build run, or that need a cluster.
NOT_HERE = (
    *("make serve", "make cluster", "serve run ", "RAY_AUTH_MODE=token serve ", "docker ", "kubectl ", "helm "),
    "SEGMENT_WEIGHTS=runs/first/",
    "python -m model.predict --ray ",
    *(
        f"python -m training.export --weights runs/first/weights.safetensors --to {kind}"
        for kind in ("onnx", "bioimageio")
    ),
)
# Long trainings, cut short, on fewer and smaller images.
SHORTER = {
    "--steps 300": "--steps 2 --workers 0 --width 4",
    "--count 24": "--count 3 --size 128",
    "--count 8": "--count 3 --size 128",
    "--minutes 5": "--steps 1 --workers 0 --crop 64 --batch 2",
}


def _blocks(language: str) -> list[str]:
    """Of all documents, the README's first."""
    texts = [(ROOT / name).read_text() for name in DOCUMENTS]
    return [block for text in texts for block in re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str], int]]:
    """A copy of what the snippets need, their environment, and the port of a server with the bundled weights."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("app", "model", "training", "docs"):
        shutil.copytree(ROOT / name, folder / name)
    torch.save(
        UNet(UNetConfig(width=4, upsampling="bilinear_aligned", conv_bias=True)).state_dict(), folder / "best_model.pth"
    )
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "PYTHONPATH": str(folder), "SEGMENT_PORT": str(port), "HOME": str(folder)}
    environment["OMP_NUM_THREADS"] = "1"  # two would wait for each other on nets so small
    with (folder / "server.log").open("w") as log:
        server = Forked("app", cwd=folder, env=environment, stdout=log, stderr=log)
        _wait_until_ready(server, port)
        yield folder, environment, port
        server.terminate()
        assert server.wait(timeout=60) == 0


def _wait_until_ready(server: Forked, port: int) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail("the server did not get ready")


def _run(command: list[str], sandbox: tuple[Path, dict[str, str], int]) -> None:
    folder, environment, _ = sandbox
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    _check(done, command[-1])


def _run_line(line: str, sandbox: tuple[Path, dict[str, str], int]) -> None:
    """Runs a line of a shell; a plain `python -m` without the imports, which take most of its time."""
    if not line.startswith("python -m ") or re.search("[|&;<>$`(){}]", line):
        return _run(["bash", "-c", line], sandbox)
    folder, environment, _ = sandbox
    return _check(forked.run(*shlex.split(line)[2:], cwd=folder, env=environment), line)


def _check(done: "subprocess.CompletedProcess[str]", command: str) -> None:
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_every_shell_snippet_runs(sandbox):
    lines = dict.fromkeys(line for block in _blocks("bash") for line in block.splitlines())
    commands = [line for line in lines if line and not line.startswith(("#", *NOT_HERE))]
    assert len(commands) > 20
    for line in commands:
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        line = line.replace("localhost:8000", f"localhost:{sandbox[2]}")
        line = line.replace("curl --fail-with-body ", "curl ").replace("curl ", "curl --fail --silent --show-error ")
        _run_line(line, sandbox)
    assert decode_image((sandbox[0] / "mask.png").read_bytes()).dtype.name == "uint8"
    assert decode_image((sandbox[0] / "probability.png").read_bytes()).dtype.name == "uint16"


def test_every_python_snippet_runs(sandbox):
    blocks = _blocks("python")
    assert len(blocks) == 5
    folder, environment, port = sandbox
    for number, block in enumerate(blocks):
        program = 'import warnings\n\nwarnings.simplefilter("error")\n' + block
        (folder / f"snippet_{number}.py").write_text(program.replace("localhost:8000", f"localhost:{port}"))
        _check(forked.run(f"snippet_{number}", cwd=folder, env=environment), block)


def test_the_pictured_mask_is_what_the_bundled_weights_give(sandbox):
    folder, _, port = sandbox
    request = urllib.request.Request(
        f"http://localhost:{port}/segment", (folder / "docs/example.png").read_bytes(), {"Content-Type": "image/png"}
    )
    with urllib.request.urlopen(request) as response:
        served = decode_image(response.read())
    pictured = decode_image((folder / "docs/example_mask.png").read_bytes())
    # another chip may round a few pixels to the other side of the threshold
    assert (served != pictured).mean() < 0.002


def test_every_setting_is_documented_with_its_default():
    rows = dict(re.findall(r"^\| `SEGMENT_(\w+)` \| (.+?) \|", README, flags=re.MULTILINE))
    assert [name.lower() for name in rows] == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if field.default not in (None, (), ""):
            default = f"{field.default:g}" if isinstance(field.default, float) else str(field.default)
            assert rows[name.upper()].lower().startswith(f"`{default.lower()}`"), name


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_between_documents_lead_somewhere(document):
    path = ROOT / document
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text())
    assert [target for target, _ in links if not (path.parent / target).exists()] == []
    for target, anchor in links:
        if anchor:
            assert anchor in _anchors(path.parent / target if target else path), f"{target}#{anchor}"


def _anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_metric_is_described():
    described = (ROOT / "docs" / "operating.md").read_text()
    names = {metric.name for metric in Metrics().registry.collect() if metric.name.startswith("segment_")}
    assert len(names) > 5
    assert [name for name in names if name not in described] == []


def test_dependencies_have_their_reason():
    decisions = (ROOT / "DECISIONS.md").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[<>=]", requirement)[0] for part in wanted for requirement in part} - {project["name"]}
    assert len(names) > 15
    assert [name for name in names if name not in decisions] == []
