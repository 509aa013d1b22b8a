"""The training loop: steps, checks, the best weights kept, and when to stop."""

import contextlib
import hashlib
import math
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import JsonValue
from torch import Tensor, nn
from tqdm import tqdm

from model.engines.pytorch import TorchEngine
from model.segmenter import Segmenter
from model.weights_file import Description, Weights, save_weights
from training.batches import Batch, SampleStream, make_loader
from training.data import DataError, Sample
from training.evaluation import ClassEvaluation, Evaluation, evaluate_net, picture
from training.learner import Learner
from training.machine import Machine
from training.recipe import Recipe
from training.run_folder import RunFolder

# Pictures of the first held-out images go to TensorBoard, no more: they show what the curves mean.
PICTURES = 2


class TrainingError(RuntimeError):
    """A training that cannot go on; what it reached is in its folder."""


@dataclass
class Best:
    """The weights kept so far. `score`: higher is better (V_rand or mean Dice, minus the loss, or the step)."""

    score: float = -math.inf
    step: int = 0
    threshold: float = 0.5
    scores: dict[str, JsonValue] | None = None


@dataclass(frozen=True)
class Limits:
    """When to stop before the last step: after so many seconds, or so many checks without a better score."""

    seconds: float = math.inf
    patience: int | None = None


class Trainer:
    """Trains one net; `run` returns when it is done, and can be called again after a stop (`resume`)."""

    def __init__(
        self,
        recipe: Recipe,
        description: Description,
        training: list[Sample],
        validation: list[Sample],
        folder: RunFolder,
        machine: Machine,
        *,
        seed: int,
        init: Mapping[str, Tensor] | None = None,
        limits: Limits = Limits(),
    ) -> None:
        """`init`: weights to start from."""
        self.recipe, self.description, self.validation, self.folder = recipe, description, validation, folder
        self.machine, self.seed, self.limits = machine, seed, limits
        self.stream = SampleStream(training, recipe, seed)
        self.steps = recipe.total_steps(len(training))
        self.check_every = recipe.check_every or recipe.steps_per_epoch(len(training))
        self.learner = Learner(recipe, self.steps, machine, seed=seed, init=init)
        self.step = 0
        self.best = Best(threshold=recipe.threshold)
        self.ended: Literal["finished", "out of time", "no longer better"] = "finished"
        self._checks_since_best = 0
        self._seconds = 0.0  # of training so far, over all its parts
        self._best_tensors: dict[str, Tensor] | None = None  # of weights not written yet
        self._seen: list[float] = []  # losses since the last check

    def run(self) -> Best:
        """Trains to the end, or to one of its limits: `ended` says which.

        Raises TrainingError if the loss is no number, KeyboardInterrupt after SIGINT or SIGTERM, with the checkpoint
        written: then `resume` goes on exactly where this stopped.
        """
        workers, pin = self.machine.workers, self.machine.pins
        loader = make_loader(self.stream, self.recipe, self.step, self.steps, workers, pin=pin)
        with tqdm(total=self.steps, initial=self.step, unit="step", disable=None) as bar, _asked_to_stop() as asked:
            clock = _Clock(self._seconds)
            for batch in () if self._is_over() else loader:
                clock.arrived()
                self._train_step(batch)
                self._seconds = clock.stepped()
                bar.update()
                bar.set_postfix(loss=f"{self._seen[-1]:.4f}", best=f"{self.best.score:.4f}", refresh=False)
                over = self._is_over()
                if self.step % self.check_every == 0 or self.step == self.steps or over:
                    bar.write(self._check(clock.row()))
                    clock.checked()
                    over = over or self._is_over()
                if over:
                    break
                if asked and self.step < self.steps:
                    self._write()
                    raise KeyboardInterrupt
        return self.best

    def resume(self, state: dict[str, Any]) -> None:
        """Goes back to a checkpoint's state. Raises DataError if it is of another recipe, data or seed."""
        other = [name for name, value in self._made_of().items() if state.get(name) != value]
        if other:
            raise DataError(
                f"the checkpoint was made with another {' and another '.join(other)}; "
                "resume with the same options and data"
            )
        self.learner.load_state(state["learner"])
        self.step, self.best = state["step"], Best(**state["best"])
        self._seconds, self._checks_since_best = state["seconds"], state["checks_since_best"]

    def _made_of(self) -> dict[str, Any]:
        """What decides the outcome: a checkpoint goes on only with the same."""
        return {
            "recipe": self.recipe.model_dump_json(),
            "seed": self.seed,
            "steps": self.steps,
            "training images": fingerprint(self.stream.samples),
            "held-out images": fingerprint(self.validation),
            "--init": self.description.provenance.get("init"),
        }

    def _train_step(self, batch: Batch) -> None:
        loss = self.learner.gradients(*batch)
        if not math.isfinite(loss):
            raise TrainingError(self._no_numbers(f"the loss is {loss}"))
        if self.recipe.select == "training_loss" and -loss > self.best.score:
            # before the update: these weights, and no later ones, gave this loss
            self._keep(Best(-loss, self.step, self.recipe.threshold), self.learner.net)
        self.learner.update()
        self.step += 1
        self._seen.append(loss)

    def _is_over(self) -> bool:
        """Whether a limit is reached, and `ended` says which."""
        if self._seconds >= self.limits.seconds and self.step < self.steps:
            self.ended = "out of time"
        elif self.limits.patience and self._checks_since_best >= self.limits.patience and self.step < self.steps:
            self.ended = "no longer better"
        return self.ended != "finished"

    def _check(self, clock: dict[str, float]) -> str:
        """Scores, keeps the weights if they are the best, writes everything; returns a line on how it stands."""
        row = {"loss": sum(self._seen) / len(self._seen), "learning_rate": self.learner.rate, **clock}
        self._seen.clear()
        self._checks_since_best += 1
        # without held-out images, one to train on still shows whether anything is found
        evaluation = self._evaluate(self.validation or self.stream.samples[:1])
        if self.validation:
            scores = evaluation.summary()
            row |= scores
            if self.recipe.select == "validation" and evaluation.measure > self.best.score:
                threshold = scores.get("threshold", self.recipe.threshold)
                self._keep(Best(evaluation.measure, self.step, threshold, {**scores}), self.learner.averaged)
        elif self.recipe.select == "validation":
            # nothing to choose by: the schedule is made so that the last weights are the best
            self._keep(Best(self.step, self.step, self.recipe.threshold), self.learner.averaged)
        self.folder.record(self.step, row)
        self._write()
        shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        warning = f"\nwarning: {evaluation.warning}" if evaluation.warning else ""
        return f"step {self.step}/{self.steps}  {shown}{warning}"

    def _evaluate(self, samples: list[Sample]) -> Evaluation | ClassEvaluation:
        """Raises TrainingError if the weights or what they give are not numbers."""
        tensors = self.learner.averaged.state_dict()
        weights = Weights(self.description, tensors, sha256="")
        engine = TorchEngine(weights.build_net(), str(self.machine.device), threshold=self.description.threshold)

        def show(sample: Sample, found: Any) -> None:
            if sample in samples[:PICTURES]:
                shown = picture(sample, found, self.recipe.net.classes)
                self.folder.show(self.step, f"image, label, found/{sample.name}", shown)

        evaluation = evaluate_net(Segmenter(weights, engine), samples, show)
        if evaluation.broken or not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise TrainingError(self._no_numbers("the net's weights or predictions are not numbers"))
        return evaluation

    def _keep(self, best: Best, net: nn.Module) -> None:
        self.best, self._checks_since_best = best, 0
        self._best_tensors = {name: tensor.detach().clone() for name, tensor in net.state_dict().items()}

    def _write(self) -> None:
        if self._best_tensors:
            reached = {"step": self.best.step, "steps": self.steps, "scores": self.best.scores}
            provenance = self.description.provenance | {"reached": reached}
            update = {"threshold": self.best.threshold, "provenance": provenance}
            save_weights(self.folder.weights, self._best_tensors, self.description.model_copy(update=update))
            self._best_tensors = None
        self.folder.save_checkpoint(
            {
                **self._made_of(),
                "step": self.step,
                "seconds": self._seconds,
                "checks_since_best": self._checks_since_best,
                "parts": self.machine.parts,
                "learner": self.learner.state(),
                "best": vars(self.best),
            }
        )

    def _no_numbers(self, what: str) -> str:
        kept = self.folder.weights if self.folder.weights.exists() else "nothing yet"
        return f"{what} at step {self.step}; try a lower --learning-rate. Kept: {kept}"


def fingerprint(samples: list[Sample]) -> str:
    """Of the names, pixels and labels: images that changed, or labels read in another way, are others."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{sample.name} {sample.pixels.shape} {sample.pixels.dtype}".encode())
        digest.update(np.ascontiguousarray(sample.pixels).data)
        digest.update(np.ascontiguousarray(sample.label).data)
    return digest.hexdigest()


class _Clock:
    """Seconds of training, and which share of its steps the net waited for batches."""

    def __init__(self, before: float) -> None:
        self._last = time.monotonic()
        self._started = self._last - before
        self._waited = self._computed = 0.0

    def arrived(self) -> None:
        self._waited += self._lap()

    def stepped(self) -> float:
        self._computed += self._lap()
        return self._last - self._started

    def checked(self) -> None:
        self._lap()  # neither waiting nor computing
        self._waited = self._computed = 0.0

    def row(self) -> dict[str, float]:
        """Columns of the history; the share of waiting is since the last check."""
        share = self._waited / max(self._waited + self._computed, 1e-9)
        return {"seconds": self._last - self._started, "waiting": share}

    def _lap(self) -> float:
        before, self._last = self._last, time.monotonic()
        return self._last - before


@contextlib.contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """A list that SIGINT or SIGTERM puts its number into, so that the loop stops between two steps and not within one.

    A second Ctrl-C stops at once.
    """
    asked: list[int] = []

    def note(number: int, _frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[number])

    before = {int(number): signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
