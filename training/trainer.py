"""The training loop: steps, checks, the best weights kept, and when to stop."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NoReturn

from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.engines.pytorch import TorchEngine
from model.segmenter import Segmenter
from model.weights_file import Description, Weights, save_weights
from training.batches import Batch, SampleStream, make_loader
from training.checkpoints import Checkpoints, State
from training.clock import Clock
from training.curves import Curves
from training.data import DataError, Sample, fingerprint
from training.evaluation import ClassEvaluation, Evaluation, evaluate_net, picture
from training.learner import Learner
from training.machine import Machine
from training.progress import Best, Progress
from training.recipe import Recipe
from training.run_folder import CURVES, RunFolder
from training.stopping import asked_to_stop

# Pictures of the first held-out images go to TensorBoard, no more: they show what the curves mean.
PICTURES = 2

# Seconds after which a checkpoint is written between two checks: as much as a kill may cost.
SAVE_EVERY = 300.0


class TrainingError(RuntimeError):
    """A training that cannot go on; what it reached is in its folder."""


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
        self._processes = machine.processes
        self.stream = SampleStream(training, recipe, seed)
        self.steps = recipe.total_steps(len(training))
        self.check_every = recipe.check_every or recipe.steps_per_epoch(len(training))
        self.learner = Learner(recipe, self.steps, machine, seed=seed, init=init)
        self.progress = Progress(best=Best(threshold=recipe.threshold))
        self.ended: Literal["finished", "out of time", "no longer better"] = "finished"
        self.saved_step: int | None = None  # of the last checkpoint, written after `_saved` seconds of training
        self._saved = 0.0
        self._checkpoints, self._curves = Checkpoints(folder.path), Curves(folder.path / CURVES)
        self._written: Best | None = None  # whose weights the folder has
        self._asked: list[float] = []  # whether to stop

    @property
    def step(self) -> int:
        """Steps done."""
        return self.progress.step

    @property
    def best(self) -> Best:
        return self.progress.best

    def run(self) -> Best:
        """Trains to the end, or to one of its limits: `ended` says which.

        Raises TrainingError if the loss is no number, OSError if the folder cannot be written to, KeyboardInterrupt
        after SIGINT or SIGTERM, with the checkpoint written: then `resume` goes on exactly where this stopped.
        """
        loader = self._loader()
        with self._bar() as bar, asked_to_stop(patiently=not self._processes.main) as self._asked:
            clock = Clock(self.progress.seconds)
            self._between_steps(bar, clock)  # a check that was interrupted comes first
            for batch in () if self._is_over() else loader:
                clock.arrived()
                self._train_step(batch)
                self.progress.seconds = self._processes.from_main(clock.stepped())
                bar.update()
                bar.set_postfix(loss=f"{self.progress.losses[-1]:.4f}", best=f"{self.best.score:.4f}", refresh=False)
                self._between_steps(bar, clock)
                if self._is_over():
                    break
        return self.best

    def resume(self, state: State) -> None:
        """Goes back to a checkpoint's state. Raises DataError if it is of another recipe, data, seed or version."""
        other = [name for name, value in self.made_of.items() if state.get(name) != value]
        if other:
            raise DataError(
                f"the checkpoint was made with another {' and another '.join(other)}; "
                "resume with the same options and data"
            )
        try:
            self.learner.load_state(state["learner"])
            self.progress = Progress.of(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError("the checkpoint is of another version; train afresh, without --resume") from error
        self._curves.go_on_from(self.progress.checked + 1)

    def save(self) -> None:
        """Writes the checkpoint, then what is made from it. Raises OSError; the checkpoint before is whole then."""
        self._processes.on_main(self._save)
        self._saved, self.saved_step = self.progress.seconds, self.step

    def _save(self) -> None:
        # no generators of random numbers: what is drawn depends on seed and step alone
        state = self.made_of | self.progress.state() | self.machine.facts | {"learner": self.learner.state()}
        self._checkpoints.save(state | {"trained": self.description.provenance.get("trained")})
        self.saved_step = self.step
        if self.progress.history:
            self.folder.write_history(self.progress.history)
        if self.progress.best_weights and self._written is not self.best:
            reached = {"step": self.best.step, "steps": self.steps, "scores": self.best.scores}
            provenance = self.description.provenance | {"reached": reached}
            update = {"threshold": self.best.threshold, "provenance": provenance}
            save_weights(self.folder.weights, self.progress.best_weights, self.description.model_copy(update=update))
            self._written = self.best

    @cached_property
    def made_of(self) -> dict[str, Any]:
        """What decides the outcome: a checkpoint goes on only with the same."""
        return {
            "recipe": self.recipe.model_dump_json(),
            "seed": self.seed,
            "steps": self.steps,
            "training images": fingerprint(self.stream.samples),
            "held-out images": fingerprint(self.validation),
            "--init": self.description.provenance.get("init"),
        }

    def _loader(self) -> DataLoader[Batch]:
        workers, pin, share = self.machine.workers, self.machine.pins, self.machine.share(self.recipe.batch)
        return make_loader(self.stream, self.recipe, self.step, self.steps, workers, pin=pin, share=share)

    def _bar(self) -> "tqdm[NoReturn]":
        hidden = None if self._processes.main else True
        return tqdm(total=self.steps, initial=self.step, unit="step", disable=hidden)

    def _between_steps(self, bar: "tqdm[NoReturn]", clock: Clock) -> None:
        """Checks and saves what is due. Raises KeyboardInterrupt, with all saved, if it was asked to stop."""
        self._stop_if_asked()
        if self.progress.seconds - self._saved >= SAVE_EVERY:
            self.save()  # before a check, too, for that may take long
        if self._is_check_due():
            line = self._check(clock)
            if self._processes.main:
                bar.write(line)
            self._stop_if_asked()
        clock.wrote()

    def _is_check_due(self) -> bool:
        regular = self.step % self.check_every == 0 or self.step == self.steps
        return self.progress.checked < self.step and (regular or self._is_over())

    def _stop_if_asked(self) -> None:
        if self._processes.any(bool(self._asked)):
            if self.saved_step != self.step:
                self.save()
            raise KeyboardInterrupt

    def _train_step(self, batch: Batch) -> None:
        loss = self.learner.gradients(*batch, batch=self.recipe.batch)
        if not math.isfinite(loss):
            raise TrainingError(self._no_numbers(f"the loss is {loss}"))
        if self.recipe.select == "training_loss" and -loss > self.best.score:
            # before the update: these weights, and no later ones, gave this loss
            self.progress.keep(Best(-loss, self.step, self.recipe.threshold), self.learner.net.state_dict())
        self.learner.update()
        self.progress.step += 1
        self.progress.losses.append(loss)

    def _is_over(self) -> bool:
        """Whether a limit is reached, and `ended` says which."""
        if self.step < self.steps:
            if self.progress.seconds >= self.limits.seconds:
                self.ended = "out of time"
            elif self.limits.patience and self.progress.checks_since_best >= self.limits.patience:
                self.ended = "no longer better"
        return self.ended != "finished"

    def _check(self, clock: Clock) -> str:
        """Scores, keeps the weights if they are the best, writes everything; returns a line on how it stands."""
        progress = self.progress
        # the others need no scores and no history, but must stop when the main process does
        line, progress.checks_since_best = self._processes.on_main(lambda: self._score(clock))
        progress.losses.clear()
        progress.checked = self.step
        self.save()
        return line

    def _score(self, clock: Clock) -> tuple[str, int]:
        """The line, and how many checks there were since the best one."""
        # without held-out images, one to train on still shows whether anything is found
        evaluation = self._evaluate(self.validation or self.stream.samples[:1])
        progress = self.progress
        loss = sum(progress.losses) / len(progress.losses)
        row = {"loss": loss, "learning_rate": self.learner.rate, **clock.row()}
        progress.checks_since_best += 1
        if self.validation:
            row |= evaluation.summary()
        self._keep_if_best(evaluation)
        progress.history.append({"step": self.step, **row})
        self._curves.write(self.step, row)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        warning = f"\nwarning: {evaluation.warning}" if evaluation.warning else ""
        return f"step {self.step}/{self.steps}  {shown}{warning}", progress.checks_since_best

    def _keep_if_best(self, evaluation: Evaluation | ClassEvaluation) -> None:
        if self.recipe.select != "validation":
            return
        weights = self.learner.averaged.state_dict()
        if not self.validation:
            # nothing to choose by: the schedule is made so that the last weights are the best
            self.progress.keep(Best(self.step, self.step, self.recipe.threshold), weights)
        elif evaluation.measure > self.best.score:
            scores = evaluation.summary()
            threshold = scores.get("threshold", self.recipe.threshold)
            self.progress.keep(Best(evaluation.measure, self.step, threshold, {**scores}), weights)

    def _evaluate(self, samples: list[Sample]) -> Evaluation | ClassEvaluation:
        """Raises TrainingError if weights or probabilities are not numbers, KeyboardInterrupt between two images."""
        tensors = self.learner.averaged.state_dict()
        weights = Weights(self.description, tensors, sha256="")
        engine = TorchEngine(weights.build_net(), str(self.machine.device), threshold=self.description.threshold)

        def show(sample: Sample, found: Any) -> None:
            self._stop_if_asked()
            if sample in samples[:PICTURES]:
                shown = picture(sample, found, self.recipe.net.classes)
                self._curves.show(self.step, f"image, label, found/{sample.name}", shown)

        evaluation = evaluate_net(Segmenter(weights, engine), samples, show)
        if evaluation.broken or not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise TrainingError(self._no_numbers("the net's weights or predictions are not numbers"))
        return evaluation

    def _no_numbers(self, what: str) -> str:
        kept = self.folder.weights if self.folder.weights.exists() else "nothing yet"
        return f"{what} at step {self.step}; try a lower --learning-rate. Kept: {kept}"
