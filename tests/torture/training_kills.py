"""A training that is killed again and again, at random moments, ends with the weights of one that never was.

The training takes seconds, so a kill finds it starting up, within a step, within a check, writing, or at its report.
"""

import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from model.weights_file import WeightsError, load_weights
from tests.torture.verdict import Verdict
from training import run, run_folder, synthetic, trainer
from training.checkpoints import read_checkpoint
from training.data import DataError
from training.recipe import DEFAULT, RECIPES

LONG, SHORT = 50, 3

OPTIONS = ["--width", "4", "--crop", "32", "--batch", "2", "--steps", "60", "--workers", "0"]
CHECKPOINTS = (run_folder.CHECKPOINT, run_folder.PREVIOUS_CHECKPOINT)


@dataclass
class Attack:
    """`weights`: the sha256 to come to. `starting`, `working`: seconds of a training left alone, before and after its
    first checkpoint. `killed`: how often at which point. `wrong`: what should not be.
    """

    data: Path
    out: Path
    weights: str = ""
    starting: float = 0.0
    working: float = 0.0
    wrong: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)

    def start(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.torture.training_kills", "--data", self.data, "--out", self.out]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [*map(str, command), *OPTIONS, *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,  # a process group, to be killed as a whole
        )

    def leave_alone(self) -> None:
        """The training that nothing happens to: what the others are compared with."""
        started = time.monotonic()
        process = self.start()
        self.wait_until_it_works(process)
        begun = time.monotonic()
        self.ended(process)
        self.starting, self.working = begun - started, time.monotonic() - begun
        self.weights = self.sha256(self.out)

    def wait_until_it_works(self, process: subprocess.Popen[str]) -> None:
        """Until there is a checkpoint, or another one than there was."""
        before = self.written()
        while self.written() == before and process.poll() is None:
            time.sleep(0.005)

    def written(self) -> int:
        path = self.out / run_folder.CHECKPOINT
        return path.stat().st_mtime_ns if path.exists() else 0

    def kill(self, share: float, *options: str, works: bool) -> bool:
        """After a share of the time that it starts or works; whether it was killed, or had come to its end before."""
        process = self.start(*options)
        if works:
            self.wait_until_it_works(process)
        try:
            process.wait(share * (self.working if works else self.starting))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            self.killed[self.reached()] += 1
            return True
        self.ended(process)
        self.compare()
        return False

    def ended(self, process: subprocess.Popen[str]) -> None:
        said = process.communicate()[1]
        if process.returncode or "Traceback" in said:
            self.wrong.append(f"exit code {process.returncode}: {said.strip().splitlines()[-1:]}")

    def compare(self) -> None:
        """Of this training, and of all that were put aside for it."""
        found = [self.sha256(self.out), *map(self.sha256, self.out.glob("earlier/*"))]
        if set(found) != {self.weights}:
            self.wrong.append("other weights")
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
            return "at the end"
        return "midway" if max(steps) else "before the first step was kept"


def attack(count: int, seed: int = 3) -> Verdict:
    """Kills a training `count` times, resuming it each time; when it has ended, the next one begins in its folder."""
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    with tempfile.TemporaryDirectory() as folder:
        attacked = Attack(Path(folder) / "data", Path(folder) / "out")
        synthetic.main(["--out", str(attacked.data), "--count", "6", "--size", "64"])
        attacked.leave_alone()
        ended, options = 0, list[str]()
        while attacked.killed.total() < count:
            works = attacked.killed.total() % 4 != 1  # so one in four finds it starting up
            if attacked.kill(rng.random(), *options, works=works):
                options = ["--resume"]
            else:
                ended, options = ended + 1, []
        attacked.ended(attacked.start(*options))
        attacked.compare()
    where = ", ".join(f"{number} {point}" for point, number in attacked.killed.most_common())
    found = "; ".join(attacked.wrong) or "every checkpoint left can be read; the same weights each time, byte for byte"
    return Verdict(f"{count} kills of {ended + 1} training{'s' if ended else ''}: {where}", found, not attacked.wrong)


def main() -> int:
    """The training that is attacked: it checks and saves far more often than others, for kills to come in between."""
    RECIPES["default"] = DEFAULT.model_copy(update={"check_every": 10})
    trainer.SAVE_EVERY = 0.1
    return run.main()


if __name__ == "__main__":
    sys.exit(main())
