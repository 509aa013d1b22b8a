"""Trainings on several processes, as torchrun starts them: what they compute, and how they start, stop and fail."""

import json
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tests.support import often_checked
from tests.support.forked import Forked
from tests.support.servers import free_port
from tests.support.together import together
from training.data import folder as data
from training.distributed.joining import joined
from training.distributed.processes import Processes
from training.distributed.sync_batch_norm import SyncBatchNorm2d
from training.loop import losses
from training.loop.checkpoints import read_checkpoint
from training.loop.machine import Machine
from training.loop.run_folder import read_history

ROOT = Path(__file__).parents[3]
# Torch's own batch norm errs by 1e-4 of the variance (so another number of threads gives other weights, too), and high
# rates make much of little.
TINY = ["--width", "4", "--crop", "64", "--batch", "5", "--workers", "0", "--learning-rate", "1e-4"]

OFTEN_CHECKED = "tests.support.often_checked"


def _by_torchrun(*command: str) -> list[str]:
    """On two processes. Where it is not torchrun that matters, `together` is several times as fast."""
    return ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port()), *command]


def _start(command: list[str], log: Path) -> Forked:
    """`python -m COMMAND`."""
    # the loopback: names of containers lead nowhere
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    with log.open("w") as both:
        return Forked(*command, env=environment, stdout=both, stderr=both)


def _history(folder: Path) -> dict[str, list[float]]:
    """Its columns; the loss is the mean of five steps."""
    rows = read_history(folder / "history.csv")
    return {name: [row[name] for row in rows] for name in rows[0]}


@dataclass(frozen=True)
class Trained:
    """`said`: by the main process, and by the other."""

    folder: Path
    said: tuple[str, str]


@pytest.fixture(scope="module")
def options(cells_folder: Path) -> list[str]:
    return ["--data", str(cells_folder), *TINY, "--steps", "30"]


@pytest.fixture(scope="module")
def trained_alone(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "alone"
    assert often_checked.main([*options, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def trained_by_two(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same training."""
    folder = tmp_path_factory.mktemp("runs") / "two"
    main, other = together(2, often_checked.main, [*options, "--out", str(folder)])
    assert (main.code, other.code) == (0, 0), (main, other)
    return Trained(folder, (main.stdout, other.stdout))


def test_losses_are_those_of_one_process_though_shares_are_uneven(trained_alone, trained_by_two):
    """Of a batch's 5 images one process takes 3, the other 2."""
    one, many = _history(trained_alone), _history(trained_by_two.folder)
    assert len(one["loss"]) == len(many["loss"]) == 6
    assert many["loss"] == pytest.approx(one["loss"], abs=1e-3)
    assert one["loss"][-1] < one["loss"][0] - 0.02, "it learns something"
    assert many["dice"] == pytest.approx(one["dice"], abs=0.01)


def test_only_the_main_process_speaks_and_writes(trained_by_two):
    (said, said_by_other), folder = trained_by_two.said, trained_by_two.folder
    for once in ("labels: ", "5 images to train on", "step 30/30 ", "kept: ", "weights: "):
        assert len(re.findall(f"^{once}", said, re.MULTILINE)) == 1
    assert "shared by 2 processes" in said
    assert said_by_other == ""
    assert json.loads((folder / "config.json").read_text())["processes"] == 2
    assert len(list((folder / "tensorboard").iterdir())) == 1
    assert not (folder / "earlier").exists()


def test_a_process_without_an_image_changes_nothing(cells_folder, tmp_path):
    """The tutorial's recipe: batches of one image, in fp32."""
    options = ["--recipe", "tutorial", "--width", "4", "--steps", "10", "--workers", "0", "--data", str(cells_folder)]
    assert often_checked.main([*options, "--out", str(tmp_path / "1")]) == 0
    ended = together(2, often_checked.main, [*options, "--out", str(tmp_path / "2")])
    assert [each.code for each in ended] == [0, 0], ended
    one, two = (_history(tmp_path / count)["loss"] for count in "12")
    assert two == pytest.approx(one, abs=1e-4)
    assert "1 of 2 processes have nothing to do" in ended[0].stdout


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--data", "nowhere"], "training: no folder nowhere"),
        (["--steps", "none"], "error: argument --steps"),
        (["--device", "mps"], "training: --device mps cannot be shared by several processes"),
    ],
)
def test_an_error_is_reported_once_and_ends_all_processes_with_2(options, tmp_path, wrong, said):
    """Without torchrun, which has an exit code of its own."""
    ended = together(2, often_checked.main, [*options, "--out", str(tmp_path / "out"), *wrong])
    assert [each.code for each in ended] == [2, 2], ended
    assert ended[0].stderr.count(said) == 1, ended[0].stderr
    assert "Traceback" not in ended[0].stderr
    assert ended[1].stderr == ""


def _train_on_a_node_of_its_own(data_of_process_1: Path, argv: list[str]) -> int:
    def load(folder: Path, *rest: Any) -> data.LabelledData:
        return load_data(data_of_process_1 if os.environ["RANK"] == "1" else folder, *rest)

    load_data = data.load_data
    with mock.patch.object(data, "load_data", load):
        return often_checked.main(argv)


def test_a_process_whose_data_differ_is_named(options, tmp_path):
    """As on a node without the folder."""
    train = partial(_train_on_a_node_of_its_own, tmp_path / "other")
    ended = together(2, train, [*options, "--out", str(tmp_path / "out")])
    assert [each.code for each in ended] == [2, 2], ended
    assert ended[0].stderr.count("training: ") == 1
    assert re.search(r"training: .*other.*\(process 1, on .*\)", ended[0].stderr, re.DOTALL)
    assert ended[1].stderr == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("before", "then"), [(2, (2, 1)), (1, (2,))])
def test_a_training_stopped_by_sigterm_resumes_on_any_process_count(
    options, trained_alone, trained_by_two, tmp_path, before, then
):
    """SIGTERM after the first check; of several, it is torchrun that gets it."""
    stopped = tmp_path / "stopped"
    command, log = [OFTEN_CHECKED, *options, "--out", str(stopped)], tmp_path / "log"
    process = _start(command if before == 1 else _by_torchrun("-m", *command), log)
    while not (stopped / "history.csv").exists():
        assert process.poll() is None, "it ended before its first check"
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert log.read_text().count(f"training: stopped; --resume continues from {stopped}\n") == 1
    assert 0 < read_checkpoint(stopped / "checkpoint.pt")["step"] < 30, "stopped in the middle"

    for after in then:
        out = shutil.copytree(stopped, tmp_path / str(after))
        resumed = ["--out", str(out), "--resume"]
        if after == 1:
            assert often_checked.main(resumed) == 0
        else:
            assert [each.code for each in together(after, often_checked.main, resumed)] == [0] * after
        folders = trained_alone if before == 1 else trained_by_two.folder, out
        states = [read_checkpoint(folder / "checkpoint.pt") for folder in folders]
        assert [state["step"] for state in states] == [30, 30]
        tensors = [state["learner"]["net"] for state in states]
        if before == after:
            assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0])
        whole, gone_on = (_history(folder)["loss"] for folder in folders)
        assert gone_on == pytest.approx(whole, abs=1e-3)


def test_a_killed_process_ends_all_and_keeps_the_checkpoint(options, tmp_path):
    killing = tmp_path / "killing.py"
    killing.write_text(
        "import os, signal, sys, time\nfrom tests.support import often_checked\n"
        "from training.loop import learner\nfrom training.run import command as run\n"
        "update = learner.Learner.update\nsteps = []\n"
        "def killed_in_the_seventh(self, position):\n    steps.append(1)\n"
        "    if len(steps) == 7 and os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    update(self, position)\n"
        "learner.Learner.update = killed_in_the_seventh\n"
        # so late that torchrun's SIGTERM has come before
        "ended = run._ended\nrun._ended = lambda why, code: (time.sleep(1), ended(why, code))[1]\n"
        "sys.exit(often_checked.main())\n"
    )
    log = tmp_path / "log"
    assert _start(_by_torchrun(str(killing), *options, "--out", str(tmp_path / "out")), log).wait(120) == 1
    complaints = log.read_text()
    assert "training: another process has ended" in complaints
    assert "[rank" not in complaints, "no traceback of ours"
    assert read_checkpoint(tmp_path / "out/checkpoint.pt")["step"] >= 5


def _check_batch_norm(processes: Processes, mine: slice) -> None:
    whole, shared = (torch.nn.Sequential(torch.nn.BatchNorm2d(5)) for _ in range(2))
    for net in (whole, shared):
        torch.nn.init.uniform_(net.get_parameter("0.weight"), generator=torch.Generator().manual_seed(1))
    processes.synchronise_batch_norm(shared)
    assert isinstance(shared[0], SyncBatchNorm2d)
    assert shared.state_dict().keys() == whole.state_dict().keys()
    for _ in range(3):
        all_images = 3 * torch.randn(4, 5, 6, 7) + 2
        wanted = torch.randn(4, 5, 6, 7)
        images = all_images[mine].requires_grad_()
        all_images.requires_grad_()
        one, many = whole(all_images), shared(images)
        _close(one[mine], many, "output")
        (one.exp() * wanted).sum().backward()
        (many.exp() * wanted[mine]).sum().backward()
        _close(_gradient(all_images)[mine], _gradient(images), "gradient of images")
    processes.add_gradients(shared.parameters())
    for name, parameter in whole.named_parameters():
        _close(_gradient(parameter), _gradient(shared.get_parameter(name)), name)
    for name, buffer in whole.named_buffers():
        _close(buffer.float(), shared.get_buffer(name).float(), name)
    _close(whole.eval()(all_images), shared.eval()(all_images), "evaluation")


def _check_losses(processes: Processes, mine: slice) -> None:
    for name, loss in losses.LOSSES.items():
        K = 3 if name.startswith("cross") else 1
        logits, weights = torch.randn(4, K, 8, 8), 1 + torch.rand(4, 1, 8, 8)
        targets = torch.randint(0, max(2, K), (4, 1, 8, 8)).float()
        share = logits[mine].clone().requires_grad_()
        logits.requires_grad_()
        one = loss(logits, targets, weights, losses.WHOLE)
        many = loss(share, targets[mine], weights[mine], losses.Share(len(share) / 4, processes.total))
        _close(one, many, name)
        one.backward()
        many.backward()
        _close(_gradient(logits)[mine], _gradient(share), name)


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _close(one: torch.Tensor, other: torch.Tensor, what: str) -> None:
    assert torch.allclose(one, other, rtol=1e-4, atol=1e-5), (what, (one - other).abs().max())


def _check_shares(_: list[str]) -> int:
    """On each of three processes, which have 3, 1 and no images: what is shared against what one computes of all."""
    with joined() as processes:
        torch.manual_seed(0)
        mine = [slice(0, 3), slice(3, 4), slice(4, 4)][processes.rank]
        _check_batch_norm(processes, mine)
        _check_losses(processes, mine)
        assert processes.any(processes.rank == 2)
        assert not processes.any(False)
        assert processes.least(processes.rank - 1.0) == -1.0
        assert processes.from_main(processes.rank + 0.1) == 0.1
        assert processes.on_main(lambda: (processes.rank, processes.on_main(lambda: 7))) == (0, 7)
    return 0


def test_batch_norm_and_losses_of_shares_are_those_of_the_whole_batch():
    ended = together(3, _check_shares, [])
    assert [each.code for each in ended] == [0, 0, 0], ended


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
