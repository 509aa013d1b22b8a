"""The training job: builds a trainer from the options, and reports its result."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue, ValidationError

from model.engines.engine import EngineError
from model.engines.pytorch import choose_device
from model.outputs.objects import ObjectRule, Objects
from model.segmenter import Segmenter
from model.weights_file import Description, Weights, WeightsError
from training.data.fingerprint import Fingerprint, take_fingerprint
from training.data.folder import Sample, fingerprint, load_samples
from training.data.holdout import HoldOut, hold_out, hold_out_folder, out_of_fold, suggested_folds
from training.data.image_cache import store_of
from training.data.inspection import background_is_borders
from training.data_error import DataError
from training.distributed.processes import ALONE, Processes
from training.loop import init_trial, memory
from training.loop import time_budget as pace
from training.loop.batches import crop_shape
from training.loop.checkpoints import Checkpoints, State
from training.loop.clock import Clock
from training.loop.init_trial import Start
from training.loop.init_weights import Init, initial_weights
from training.loop.machine import Machine
from training.loop.memory import TooLittleMemory
from training.loop.run_folder import RunFolder
from training.loop.trainer import Limits, Trainer, TrainingError
from training.recipe import Recipe
from training.run.options import check_options, make_plan
from training.run.planner import Plan
from training.run.provenance import configuration, describe, today
from training.run.training_options import TrainingOptions
from training.scoring.object_rule import DEFAULT_SEED_DEPTH, smallest_area
from training.scoring.objective import OBJECTIVE_NAMES, Objective, resolve_objective

Train = Callable[[TrainingOptions, list[Sample], Processes, Clock], int]


@dataclass(frozen=True, eq=False)
class Part:
    """The properties of one training of a command that trains several times.

    Attributes:
        split: Images to train on and images held out.
        notes: Entries for the provenance of the weights.
        folder: Folder of the training if it is already open; None to open `--out`.
        like: Earlier training whose plan this one follows: recipe, length, and whether `--init` is kept.
    """

    split: HoldOut
    notes: Mapping[str, JsonValue]
    folder: RunFolder | None = None
    like: Trainer | None = None


def run(options: TrainingOptions, samples: list[Sample], processes: Processes, clock: Clock, train: Train) -> int:
    """Runs one training or several, as `train` does; returns the exit code, the same in all processes.

    `clock`: started with the command. Raises DataError, KeyboardInterrupt before the first step.
    """
    memory.keep_freed()
    try:
        return train(options, samples, processes, clock)
    except (EngineError, WeightsError, TooLittleMemory) as error:
        raise DataError(str(error)) from error
    except OSError as error:
        raise DataError(_cannot_write(options.out, error)) from error


def train(options: TrainingOptions, samples: list[Sample], processes: Processes, clock: Clock) -> int:
    """Trains once; returns the exit code."""
    return complete(prepare(options, samples, processes, clock), options.out)


def complete(trainer: Trainer, out: Path) -> int:
    """Does everything after the first checkpoint; returns the exit code.

    Whatever happens here, `--resume` with the folder `out` continues from the last checkpoint.
    """
    processes = trainer.machine.processes
    try:
        trainer.run()
        processes.say(*processes.on_main(lambda: [finish(trainer), f"report: {report(trainer)}"]))
        _warn(trainer)
    except TrainingError as error:
        processes.say(f"training: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        kept = f"all up to step {trainer.saved_step} is kept, and --resume continues from there"
        processes.say(f"training: {_cannot_write(trainer.folder.path, error)}; {kept}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        processes.say(f"training: stopped; --resume continues from {out}", file=sys.stderr)
        return 130
    return 0


def _warn(trainer: Trainer) -> None:
    """Prints what is wrong with the weights on stderr, last, so that it is read."""
    for line in trainer.machine.processes.on_main(lambda: [*trainer.best.failures, *trainer.best.warnings]):
        trainer.machine.processes.say(f"training: warning: {line}", file=sys.stderr)


def _cannot_write(folder: Path, error: OSError) -> str:
    return f"{folder}: cannot be written to ({error.strerror or error})"


def prepare(
    options: TrainingOptions,
    samples: list[Sample],
    processes: Processes = ALONE,
    clock: Clock | None = None,
    part: Part | None = None,
) -> Trainer:
    """Does everything before the first step; the folder is touched last.

    `clock` is that of `--minutes`, None to start one now; `part` is set if the command trains several times. Raises
    DataError, EngineError, WeightsError, TooLittleMemory, OSError: the same in all processes, because they have the
    same data and options, and only the main process reads and writes files.
    """
    clock = clock or Clock()
    processes.same("images or labels", lambda: fingerprint(samples))
    device = processes.each(lambda: choose_device(processes.device(options.device)))
    found = processes.on_main(lambda: _initial_weights(options, samples))
    state = processes.on_main(lambda: _checkpoint(options.out)) if options.resume else None
    record = _known_record(found, state, part)
    init = found.weights if found and record and record["kept"] else None
    facts = take_fingerprint(samples, options.scheme.classes)
    objective, reason = resolve_objective(options.select, samples, options.scheme.classes)
    plan = make_plan(options, samples, init, facts, objective)
    recipe = plan.recipe
    split = part.split if part else processes.each(lambda: _hold_out(options, samples, recipe.validation_fraction))
    check_options(options, recipe, split.validation)
    start = _plan(options, recipe, init, split, device, processes, clock, state, part)
    if init and not state and not (part and part.like):
        start, record = _try_init(options, samples, init, facts, objective, start, split, device, processes, clock)
    if init and not start.init:
        plan = make_plan(options, samples, None, facts, objective)
    recipe, machine, init = start.recipe, start.machine, start.init
    notes = {**(part.notes if part else {}), **({"init": record} if record else {})}
    description = _describe(options, samples, split, start, state["trained"] if state else today(), notes)
    trainer = Trainer(
        recipe,
        description,
        split.training,
        split.validation,
        processes.on_main(lambda: (part and part.folder) or _open_folder(options.out, resume=state is not None)),
        machine,
        seed=options.seed,
        init=init.tensors if init else None,
        limits=Limits(60 * (options.minutes or math.inf), options.patience),
        clock=clock,
    )
    if state:
        trainer.resume(state)
        processes.on_main(trainer.folder.occupy)
    # first of all files: every folder then has a checkpoint, and a full disk is noticed now
    trainer.save()
    processes.on_main(lambda: trainer.folder.write_config(configuration(options, trainer) | _reasons(split, plan)))
    processes.say(_introduction(trainer, split, init), *(f"recipe: {decision}" for decision in plan.decisions))
    if split.validation and recipe.select != "training_loss":
        processes.say(f"weights and threshold are chosen by {OBJECTIVE_NAMES[objective]}, because {reason}")
    if found and record:
        processes.say(*found.changes, init_trial.sentence(record))
    if not part and not state and (hint := suggested_folds(split)):
        processes.say(hint)
    return trainer


def _open_folder(path: Path, *, resume: bool) -> RunFolder:
    """Returns the folder, as it is if a training there is resumed. Raises DataError, OSError."""
    folder = RunFolder(path)
    return folder if resume else folder.begin()


def _describe(
    options: TrainingOptions,
    samples: list[Sample],
    split: HoldOut,
    start: Start,
    begun: str,
    notes: Mapping[str, JsonValue],
) -> Description:
    """Describes the weights file of a training that began on the day `begun`. Raises DataError."""
    images = {"training": len(split.training), "validation": len(split.validation)}
    rule = _object_rule(options, samples, start.init, notes)
    return describe(options, start.recipe, images, rule, start.init, begun, notes)


def _reasons(split: HoldOut, plan: Plan) -> dict[str, Any]:
    """Returns what config.json keeps of the decisions: which images are held out, and how the recipe was configured."""
    decisions = {each.setting: f"{each.value} ({each.reason})" for each in plan.decisions}
    return {"holdout": split.record(), "decisions": decisions}


def _known_record(found: Init | None, state: State | None, part: Part | None) -> init_trial.Record | None:
    """The record of `--init` before this training: from its checkpoint, or from the training whose plan it follows.

    Without a record, or with a record of other weights, the weights count as kept without a trial.
    """
    if found is None:
        return None
    earlier = state.get("--init") if state else None
    if part and part.like:
        earlier = part.like.description.provenance.get("init")
    if isinstance(earlier, dict) and earlier.get("label") == found.weights.label:
        return earlier
    return init_trial.untried(found.weights)


def _initial_weights(options: TrainingOptions, samples: list[Sample]) -> Init | None:
    """Returns the weights of `--init`, fitted to the samples. Raises DataError, WeightsError."""
    if options.init is None:
        return None
    if options.width is not None:
        raise DataError(f"--width does not go with --init: the net is that of the weights, {options.init}")
    return initial_weights(
        options.init,
        samples,
        classes=options.scheme.classes,
        labels=options.labels,
        channels=options.channels,
        seed=options.seed,
    )


def _hold_out(options: TrainingOptions, samples: list[Sample], fraction: float) -> HoldOut:
    """Raises DataError."""
    if options.val:
        return hold_out_folder(samples, load_samples(options.val, options.scheme, store_of(samples)), options.val)
    return hold_out(samples, fraction, options.group)


def _plan(
    options: TrainingOptions,
    recipe: Recipe,
    init: Weights | None,
    split: HoldOut,
    device: torch.device,
    processes: Processes,
    clock: Clock,
    state: State | None = None,
    part: Part | None = None,
) -> Start:
    """Decides the length of the training, and how it is computed. Raises DataError, TooLittleMemory."""
    if options.val or part:
        recipe = recipe.model_copy(update={"validation_fraction": 0.0})
    if part and part.like:
        recipe = part.like.recipe.model_copy(update={"threshold": recipe.threshold})
    machine = _machine(options, recipe, split.training, device, processes, state)
    if options.minutes and not (part and part.like):
        may_narrow = init is None and options.width is None and recipe.name == "default"
        if state:
            recipe = _as_planned(recipe, state, may_narrow)
        else:
            minutes = options.minutes - processes.from_main(clock.seconds) / 60
            recipe = pace.fit(recipe, machine, minutes, split.training, may_narrow=may_narrow)
    return Start(recipe, machine, init)


def _try_init(
    options: TrainingOptions,
    samples: list[Sample],
    init: Weights,
    facts: Fingerprint,
    objective: Objective,
    start: Start,
    split: HoldOut,
    device: torch.device,
    processes: Processes,
    clock: Clock,
) -> tuple[Start, init_trial.Record]:
    """Compares `--init` with training from nothing; returns the better start and the record of the trial."""
    if not init_trial.trial_steps(start.recipe, len(split.training)):
        return start, init_trial.untried(init)
    recipe = make_plan(options, samples, None, facts, objective).recipe
    from_nothing = _plan(options, recipe, None, split, device, processes, clock)
    starts = start, from_nothing
    record = init_trial.try_both(init, starts, split.training, split.validation, options.seed)
    chosen = start if record["kept"] else from_nothing
    if not options.minutes:
        return chosen, record
    return replace(chosen, recipe=init_trial.shortened(chosen.recipe, init_trial.share_left(record))), record


def finish(trainer: Trainer) -> str:
    """Returns what to print at the end, and notes it in the folder."""
    best, lines = trainer.best, []
    if trainer.ended != "finished":
        lines.append(f"stopped at step {trainer.step} of {trainer.steps}: {trainer.ended}")
    threshold = "" if trainer.recipe.net.classes > 1 else f"; threshold {best.threshold:.3g}"
    lines.append(f"kept: the weights of step {best.step}, {_reached(trainer)}{threshold}")
    weights = trainer.folder.weights
    trainer.folder.write_config(trainer.folder.read_config() | {"steps": trainer.steps, "ended": trainer.ended})
    return "\n".join([*lines, f"weights: {weights}", f"serve them: SEGMENT_WEIGHTS={weights} python -m app"])


def _reached(trainer: Trainer) -> str:
    """Returns what is known of the kept weights, as a phrase."""
    best, select = trainer.best, trainer.recipe.select
    if select == "training_loss":
        return f"loss {-best.score:.4f}"
    if not best.scores:
        folds = out_of_fold(trainer.description.provenance)
        return folds or "no images held out, so nothing is known of how good they are"
    return f"{OBJECTIVE_NAMES[select]} {best.score:.4f} on the held-out images"


def report(trainer: Trainer) -> Path:
    """Writes the folder's report on the kept weights; returns its path."""
    from training.report.html_report import (
        write_report,  # it takes a second, by what draws, which is not to delay the start
    )

    segmenter = (
        Segmenter.load(trainer.folder.weights, device=str(trainer.machine.device)) if trainer.validation else None
    )
    return write_report(trainer.folder, trainer.validation, segmenter)


def _machine(
    options: TrainingOptions,
    recipe: Recipe,
    training: list[Sample],
    device: torch.device,
    processes: Processes,
    state: State | None,
) -> Machine:
    """The device and how a batch is computed on it. Raises DataError, TooLittleMemory."""
    height, width = _input_size(recipe, training)
    parts: int = state["parts"] if state else 1  # a resumed training keeps its parts, if they fit the processes
    if not state or state.get("processes", 1) != processes.count:
        parts = max(parts, memory.choose_parts(recipe, height, width, device, options.workers, processes))
    machine = Machine(device, options.workers, parts, options.compile, processes, options.sync_batch_norm)
    side = recipe.net.stride
    if machine.fewest_normalised(recipe.batch) == 1 and max(height, width) <= side:
        raise DataError(
            f"{width} x {height} pixels are too few to train on one image at a time: the net's lowest level would be a "
            f"single pixel; use more than {side} pixels on a side (--crop), or a --batch of at least 2"
        )
    return machine


def _as_planned(recipe: Recipe, state: State, may_narrow: bool) -> Recipe:
    """With the length, and the width if that was free, that the checkpoint's training was planned with."""
    try:
        planned = Recipe.model_validate_json(state["recipe"])
    except ValidationError as error:
        raise DataError(
            "the checkpoint is of another version, and its plan cannot be read; train afresh, without --resume"
        ) from error
    length = {"steps": planned.steps, "epochs": None, "check_every": None}
    width = planned.net.width if may_narrow else recipe.net.width
    return recipe.model_copy(update=length | {"net": recipe.net.model_copy(update={"width": width})})


def _input_size(recipe: Recipe, training: list[Sample]) -> tuple[int, int]:
    """(height, width) of what a step takes. Raises DataError if images of several sizes would make one batch."""
    if recipe.crop:
        return crop_shape(training, recipe)
    sizes = {sample.label.shape for sample in training}
    if recipe.batch > 1 and len(sizes) > 1:
        raise DataError("the images differ in size, and this recipe takes them whole: --batch must be 1")
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    return height, width


def _checkpoint(path: Path) -> State | None:
    """Loads the checkpoint to resume, or None if there is none yet. Raises DataError if none can be read."""
    if RunFolder(path).is_being_put_aside:
        return None
    state, problem = Checkpoints(path).load()
    if state is None:
        print(f"{path}: no checkpoint yet, starting from the beginning", flush=True)
    elif problem:
        print(f"{problem}; resuming from the previous checkpoint, step {state['step']}", file=sys.stderr)
    return state


def _object_rule(
    options: TrainingOptions, samples: list[Sample], init: Weights | None, notes: Mapping[str, JsonValue]
) -> ObjectRule:
    """Returns how masks become objects: as `--objects` or the weights to start from say, or as suits the labels.

    Seed depth and minimum area are those that folds have found, those of the weights to start from, or defaults, until
    held-out images choose better ones.
    """
    asked: Objects | None = options.objects
    started = init.description.object_rule if init else None
    if started and asked in (None, started.kind):
        rule = started
    else:
        rule = ObjectRule(asked or _suitable_objects(samples, options.scheme.classes))
    if rule.kind != "seeds":
        return rule
    folds = notes.get("folds")
    found = folds if isinstance(folds, dict) else {}
    depth, area = found.get("seed_depth"), found.get("min_area")
    return replace(
        rule,
        seed_depth=(depth if isinstance(depth, float) else rule.seed_depth) or DEFAULT_SEED_DEPTH,
        min_area=area if isinstance(area, int) else smallest_area(samples) or rule.min_area,
    )


def _suitable_objects(samples: list[Sample], classes: int) -> Objects:
    if classes > 1:
        return "regions"
    if background_is_borders(samples):
        return "interiors"
    return "seeds" if any(sample.ids is not None for sample in samples) else "regions"


def _introduction(trainer: Trainer, split: HoldOut, init: Weights | None) -> str:
    recipe, machine = trainer.recipe, trainer.machine
    begin = f", starting from {init.label}" if init else ""
    count = machine.processes.count
    shared = f", shared by {count} processes" if count > 1 else ""
    lines = [
        f"{len(trainer.stream.samples)} images to train on, {len(trainer.validation)} held out; "
        f"{_length(trainer)} of {recipe.batch} on {machine.device}{shared}; width {recipe.net.width}{begin}; "
        f"into {trainer.folder.path}",
        split.said,
    ]
    if machine.parts > 1:
        lines.append(f"memory is short: each batch of {recipe.batch} is computed in {machine.parts} parts")
    if count > recipe.batch:
        lines.append(f"warning: {count - recipe.batch} of {count} processes have nothing to do; a larger --batch?")
    return "\n".join(lines)


def _length(trainer: Trainer) -> str:
    steps, seconds = f"{trainer.steps} steps", trainer.limits.seconds
    return steps if seconds == math.inf else f"{seconds / 60:.3g} minutes, about {steps}"
