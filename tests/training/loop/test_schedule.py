"""Schedules by the clock, driven by a clock that the tests turn."""

import io
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from model.weights_file import Description, load_weights
from training.data.folder import load_samples
from training.data_error import DataError
from training.loop import display
from training.loop.checkpoints import Checkpoints
from training.loop.clock import Clock
from training.loop.learner import one_cycle
from training.loop.machine import Machine
from training.loop.progress import Progress
from training.loop.run_folder import RunFolder
from training.loop.schedule import MOST_CHECKS, REPORT, StepSchedule, TimeSchedule
from training.loop.trainer import Limits, Trainer
from training.recipe import DEFAULT

RECIPE = DEFAULT.model_copy(
    update={"net": DEFAULT.net.model_copy(update={"width": 4}), "batch": 1, "crop": 32, "steps": 40}
)


@dataclass
class FakeTime:
    """A clock to be turned: a step takes `step` seconds, a check `check`."""

    seconds: float = 0.0
    step: float = 1.0
    check: float = 0.5

    def __call__(self) -> float:
        return self.seconds


class TimedTrainer(Trainer):
    """A trainer whose steps and checks take the time of a `FakeTime`, and are written down."""

    def __init__(self, fake: FakeTime, cells: Path, out: Path, seconds: float, slow_from: int = 1000) -> None:
        self.fake, self.slow_from = fake, slow_from
        self.rates: list[float] = []
        self.checks: list[float] = []
        samples = load_samples(cells)
        description = Description(
            name="x", architecture=RECIPE.net, preprocessing=RECIPE.preprocessing, threshold=0.5, provenance={}
        )
        folder = RunFolder(out) if out.exists() else RunFolder(out).begin()
        machine, limits = Machine(torch.device("cpu")), Limits(seconds)
        clock = Clock(fake)
        super().__init__(
            RECIPE, description, samples[:4], samples[4:], folder, machine, seed=0, limits=limits, clock=clock
        )

    def _train_step(self, batch) -> None:
        self.fake.seconds += self.fake.step * (2 if self.step >= self.slow_from else 1)
        super()._train_step(batch)
        self.rates.append(self.learner.rate)

    def _check(self, clock: Clock) -> str:
        self.checks.append(self.progress.position / self.schedule.steps)
        return super()._check(clock)

    def _evaluate(self, samples, effort, cache, tensors):
        if effort.quick or len(samples) == 1:  # the last check has the predictions for its slower scores
            self.fake.seconds += self.fake.check
        return super()._evaluate(samples, effort, cache, tensors)


@pytest.mark.parametrize("slow_from", [1000, 20])
def test_schedule_ends_with_the_time_on_a_machine_of_any_speed(cells_folder, tmp_path, slow_from):
    fake = FakeTime()
    trainer = TimedTrainer(fake, cells_folder, tmp_path, 60.0, slow_from)
    trainer.run()
    report = REPORT + fake.check
    assert 60 - 2 * 2 <= fake.seconds + report <= 60
    assert trainer.progress.position == trainer.schedule.steps
    assert trainer.rates[-2] < 0.02 * RECIPE.learning_rate
    assert max(trainer.rates) > 0.9 * RECIPE.learning_rate
    assert trainer.steps == trainer.step == len(trainer.rates) != RECIPE.steps
    reached = load_weights(tmp_path / "weights.safetensors").description.provenance["reached"]
    assert isinstance(reached, dict)
    assert reached["steps"] == trainer.step


def test_stopped_and_resumed_under_a_time_budget_equals_never_stopped(cells_folder, tmp_path):
    whole = TimedTrainer(FakeTime(), cells_folder, tmp_path / "whole", 30.0, slow_from=12)
    whole.run()

    class Stopping(TimedTrainer):
        def _train_step(self, batch) -> None:
            super()._train_step(batch)
            if self.step == 9:
                self._asked.append(0.0)

    stopped = Stopping(FakeTime(), cells_folder, tmp_path / "stopped", 30.0, slow_from=12)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    state, _ = Checkpoints(tmp_path / "stopped").load()
    assert state is not None
    assert state["step"] == 9
    resumed = TimedTrainer(FakeTime(), cells_folder, tmp_path / "stopped", 30.0, slow_from=12)
    resumed.resume(state)
    resumed.run()
    assert resumed.step == whole.step
    assert resumed.rates == whole.rates[9:]
    assert resumed.progress.seconds == whole.progress.seconds
    nets = [trainer.learner.averaged.state_dict() for trainer in (whole, resumed)]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])


def test_time_budget_is_not_resumed_as_a_number_of_steps(cells_folder, tmp_path):
    trainer = TimedTrainer(FakeTime(), cells_folder, tmp_path, 30.0)
    trainer.save()
    state, _ = Checkpoints(tmp_path).load()
    assert state is not None
    trainer.schedule = StepSchedule(40, 10)
    del trainer.made_of
    with pytest.raises(DataError, match="another schedule"):
        trainer.resume(state)


@pytest.mark.parametrize(("cost", "expected"), [(0.1, MOST_CHECKS), (3.0, 5), (20.0, 1)])
def test_checks_adapt_to_what_they_cost(cost, expected):
    schedule, progress, checks = TimeSchedule(1000, 300.0), Progress(check_seconds=cost), []
    progress.next_check = schedule.next_check(progress)
    while progress.position < 1000:
        progress.step += 1
        progress.seconds += 1.0
        progress.position = schedule.advanced(progress, 1.0)
        if progress.position >= progress.next_check:
            checks.append(progress.position / 1000)
            progress.seconds += cost
            progress.checked = progress.step
            progress.next_check = schedule.next_check(progress)
    assert len(checks) == expected
    assert checks[-1] == 1
    assert 0.97 * 300 <= progress.seconds + cost + REPORT <= 300
    if expected == MOST_CHECKS:
        assert checks[0] < 0.06


@pytest.mark.parametrize("steps", [1, 9, 10, 37, 1500])
def test_one_cycle_equals_torchs_bit_for_bit(steps):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=2e-3)
    total = max(10, steps + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total, pct_start=0.2)
    for position in range(steps):
        group = optimizer.param_groups[0]
        assert one_cycle(position, total, 2e-3) == (group["lr"], group["betas"][0])
        optimizer.step()
        schedule.step()


def test_log_gets_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    schedule, progress = StepSchedule(1000, 100), Progress()
    with display.Display(schedule, progress, shown=True) as shown:
        for _ in range(100):
            progress.step, progress.position, progress.seconds = (
                progress.step + 1,
                progress.position + 1,
                progress.seconds + 1,
            )
            progress.losses.append(0.25)
            shown.step(progress, 1e-3)
    assert capsys.readouterr().out.splitlines() == [
        "step 30/1000 (3%)  loss 0.2500  rate 0.001  16:10 left",
        "step 60/1000 (6%)  loss 0.2500  rate 0.001  15:40 left",
        "step 90/1000 (9%)  loss 0.2500  rate 0.001  15:10 left",
    ]
