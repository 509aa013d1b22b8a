"""A training that is killed again and again, at random moments, ends with the weights of one that never was.

The training takes seconds, so a kill finds it starting up, within a step, within a check, writing, or at its report.
"""

import hashlib
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from model.weights_file import WeightsError, load_weights
from tests.support import servers
from tests.torture.verdict import Verdict
from training import synthetic
from training.data_error import DataError
from training.loop import run_folder, trainer
from training.loop.checkpoints import read_checkpoint
from training.recipe import DEFAULT, RECIPES
from training.run import command as run
from training.run import preparation

LONG, SHORT = 50, 1

OPTIONS = ["--width", "4", "--crop", "32", "--batch", "2", "--steps", "60", "--workers", "0"]
AT_THE_END = "at the end"
CHECKPOINTS = (run_folder.CHECKPOINT, run_folder.PREVIOUS_CHECKPOINT)


@dataclass
class Attack:
    """`weights`: the sha256 to come to. `starting`, `working`: seconds of a training left alone, before and after its
    first checkpoint. `killed`: how often at which point. `wrong`: what should not be.
    """

    data: Path
    out: Path
    weights: str = ""
    trainings: int = 0
    starting: float = 0.0
    working: float = 0.0
    wrong: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)

    @property
    def log(self) -> Path:
        return self.data.with_name("log")

    def start(self, *options: str) -> servers.Process:
        command = ["tests.torture.training_kills", "--data", str(self.data), "--out", str(self.out)]
        # no git: weights name the commit, and one may be made while this goes on
        environment = os.environ | {"OMP_NUM_THREADS": "1", "GIT_DIR": os.devnull}
        with self.log.open("wb") as log:
            return servers.start([*command, *OPTIONS, *options], environment, log)

    def leave_alone(self) -> None:
        """The training that nothing happens to: what the others are compared with."""
        started = time.monotonic()
        process = self.start()
        self.wait_until_it_works(process)
        begun = time.monotonic()
        self.end(process)
        self.starting, self.working = begun - started, time.monotonic() - begun

    def wait_until_it_works(self, process: servers.Process) -> None:
        """Until there is a checkpoint, or another one than there was."""
        before = self.written()
        while self.written() == before and process.poll() is None:
            time.sleep(0.005)

    def written(self) -> int:
        try:
            return (self.out / run_folder.CHECKPOINT).stat().st_mtime_ns
        except FileNotFoundError:  # not yet, or just now renamed
            return 0

    def kill(self, share: float, *options: str, works: bool) -> str:
        """After a share of the time that it starts or works; returns what it had reached, "" if it ended before."""
        process = self.start(*options)
        if works:
            self.wait_until_it_works(process)
        try:
            process.wait(share * (self.working if works else self.starting))
        except subprocess.TimeoutExpired:
            process.kill()  # it has no children
            process.wait()
            reached = self.reached()
            self.killed[reached] += 1
            return reached
        self.end(process)
        return ""

    def end(self, process: servers.Process) -> None:
        """Lets it, and compares what it leaves, and what it put aside before, with the one that was left alone."""
        code, said = process.wait(), self.log.read_text()
        if code or "Traceback" in said:
            self.wrong.append(f"exit code {code}: {said.strip().splitlines()[-1:]}")
            return
        self.trainings += 1
        self.weights = self.weights or self.sha256(self.out)
        for folder in (self.out, *self.out.glob("earlier/*")):
            found = self.sha256(folder)
            if found != self.weights:
                self.wrong.append(f"{folder.name} of training {self.trainings}: weights {found[:12]}")
        steps = [row["step"] for row in run_folder.read_history(self.out / run_folder.HISTORY)]
        if steps != list(range(10, 61, 10)):
            self.wrong.append(f"history of steps {steps}")

    @staticmethod
    def sha256(folder: Path) -> str:
        path = folder / run_folder.WEIGHTS
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "none"

    def reached(self) -> str:
        """Reads all that a kill has left, and says how far it had come."""
        steps = [0]
        try:
            steps += [read_checkpoint(self.out / name)["step"] for name in CHECKPOINTS if (self.out / name).exists()]
            if (self.out / run_folder.WEIGHTS).exists():
                load_weights(self.out / run_folder.WEIGHTS)
            if (self.out / run_folder.HISTORY).exists():
                run_folder.read_history(self.out / run_folder.HISTORY)
        except (DataError, WeightsError) as error:
            self.wrong.append(str(error))
        if max(steps) == 60:
            return AT_THE_END
        return "midway" if max(steps) else "before the first step was kept"


def attack(count: int, seed: int = 3) -> Verdict:
    """Kills a training `count` times, resuming it each time; when it has ended, the next one begins in its folder."""
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    with tempfile.TemporaryDirectory() as folder:
        attacked = Attack(Path(folder) / "data", Path(folder) / "out")
        synthetic.main(["--out", str(attacked.data), "--count", "6", "--size", "64"])
        attacked.leave_alone()
        reached = ""
        while attacked.killed.total() < count:
            works = attacked.killed.total() % 4 != 1  # so one in four finds it starting up
            reached = attacked.kill(rng.random() ** 2, *(["--resume"] if reached else []), works=works)
            if reached == AT_THE_END or attacked.killed.total() == count:
                attacked.end(attacked.start("--resume"))
                reached = ""
    where = ", ".join(f"{number} {point}" for point, number in attacked.killed.most_common())
    found = "; ".join(attacked.wrong) or "every checkpoint left can be read; the same weights each time, byte for byte"
    return Verdict(f"{count} kills of {attacked.trainings} trainings: {where}", found, not attacked.wrong)


def main() -> int:
    """The training that is attacked: it checks and saves far more often than others, for kills to come in between."""
    RECIPES["default"] = DEFAULT.model_copy(update={"check_every": 10})
    trainer.SAVE_EVERY = 0.1
    with mock.patch.object(preparation, "today", return_value="2026-01-31"):  # nor does it matter if midnight passes
        return run.main()


if __name__ == "__main__":
    sys.exit(main())
