"""The training loop: steps, checks, the best weights kept, and when to stop."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from model.engines.pytorch import TorchEngine
from model.outputs.objects import ObjectRule
from model.segmenter import Segmenter
from model.weights_file import Description, Weights, save_weights
from training.data.folder import Sample, fingerprint
from training.data_error import DataError
from training.loop.batches import Batch, SampleStream, make_loader
from training.loop.checkpoints import Checkpoints, State
from training.loop.clock import Clock
from training.loop.display import Display, where
from training.loop.learner import Learner
from training.loop.machine import Machine
from training.loop.progress import Best, Progress
from training.loop.run_folder import CURVES, RunFolder
from training.loop.schedule import FEWEST_STEPS, Schedule, StepSchedule, TimeSchedule
from training.loop.signals import asked_to_stop
from training.loop.tensorboard import Curves
from training.recipe import Recipe
from training.scoring.class_evaluation import AnyEvaluation
from training.scoring.degenerate import first_check_finding
from training.scoring.evaluation import Evaluation, defined
from training.scoring.measures import BOUNDED, OBJECT_PIXELS, Effort, Measures, quick, spread
from training.scoring.object_rule import candidate_areas, choose_object_rule
from training.scoring.objective import choose_objective
from training.scoring.prediction_scoring import PredictionCache, Predictor, evaluate_net, picture, predictor
from training.scoring.selection import Peak, Verdict

# Share of a training with a time budget after which the duration of its checks is measured.
TRIED = 0.05

# Pictures of the first held-out images go to TensorBoard, no more: they show what the curves mean.
PICTURES = 2

# Seconds after which a checkpoint is written between two checks: as much as a kill may cost.
SAVE_EVERY = 300.0


class TrainingError(RuntimeError):
    """A training that cannot continue. Its folder keeps what it has reached."""


@dataclass(frozen=True)
class Limits:
    """When to end.

    Attributes:
        seconds: Seconds of the clock until weights and report must be written; the schedule then follows the clock.
        patience: Checks without a better score after which the training ends early; None for any number.
    """

    seconds: float = math.inf
    patience: int | None = None


class Trainer:
    """Trains one net. `run` returns at the end, and can be called again after a stop (`resume`)."""

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
        clock: Clock | None = None,
    ) -> None:
        """Builds the net and writes nothing.

        Args:
            recipe: The recipe.
            description: What the weights file says of itself.
            training: The samples to train on.
            validation: The held-out samples.
            folder: Where to write.
            machine: Where the net is trained.
            seed: The seed of weights and samples.
            init: Weights to start from.
            limits: When to end.
            clock: What the time of `limits` is measured by; None to start one now.
        """
        self.recipe, self.description, self.validation, self.folder = recipe, description, validation, folder
        self.machine, self.seed, self.limits = machine, seed, limits
        self._processes = machine.processes
        self.stream = SampleStream(training, recipe, seed)
        self.clock = clock or Clock()
        self.schedule = _schedule(recipe, limits, len(training))
        self.steps = self.schedule.steps  # of the plan; at the end the number of steps made
        self.learner = Learner(recipe, self.schedule.steps, machine, seed=seed, init=init)
        self.progress = Progress(best=Best(threshold=recipe.threshold))
        self.ended: Literal["finished", "no longer better"] = "finished"
        self.saved_step: int | None = None  # of the last checkpoint, written after `_saved` seconds of training
        self._saved = 0.0
        self._checkpoints, self._curves = Checkpoints(folder.path), Curves(folder.path / CURVES)
        self._written: Best | None = None  # whose weights the folder has
        self._written_finished = False  # whether their file counts as finished
        self._asked: list[float] = []  # whether to stop

    @property
    def step(self) -> int:
        """Steps done."""
        return self.progress.step

    @property
    def best(self) -> Best:
        return self.progress.best

    def run(self) -> Best:
        """Trains to the end, or to a limit; `ended` tells which.

        Raises:
            TrainingError: The loss, the weights or the net's predictions are not finite.
            OSError: The folder cannot be written to.
            KeyboardInterrupt: SIGINT or SIGTERM. The checkpoint is written, and `resume` continues exactly there.
        """
        loader, clock = self._loader(), self.clock
        with (
            Display(self.schedule, self.progress, shown=self._processes.main) as display,
            asked_to_stop(patiently=not self._processes.main) as self._asked,
        ):
            self._read_clock()
            self._between_steps(display)  # a check that was interrupted comes first
            for batch in () if self._is_over() else loader:
                clock.arrived()
                self._train_step(batch)
                display.step(self.progress, self.learner.rate)
                self._between_steps(display)
                if self._is_over():
                    break
        return self.best

    def resume(self, state: State) -> None:
        """Restores a checkpoint. Raises DataError if it has another recipe, data, seed or version."""
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
        self.clock.resume(self.progress.seconds)
        self._note_end()
        self._curves.go_on_from(self.progress.checked + 1)

    def save(self) -> None:
        """Writes the checkpoint, then the files made from it. Raises OSError; the previous checkpoint is whole then."""
        self._processes.on_main(self._save)
        self._saved, self.saved_step = self.progress.seconds, self.step

    def _save(self) -> None:
        before = self.clock.seconds
        # no random number generators: samples depend only on seed and step
        state = self.made_of | self.progress.state() | self.machine.facts | {"learner": self.learner.state()}
        self._checkpoints.save(state | {"trained": self.description.provenance.get("trained")})
        self.saved_step = self.step
        if self.progress.history:
            self.folder.write_history(self.progress.history)
        if self.progress.best_weights and self._is_weights_file_old:
            provenance = self.description.provenance | {"reached": self._reached()}
            update = {"threshold": self.best.threshold, "provenance": provenance}
            if self.best.seed_depth is not None:
                update |= {"seed_depth": self.best.seed_depth, "min_area": self.best.min_area}
            save_weights(self.folder.weights, self.progress.best_weights, self.description.model_copy(update=update))
            self._written, self._written_finished = self.best, self._is_finished
        self.progress.save_seconds = self.clock.seconds - before

    @property
    def _is_weights_file_old(self) -> bool:
        return self._written is not self.best or self._written_finished != self._is_finished

    def _reached(self) -> dict[str, Any]:
        """Returns what the weights file says of the kept weights."""
        best = self.best
        reached: dict[str, Any] = {"step": best.step, "steps": self.steps, "scores": best.scores}
        if not self._is_finished:
            reached["finished"] = False  # see Description.is_unfinished
        if best.scores:
            reached |= {"objective": self.recipe.select, "score": best.score}
        if best.plateau:
            low, high = best.plateau
            how = f"one of {low:g} to {high:g}, which score equally well on held-out images"
            reached |= {"threshold": best.threshold, "threshold_chosen": how}
        findings = {"failures": best.failures, "warnings": best.warnings}
        return reached | {name: lines for name, lines in findings.items() if lines}

    @cached_property
    def made_of(self) -> dict[str, Any]:
        """Everything that decides the outcome. A checkpoint is resumed only if these entries are equal."""
        return {
            "recipe": self.recipe.model_dump_json(),
            "seed": self.seed,
            "schedule": f"{type(self.schedule).__name__} of {self.schedule.steps} steps",
            "training images": fingerprint(self.stream.samples),
            "held-out images": fingerprint(self.validation),
            "--init": self.description.provenance.get("init"),
            "--objects": self.description.objects,
        }

    def _loader(self) -> DataLoader[Batch]:
        workers, pin, share = self.machine.workers, self.machine.pins, self.machine.share(self.recipe.batch)
        end = self.schedule.steps if isinstance(self.schedule, StepSchedule) else None
        return make_loader(self.stream, self.recipe, self.step, end, workers, pin=pin, share=share)

    def _read_clock(self) -> float:
        """Notes the main process's time in all processes; returns the seconds since the start."""
        self.progress.seconds = self._processes.from_main(self.clock.seconds)
        return self.progress.seconds

    def _plan_checks(self) -> None:
        """Decides when the first check is due; under a time budget by scoring one image twice."""
        progress = self.progress
        if isinstance(self.schedule, TimeSchedule) and not self._is_done:
            self._time_checks(self.validation or self.stream.samples[:1])
        progress.next_check = self.schedule.next_check(progress)

    def _time_checks(self, samples: list[Sample]) -> None:
        """Estimates the seconds of a check and of the last one from an image of about the mean size."""
        progress, pixels = self.progress, sum(sample.label.size for sample in samples)
        sample = min(samples, key=lambda each: abs(each.label.size - pixels / len(samples)))
        quickly = self._rehearse(sample, quick(around=self.best.threshold))
        fully = self._rehearse(sample, BOUNDED)
        quickly = min(quickly, fully)  # the first one includes setting up the engine
        progress.check_seconds = quickly * pixels / sample.label.size + self._saving()
        slow = min(pixels, BOUNDED.grid_pixels(self._measures.objective))
        progress.final_seconds = max(0.0, fully - quickly) * slow / sample.label.size

    def _rehearse(self, sample: Sample, effort: Effort) -> float:
        """Returns the seconds of scoring one image with the weights so far."""
        before, tensors = self._read_clock(), self.learner.averaged.state_dict()
        self._processes.on_main(lambda: bool(self._evaluate([sample], effort, PredictionCache(), tensors).broken))
        return self._read_clock() - before

    def _saving(self) -> float:
        """Returns the seconds of the main process's last checkpoint."""
        return self._processes.from_main(self.progress.save_seconds)

    def _between_steps(self, display: Display) -> None:
        """Checks and saves what is due. Raises KeyboardInterrupt, with all saved, if asked to stop."""
        self._stop_if_asked()
        if self.progress.seconds - self._saved >= SAVE_EVERY:
            self.save()  # before a check, because a check may take long
            self._read_clock()
        if not self.progress.next_check and self._is_planning_due():
            self._plan_checks()
        if self._is_check_due():
            display.say(self._check(self.clock), self.progress)
            self._read_clock()
            self._stop_if_asked()
        self.clock.wrote()

    def _is_planning_due(self) -> bool:
        """Returns True when the weights have learned enough for checks to take as long as later ones.

        In the noise that new weights find, scoring objects takes several times as long.
        """
        return isinstance(self.schedule, StepSchedule) or self.progress.position >= TRIED * self.schedule.steps

    def _is_check_due(self) -> bool:
        regular = 0 < self.progress.next_check <= self.progress.position
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
            self.progress.checks_since_best = 0
        self._advance()
        self.learner.update(self.progress.position)
        self.progress.losses.append(loss)

    def _advance(self) -> None:
        """Counts a step and moves on in the schedule."""
        progress, before = self.progress, self.progress.seconds
        progress.step += 1
        progress.seconds = self._processes.from_main(self.clock.stepped())
        progress.position = self.schedule.advanced(progress, progress.seconds - before)
        self._note_end()

    def _note_end(self) -> None:
        if self._is_done and self.steps != self.step:
            # the weights file names the number of steps, which the clock has decided now
            self.steps, self._written = self.step, None

    @property
    def _is_done(self) -> bool:
        return self.progress.position >= self.schedule.steps

    @property
    def _is_patience_over(self) -> bool:
        return self.limits.patience is not None and 0 < self.limits.patience <= self.progress.checks_since_best

    @property
    def _is_finished(self) -> bool:
        """Returns True if the kept weights are final."""
        return self._is_done or self._is_patience_over

    def _is_over(self) -> bool:
        """Returns True at the end of the schedule, or if patience is at an end; `ended` tells which."""
        if not self._is_done and self._is_patience_over:
            self.ended = "no longer better"
        return self._is_done or self.ended != "finished"

    def _check(self, clock: Clock) -> str:
        """Scores, keeps the weights if they are the best, and writes everything; returns a line for the log."""
        progress, before = self.progress, self._read_clock()
        # the others need no scores and no history, but must stop when the main process does
        line, progress.checks_since_best = self._processes.on_main(lambda: self._score(clock))
        progress.losses.clear()
        progress.checked = self.step
        progress.check_seconds = self._read_clock() - before + self._saving()
        progress.next_check = self.schedule.next_check(progress)
        self.save()
        return line

    def _score(self, clock: Clock) -> tuple[str, int]:
        """Scores, and keeps the weights if they are as good as the best.

        Nothing of the progress changes before all scores are computed, since a stop may come between two images.

        Returns:
            The line to print, and the number of checks since the best one.
        """
        progress, cache = self.progress, PredictionCache()
        # without held-out images, one to train on still shows whether anything is found
        samples, effort = self.validation or self.stream.samples[:1], quick(around=self.best.threshold)
        evaluation = self._evaluate(samples, effort, cache, self.learner.averaged.state_dict())
        loss = sum(progress.losses) / len(progress.losses)
        row = {"loss": loss, "learning_rate": self.learner.rate, **clock.row()}
        if self.validation:
            row |= evaluation.summary()
        self._keep_if_best(evaluation, cache)
        progress.history.append({"step": self.step, **row})
        self._curves.write(self.step, row)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        warnings = "".join(f"\nwarning: {failure}" for failure in evaluation.failures())
        return f"{where(self.schedule, progress)}  {shown}{warnings}", progress.checks_since_best

    def _keep_if_best(self, evaluation: AnyEvaluation, cache: PredictionCache) -> None:
        """Keeps the averaged weights if they are as good as the best; `cache` has their predictions."""
        progress = self.progress
        if self.recipe.select == "training_loss":
            progress.checks_since_best += 1
        elif self.validation:
            self._choose(evaluation, cache)
        else:
            # nothing to choose by: the schedule is made so that the last weights are the best
            best = Best(self.step, self.step, self.recipe.threshold, failures=evaluation.failures())
            progress.keep(best, self.learner.averaged.state_dict())

    def _choose(self, evaluation: AnyEvaluation, cache: PredictionCache) -> None:
        """Compares the averaged weights with the best so far; after the last check, scores those kept in full."""
        progress, verdict = self.progress, Verdict.of(evaluation, len(self.validation))
        is_last = self.step == self.steps or self.ended != "finished"
        is_kept, is_better = progress.peak.is_equalled_by(verdict, is_last=is_last), verdict.rank > progress.peak.rank
        checks_since_best = 0 if is_better else progress.checks_since_best + 1
        best = self._describe(evaluation, self.step) if is_kept else self.best
        weights = self.learner.averaged.state_dict() if is_kept or not progress.best_weights else progress.best_weights
        if is_last or checks_since_best == self.limits.patience:
            if self.recipe.net.classes == 1:  # a check has all scores of several classes
                final = self._evaluate(self.validation, BOUNDED, cache if is_kept else PredictionCache(), weights)
                best = self._describe(final, best.step)
            best.failures += self._first_check_findings(best.step)
        if is_kept:
            progress.keep(best, weights)
        progress.best, progress.checks_since_best = best, checks_since_best
        if is_better:
            progress.peak = Peak.of(verdict)

    def _describe(self, evaluation: AnyEvaluation, step: int) -> Best:
        """Returns what to store of weights: their scores, threshold and findings."""
        best = Best(
            score=evaluation.score(),
            step=step,
            threshold=self.recipe.threshold,
            scores={**defined(evaluation.summary())},
            failures=evaluation.failures(),
            warnings=evaluation.warnings(),
        )
        if isinstance(evaluation, Evaluation):
            best.threshold = evaluation.threshold
            rule = evaluation.measures.rule
            best.seed_depth, best.min_area = rule.seed_depth, rule.min_area if rule.seed_depth else None
            best.plateau = [evaluation.plateau.low, evaluation.plateau.high]
        return best

    def _first_check_findings(self, step: int) -> list[str]:
        """A finding if a training of several checks keeps the weights of the first one."""
        first = int(self.progress.history[0]["step"]) if self.progress.history else self.step
        return [first_check_finding(step, self.steps)] if step == first < self.step else []

    @cached_property
    def _measures(self) -> Measures:
        """The scores that suit the held-out labels."""
        samples, select = self.validation or self.stream.samples[:1], self.recipe.select
        objective = choose_objective(samples, self.recipe.net.classes)[0] if select == "training_loss" else select
        return Measures.suited_to(samples, objective, self.description.object_rule)

    def _segmenter(self, tensors: dict[str, Tensor]) -> Segmenter:
        """Returns a segmenter with these weights."""
        weights = Weights(self.description, "", tensors)
        engine = TorchEngine(weights.build_net(), str(self.machine.device), threshold=self.description.threshold)
        return Segmenter(weights, engine)

    def _evaluate(
        self, samples: list[Sample], effort: Effort, cache: PredictionCache, tensors: dict[str, Tensor]
    ) -> AnyEvaluation:
        """Scores weights on samples; in full, with the seed depth that suits them best.

        Raises:
            TrainingError: Weights or probabilities are not finite.
            KeyboardInterrupt: The training was asked to stop, between two images.
        """
        segmenter, measures = self._segmenter(tensors), self._measures
        if effort.quick:
            measures = measures.in_checks
        elif measures.rule.kind == "seeds":
            measures = replace(measures, rule=self._choose_rule(samples, cache, predictor(segmenter)))

        def show(sample: Sample, found: Any) -> None:
            self._stop_if_asked()
            if effort.quick and sample in samples[:PICTURES]:
                shown = picture(sample, found, self.recipe.net.classes)
                self._curves.show(self.step, f"image, label, found/{sample.name}", shown)

        evaluation = evaluate_net(segmenter, samples, measures, show, effort, cache)
        if evaluation.broken or not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise TrainingError(self._no_numbers("the net's weights or predictions are not numbers"))
        return evaluation

    def _choose_rule(self, samples: list[Sample], cache: PredictionCache, predict: Predictor) -> ObjectRule:
        """Returns how masks become objects, with the seed depth and minimum area that suit the samples best."""
        chosen = spread(samples, OBJECT_PIXELS)
        probabilities = [np.nan_to_num(cache.get(predict, sample)) for sample in chosen]
        areas = candidate_areas([*self.stream.samples, *self.validation])
        return choose_object_rule(self._measures.rule, probabilities, chosen, self.best.threshold, areas)

    def _no_numbers(self, what: str) -> str:
        kept = self.folder.weights if self.folder.weights.exists() else "nothing yet"
        return f"{what} at step {self.step}; try a lower --learning-rate. Kept: {kept}"


def _schedule(recipe: Recipe, limits: Limits, images: int) -> Schedule:
    steps = recipe.total_steps(images)
    if math.isfinite(limits.seconds):
        return TimeSchedule(max(FEWEST_STEPS, steps), limits.seconds)
    return StepSchedule(steps, recipe.check_every or recipe.steps_per_epoch(images))
