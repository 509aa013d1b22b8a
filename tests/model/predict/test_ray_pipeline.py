import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import zarr

from model.images.decoding import decode_image
from model.images.encoding import encode_png, encode_tiff
from model.inputs.preprocessing import Pixels
from model.predict import command as predict
from model.predict.cluster import Workers
from model.predict.jobs import Bench, ImageJob, Job, Outcome
from model.predict.ray_pipeline import MOST_DEATHS, RayPipeline
from model.unet import UNet
from model.weights_file import Description, save_weights

PATIENCE_S = 300  # Ray starts a process for each step, and other tests may have both cores

pytestmark = [
    # Ray Data reads settings of its own that it has itself deprecated
    pytest.mark.filterwarnings("ignore:`\\w+` is deprecated:DeprecationWarning:ray"),
    # Ray leaves sockets and files to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster of this machine, which has two CPUs; its address."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture
def how(weights_path: Path) -> dict[str, object]:
    return {"path": weights_path, "engine": "torch", "device": "cpu", "precision": "fp32"}


@pytest.fixture
def options(weights_path: Path) -> list[str]:
    return ["--weights", str(weights_path), "--engine", "torch", "--device", "cpu", "--precision", "fp32"]


@pytest.fixture
def folder(tmp_path: Path, make_image: Callable[..., Pixels]) -> Path:
    """Images of several kinds, and one that is none."""
    files = {f"{side}.png": encode_png(make_image(side, 50)) for side in (20, 33, 47, 64)}
    files["stack.tif"] = encode_tiff([make_image(40, 50, seed=seed) for seed in range(3)])
    files["broken.png"] = files["64.png"][:-20]
    (tmp_path / "in").mkdir()
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data)
    return tmp_path / "in"


@pytest.mark.usefixtures("cluster")
def test_files_messages_and_exit_code_are_those_of_one_machine(
    folder: Path, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    told, made = [], []
    for out, more in ((tmp_path / "here", []), (tmp_path / "there", ["--ray", "--workers", "2", "--cpus", "1"])):
        out.mkdir()
        (out / "33_res.png").write_bytes(b"from before")
        code = predict.main([*options, "--output", "probability", "--out", str(out), *more, str(folder), "nowhere.png"])
        told.append((code, capsys.readouterr()))
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert told[0] == told[1]
    assert told[0][1].out == "4 done, 1 kept from before (--overwrite makes them again), 2 failed\n"
    assert made[0] == made[1]
    assert made[0]["33_res.png"] == b"from before"


@dataclass(frozen=True)
class Deadly:
    """A job that ends its worker's process until it has done so a number of times."""

    deaths: Path
    most: int
    steps = 1

    def do(self, _bench: Bench) -> str:
        with self.deaths.open("a") as file:
            file.write("x")
        if self.deaths.stat().st_size <= self.most:
            os.kill(os.getpid(), signal.SIGKILL)
        return "alive"


@pytest.mark.usefixtures("cluster")
def test_jobs_of_a_dead_worker_are_retried_and_poison_jobs_fail(folder: Path, how: dict[str, object], tmp_path: Path):
    images: list[Job] = [ImageJob(path, tmp_path / f"{path.stem}_res") for path in folder.glob("[0-9]*.png")]
    once, always = Deadly(tmp_path / "once", 1), Deadly(tmp_path / "always", 99)
    seen: dict[Job, Outcome] = {}
    RayPipeline(Workers(1, 1, 0), how).run([always, once, *images], seen.__setitem__)
    problem = f"its worker died {MOST_DEATHS} times, perhaps for want of memory"
    assert seen == {always: Outcome(problem=problem), once: Outcome("alive"), **dict.fromkeys(images, Outcome(()))}
    assert len(list(tmp_path.glob("*_res.png"))) == len(images)


def test_ctrl_c_stops_all_workers_and_what_is_finished_is_told(
    cluster: str,
    options: list[str],
    make_image: Callable[..., Pixels],
    interrupt: Callable[..., str],
    tmp_path: Path,
):
    (tmp_path / "in").mkdir()
    for number in range(120):
        (tmp_path / "in" / f"{number}.png").write_bytes(encode_png(make_image(256, 256, seed=number)))
    command = ["model.predict", *options, "--tta", "8", "--out", str(tmp_path / "out")]
    out = interrupt([*command, "--cpus", "1", "--ray", cluster, str(tmp_path / "in")], tmp_path / "out")
    finished = list((tmp_path / "out").iterdir())
    assert 0 < len(finished) < 120
    assert all(decode_image(path.read_bytes()).shape == (256, 256) for path in finished)
    assert out == f"{len(finished)} done, 0 kept from before, 0 failed; stopped, the same command resumes here\n"


@pytest.mark.usefixtures("cluster")
def test_a_volume_survives_a_dying_worker_and_equals_one_machines_result(
    make_net: Callable[..., UNet],
    describe: Callable[..., Description],
    make_image: Callable[..., Pixels],
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    net = make_net(depth=2)
    save_weights(tmp_path / "z.safetensors", net.state_dict(), describe(net, preprocessing={"normalisation": "zscore"}))
    sections = np.stack([make_image(75, 100, seed=seed) for seed in range(2)]).astype(np.float32)  # needs ranges also
    volume = tmp_path / "cells.zarr"
    zarr.create_array(volume, data=sections, chunks=(2, 32, 32))
    options += ["--weights", str(tmp_path / "z.safetensors"), "--tile", "80", "--tta", "8", str(volume)]
    here, there = tmp_path / "here" / "cells_res.zarr", tmp_path / "there" / "cells_res.zarr"
    assert predict.main([*options, "--out", str(here.parent)]) == 0
    shutil.copytree(here, begun := there.with_name("cells_res.unfinished.zarr"))
    kept, *missing = [path for path in (begun / "0" / "c").rglob("*") if path.is_file()]
    written = kept.stat().st_mtime_ns
    for path in missing:
        path.unlink()
    killer = threading.Thread(target=_kill_workers, args=(begun,))
    killer.start()
    assert predict.main([*options, "--ray", "--workers", "1", "--out", str(there.parent)]) == 0
    killer.join()
    lines = capsys.readouterr().out.splitlines()
    # between them, Ray reports the worker's death
    assert (lines[0], lines[-1]) == ("1 done, 0 kept from before, 0 failed",) * 2
    files = {path.relative_to(here): path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert {path.relative_to(there): path.read_bytes() for path in there.rglob("*") if path.is_file()} == files
    assert (there / kept.relative_to(begun)).stat().st_mtime_ns == written


def _kill_workers(begun: Path) -> None:
    """Once they have computed something."""
    before, last = len(list((begun / "0" / "c").rglob("*"))), time.monotonic() + PATIENCE_S
    while begun.exists() and len(list((begun / "0" / "c").rglob("*"))) <= before:
        assert time.monotonic() < last
        time.sleep(0.01)
    for process in psutil.Process().children(recursive=True):
        if process.name().startswith("ray::MapWorker"):
            process.kill()


@pytest.mark.usefixtures("cluster")
def test_weights_that_no_worker_can_load_are_one_line_and_code_2(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    missing = tmp_path / "nowhere.safetensors"
    assert predict.main(["--ray", "--weights", str(missing), "--out", str(tmp_path / "out"), str(folder)]) == 2
    assert capsys.readouterr() == ("", f"predict: weights {missing}: no such file\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("cluster")
def test_a_second_stop_does_not_wait(how: dict[str, object]):
    pipeline = RayPipeline(Workers(1, 1, 0), how)
    pipeline.stop()
    with pytest.raises(KeyboardInterrupt):
        pipeline.stop()
