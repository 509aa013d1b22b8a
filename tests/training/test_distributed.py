"""Trainings on several processes, as torchrun starts them: what they compute, and how they start, stop and fail."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.servers import free_port
from training.checkpoints import read_checkpoint
from training.machine import Machine
from training.processes import Processes
from training.run_folder import read_history

ROOT = Path(__file__).parents[2]
# Torch's own batch norm errs by 1e-4 of the variance (so another number of threads gives other weights, too), and high
# rates make much of little.
TINY = ["--width", "4", "--crop", "64", "--batch", "5", "--workers", "0", "--learning-rate", "1e-4"]

# `training.run` with a check after every five steps, and none of the report's pictures, which take seconds.
RUN = """
import sys
from training import job, recipe, run
for name, made in recipe.RECIPES.items():
    recipe.RECIPES[name] = made.model_copy(update={"check_every": 5})
job.report = lambda trainer: "none"
sys.exit(run.main())
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "run.py"
    path.write_text(RUN)
    return path


def _environment() -> dict[str, str]:
    # the loopback: names of containers lead nowhere
    return os.environ | {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}


def _command(script: Path, processes: int, *options: Any) -> list[str]:
    if processes == 1:
        return [sys.executable, str(script), *map(str, options)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    return [*torchrun, "--master-port", str(free_port()), str(script), *map(str, options)]


def _train(script: Path, processes: int, *options: Any) -> subprocess.CompletedProcess[str]:
    command = _command(script, processes, *options)
    return subprocess.run(command, capture_output=True, text=True, env=_environment(), timeout=120)


def _history(folder: Path) -> dict[str, list[float]]:
    """Its columns; the loss is the mean of five steps."""
    rows = read_history(folder / "history.csv")
    return {name: [row[name] for row in rows] for name in rows[0]}


@dataclass(frozen=True)
class Trained:
    folder: Path
    said: str


@pytest.fixture(scope="module")
def trained_by(script: Path, cells_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Trained]:
    """The same training of 50 steps, by one and by two processes."""
    trained = {}
    for processes in (1, 2):
        folder = tmp_path_factory.mktemp("runs") / "out"
        done = _train(script, processes, "--data", cells_folder, "--out", folder, *TINY, "--steps", 50)
        assert done.returncode == 0, done.stderr
        trained[processes] = Trained(folder, done.stdout)
    return trained


def test_losses_are_those_of_one_process_though_shares_are_uneven(trained_by):
    """Of a batch's 5 images one process takes 3, the other 2."""
    one, many = (_history(trained_by[processes].folder) for processes in (1, 2))
    assert len(one["loss"]) == len(many["loss"]) == 10
    assert many["loss"] == pytest.approx(one["loss"], abs=1e-3)
    assert one["loss"][-1] < one["loss"][0] - 0.02, "it learns something"
    assert many["dice"] == pytest.approx(one["dice"], abs=0.01)


def test_only_the_main_process_speaks_and_writes(trained_by):
    said, folder = trained_by[2].said, trained_by[2].folder
    for once in ("labels: ", "5 images to train on", "step 50/50 ", "kept: ", "weights: "):
        assert len(re.findall(f"^{once}", said, re.MULTILINE)) == 1
    assert "shared by 2 processes" in said
    assert json.loads((folder / "config.json").read_text())["processes"] == 2
    assert len(list((folder / "tensorboard").iterdir())) == 1
    assert not (folder / "earlier").exists()


def test_a_process_without_an_image_changes_nothing(script, cells_folder, tmp_path):
    """The tutorial's recipe: batches of one image, in fp32."""
    options = ["--recipe", "tutorial", "--width", "4", "--steps", "10", "--workers", "0", "--data", cells_folder]
    said = [_train(script, n, *options, "--out", tmp_path / str(n)) for n in (1, 2)]
    assert [done.returncode for done in said] == [0, 0], said
    one, two = (_history(tmp_path / count)["loss"] for count in "12")
    assert two == pytest.approx(one, abs=1e-4)
    assert "1 of 2 processes have nothing to do" in said[1].stdout


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--data", "nowhere"], "training: no folder nowhere"),
        (["--steps", "none"], "error: argument --steps"),
        (["--device", "mps"], "training: device 'mps' is none for several processes"),
    ],
)
def test_what_is_wrong_is_said_once_and_ends_all_with_2(script, cells_folder, tmp_path, wrong, said):
    """Without torchrun, which has an exit code of its own."""
    options = ["--data", cells_folder, "--out", tmp_path / "out", *TINY, *wrong]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    each = [
        subprocess.Popen(
            _command(script, 1, *options),
            env=_environment() | meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    heard = [process.communicate(timeout=60)[1] for process in each]
    assert [process.returncode for process in each] == [2, 2], heard
    assert "".join(heard).count(said) == 1
    assert "Traceback" not in "".join(heard)


def test_a_process_whose_data_differ_is_named(script, cells_folder, tmp_path):
    """As on a node without the folder."""
    swapped = tmp_path / "swapped.py"
    swapped.write_text(
        "import os, pathlib\nfrom training import data\nload = data.load_samples\n"
        f"other = pathlib.Path({str(tmp_path / 'other')!r})\n"
        "data.load_samples = lambda folder, scheme: load(other if os.environ['RANK'] == '1' else folder, scheme)\n"
        + script.read_text()
    )
    done = _train(swapped, 2, "--data", cells_folder, "--out", tmp_path / "out", *TINY)
    assert done.stderr.count("training: ") == 1
    assert re.search(r"training: .*other.*\(process 1, on .*\)", done.stderr, re.DOTALL)
    assert re.search(r"exitcode +: 2", done.stderr)
    assert not (tmp_path / "out").exists()


def _stopped(script: Path, processes: int, out: Path, *options: Any) -> str:
    """Gets SIGTERM after its first check, as torchrun in its place; returns what was said."""
    process = subprocess.Popen(
        _command(script, processes, "--out", out, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        text=True,
    )
    while not (out / "history.csv").exists():
        assert process.poll() is None, "it ended before its first check"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said: str = process.communicate(timeout=60)[0]
    assert 0 < read_checkpoint(out / "checkpoint.pt")["step"] < 50, "stopped in the middle"
    return said


@pytest.mark.parametrize(("before", "then"), [(2, (2, 1)), (1, (2,))])
def test_stopped_by_sigterm_it_goes_on_with_any_number_of_processes(
    script, trained_by, cells_folder, tmp_path, before, then
):
    stopped = tmp_path / "stopped"
    said = _stopped(script, before, stopped, "--data", cells_folder, *TINY, "--steps", "50")
    assert said.count(f"training: stopped; --resume goes on from {stopped}\n") == 1
    for after in then:
        out = shutil.copytree(stopped, tmp_path / str(after))
        assert _train(script, after, "--out", out, "--resume").returncode == 0
        folders = trained_by[before].folder, out
        states = [read_checkpoint(folder / "checkpoint.pt") for folder in folders]
        assert [state["step"] for state in states] == [50, 50]
        tensors = [state["learner"]["net"] for state in states]
        if before == after:
            assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
        whole, resumed = (_history(folder)["loss"] for folder in folders)
        assert resumed == pytest.approx(whole, abs=1e-3)


def test_one_that_is_killed_ends_all_and_leaves_the_checkpoint(script, cells_folder, tmp_path):
    killing = tmp_path / "killing.py"
    killing.write_text(
        "import os, signal, time\nfrom training import learner, run\nupdate = learner.Learner.update\nsteps = []\n"
        "def killed_in_the_seventh(self):\n    steps.append(1)\n"
        "    if len(steps) == 7 and os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n    update(self)\n"
        "learner.Learner.update = killed_in_the_seventh\n"
        # so late that torchrun's SIGTERM has come before
        "ended = run._ended\nrun._ended = lambda why, code: (time.sleep(1), ended(why, code))[1]\n" + script.read_text()
    )
    done = _train(killing, 2, "--data", cells_folder, "--out", tmp_path / "out", *TINY, "--steps", "50")
    assert done.returncode == 1
    assert "training: another process has ended" in done.stderr
    assert "[rank" not in done.stderr, "no traceback of ours"
    assert read_checkpoint(tmp_path / "out/checkpoint.pt")["step"] >= 5


# On each of three processes, which have 3, 1 and no images: what is shared against what one computes of all of them.
EXACT = """
import torch
from training import losses
from training.processes import joined
from training.sync_batch_norm import SyncBatchNorm2d, synchronise

def close(one, other, what):
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5), (what, (one - other).abs().max())

def check_batch_norm(processes, mine):
    whole, shared = (torch.nn.Sequential(torch.nn.BatchNorm2d(5)) for _ in range(2))
    for net in (whole, shared):
        torch.nn.init.uniform_(net[0].weight, generator=torch.Generator().manual_seed(1))
    processes.synchronise_batch_norm(shared)
    assert isinstance(shared[0], SyncBatchNorm2d)
    assert shared.state_dict().keys() == whole.state_dict().keys()
    for _ in range(3):
        all_images = 3 * torch.randn(4, 5, 6, 7) + 2
        wanted = torch.randn(4, 5, 6, 7)
        images = all_images[mine].requires_grad_()
        all_images.requires_grad_()
        one, many = whole(all_images), shared(images)
        close(one[mine], many, "output")
        (one.exp() * wanted).sum().backward()
        (many.exp() * wanted[mine]).sum().backward()
        close(all_images.grad[mine], images.grad, "gradient of images")
    processes.add_gradients(shared.parameters())
    for name, parameter in whole.named_parameters():
        close(parameter.grad, shared.get_parameter(name).grad, name)
    for name, buffer in whole.named_buffers():
        close(buffer.float(), shared.get_buffer(name).float(), name)
    close(whole.eval()(all_images), shared.eval()(all_images), "evaluation")

def check_losses(processes, mine):
    for name, loss in losses.LOSSES.items():
        K = 3 if name.startswith("cross") else 1
        logits, weights = torch.randn(4, K, 8, 8), 1 + torch.rand(4, 1, 8, 8)
        targets = torch.randint(0, max(2, K), (4, 1, 8, 8)).float()
        share = logits[mine].clone().requires_grad_()
        logits.requires_grad_()
        one = loss(logits, targets, weights)
        many = loss(share, targets[mine], weights[mine], losses.Share(len(share) / 4, processes.total))
        close(one, many, name)
        one.backward()
        many.backward()
        close(logits.grad[mine], share.grad, name)

with joined() as processes:
    torch.manual_seed(0)
    mine = [slice(0, 3), slice(3, 4), slice(4, 4)][processes.rank]
    check_batch_norm(processes, mine)
    check_losses(processes, mine)
    assert processes.any(processes.rank == 2) and not processes.any(False)
    assert processes.least(processes.rank - 1.0) == -1.0
    assert processes.from_main(processes.rank + 0.1) == 0.1
    assert processes.on_main(lambda: (processes.rank, processes.on_main(lambda: 7))) == (0, 7)
"""


def test_batch_norm_and_losses_of_shares_are_those_of_the_whole_batch(tmp_path):
    script = tmp_path / "exact.py"
    script.write_text(EXACT)
    done = _train(script, 3)
    assert done.returncode == 0, done.stderr


class _One(Processes):
    def __init__(self, rank: int, count: int) -> None:
        self.rank, self.count = rank, count


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_each_image_of_a_batch_is_one_processes(count, parts):
    machines = [Machine(torch.device("cpu"), parts=parts, processes=_One(rank, count)) for rank in range(count)]
    shares = [machine.share(6) for machine in machines]
    assert sorted(number for share in shares for number in share) == list(range(6))
    for part in range(parts):
        sizes = [len(machine.divided(6)[part][1]) for machine in machines]
        assert max(sizes) - min(sizes) <= 1


def test_the_fewest_images_that_batch_norm_sees():
    def fewest(count: int, sync: bool) -> int:
        return Machine(torch.device("cpu"), processes=_One(0, count), sync_batch_norm=sync).fewest_normalised(6)

    assert [fewest(1, True), fewest(4, True), fewest(2, False), fewest(4, False), fewest(9, False)] == [6, 6, 3, 1, 1]
