"""Prepares a training: from options and samples to a trainer that is ready for its first step."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue, ValidationError

from model.engines.pytorch import choose_device
from model.inputs.known_images import KnownImages, from_all_over
from model.outputs.objects import ObjectRule, Objects
from model.weights_file import Description, Weights
from training.data.card_options import TEXTS, to_card
from training.data.example import typical_example
from training.data.fingerprint import Fingerprint, take_fingerprint
from training.data.folder import Sample, fingerprint, load_samples
from training.data.holdout import HoldOut, hold_out, hold_out_folder, suggested_folds
from training.data.image_cache import store_of
from training.data.image_reader import ImageReader
from training.data.inspection import background_is_borders
from training.data.labels.label_scheme import name_classes
from training.data_error import DataError
from training.distributed.processes import ALONE, Processes
from training.loop import init_trial, memory, time_budget
from training.loop.batches import crop_shape
from training.loop.checkpoints import Checkpoints, State
from training.loop.clock import Clock
from training.loop.init_trial import Start
from training.loop.init_weights import Init, initial_weights
from training.loop.machine import Machine
from training.loop.run_folder import RunFolder
from training.loop.trainer import Limits, Trainer
from training.recipe import Recipe
from training.run.options import check_options, make_plan
from training.run.planner import RecipePlan
from training.run.provenance import configuration, describe, today
from training.run.training_options import TrainingOptions
from training.scoring.object_rule import DEFAULT_SEED_DEPTH, smallest_area
from training.scoring.objective import OBJECTIVE_NAMES, Objective, resolve_objective


@dataclass(frozen=True, eq=False)
class PartialTraining:
    """The properties of one training of a command that trains several times.

    Attributes:
        split: Images to train on and images held out.
        notes: Entries for the provenance of the weights.
        folder: Folder of the training if it is already open; None to open `--out`.
        like: Earlier training whose plan this one follows: recipe, length, and whether `--init` is kept.
        before: Called in the main process before the first file of the training is touched.
    """

    split: HoldOut
    notes: Mapping[str, JsonValue]
    folder: RunFolder | None = None
    like: Trainer | None = None
    before: Callable[[], object] | None = None


@dataclass(frozen=True, eq=False)
class _Situation:
    """Everything that decides how to train and does not depend on the recipe.

    Attributes:
        options: The command line.
        samples: All images and labels.
        processes: The processes that share the training.
        clock: Clock of `--minutes`.
        part: Set if the command trains several times.
        device: Where this process computes.
        found: Weights of `--init`, fitted to the samples.
        state: Checkpoint to resume.
        facts: Measurements of the samples.
        objective: Score that chooses weights and threshold.
        reason: Why that score was chosen, as the end of a sentence.
    """

    options: TrainingOptions
    samples: list[Sample]
    processes: Processes
    clock: Clock
    part: PartialTraining | None
    device: torch.device
    found: Init | None
    state: State | None
    facts: Fingerprint
    objective: Objective
    reason: str

    @property
    def leader(self) -> Trainer | None:
        """The earlier training whose plan this one follows."""
        return self.part.like if self.part else None

    def plan(self, init: Weights | None) -> RecipePlan:
        """Configures the recipe for a training from `init`, or from nothing. Raises DataError."""
        return make_plan(self.options, self.samples, init, self.facts, self.objective)

    def say_decisions(self, trainer: Trainer, split: HoldOut, plan: RecipePlan, start: Start) -> None:
        """Prints what is trained, and why so."""
        say = self.processes.say
        say(_introduction(trainer, split, start.init), *(f"recipe: {decision}" for decision in plan.decisions))
        if split.validation and trainer.recipe.select != "training_loss":
            say(f"weights and threshold are chosen by {OBJECTIVE_NAMES[self.objective]}, because {self.reason}")


def prepare(
    options: TrainingOptions,
    samples: list[Sample],
    processes: Processes = ALONE,
    clock: Clock | None = None,
    part: PartialTraining | None = None,
) -> Trainer:
    """Does everything before the first step; the folder is touched last.

    `clock` is that of `--minutes`, None to start one now; `part` is set if the command trains several times.

    Raises:
        DataError, EngineError, WeightsError, TooLittleMemory, OSError: The same in all processes, because they have
            the same data and options, and only the main process reads and writes files.
    """
    situation = _examine(options, samples, processes, clock or Clock(), part)
    state, found = situation.state, situation.found
    record = _known_record(situation)
    init = found.weights if found and record and record["kept"] else None
    plan = situation.plan(init)
    split = part.split if part else processes.each(lambda: _hold_out(options, samples, plan.recipe.validation_fraction))
    check_options(options, plan.recipe, split.validation)
    start = _plan_start(situation, plan.recipe, init, split)
    if init and not state and not situation.leader:
        start, record = _try_init(situation, init, start, split)
    if init and not start.init:
        plan = situation.plan(None)
    trainer = _make_trainer(situation, start, split, record)
    # first of all files: every folder then has a checkpoint, and a full disk is noticed now
    trainer.save()
    processes.on_main(lambda: trainer.folder.write_config(configuration(options, trainer) | _reasons(split, plan)))
    situation.say_decisions(trainer, split, plan, start)
    if found and record:
        processes.say(*found.changes, init_trial.sentence(record), *_inherited(options, start.init))
    if not part and not state and (hint := suggested_folds(split)):
        processes.say(hint)
    return trainer


def _examine(
    options: TrainingOptions, samples: list[Sample], processes: Processes, clock: Clock, part: PartialTraining | None
) -> _Situation:
    """Reads what the options name, and measures the samples. Raises as `prepare` does."""
    processes.same("images or labels", lambda: fingerprint(samples))
    device = processes.each(lambda: choose_device(processes.device(options.device)))
    found = processes.on_main(lambda: _initial_weights(options, samples))
    state = processes.on_main(lambda: _checkpoint(options.out)) if options.resume else None
    facts = take_fingerprint(samples, options.scheme.classes)
    objective, reason = resolve_objective(options.select, samples, options.scheme.classes)
    return _Situation(options, samples, processes, clock, part, device, found, state, facts, objective, reason)


def _make_trainer(situation: _Situation, start: Start, split: HoldOut, record: init_trial.Record | None) -> Trainer:
    """Builds the trainer, at the checkpoint's step if there is one."""
    options, part, state = situation.options, situation.part, situation.state
    notes = {**(part.notes if part else {}), **({"init": record} if record else {})}
    trainer = Trainer(
        start.recipe,
        _describe(situation, start, split, notes),
        split.training,
        split.validation,
        situation.processes.on_main(lambda: _open_folder(options, part, resume=state is not None)),
        start.machine,
        seed=options.seed,
        init=start.init.tensors if start.init else None,
        limits=Limits(60 * (options.minutes or math.inf), options.patience),
        clock=situation.clock,
    )
    if state:
        trainer.resume(state)
        situation.processes.on_main(trainer.folder.occupy)
    return trainer


def _describe(situation: _Situation, start: Start, split: HoldOut, notes: Mapping[str, JsonValue]) -> Description:
    """Describes the weights file of the training. Raises DataError."""
    options, state = situation.options, situation.state
    begun = state["trained"] if state else today()
    images = {"training": len(split.training), "validation": len(split.validation)}
    rule = _object_rule(options, situation.samples, start.init, notes)
    described = describe(options, start.recipe, images, rule, start.init, begun, notes)
    shown = split.validation or split.training
    known = [split.training[index] for index in from_all_over(len(split.training))]
    pixels, bits = (sample.pixels for sample in known), [sample.bits for sample in known]
    update = {
        "card": to_card(options, None, start.init.description.card if start.init else None),
        "example": typical_example(shown, options.scheme.classes),
        "known_images": KnownImages.of(pixels, described.preprocessing, bits),
    }
    return described.model_copy(update=update)


def _plan_start(situation: _Situation, recipe: Recipe, init: Weights | None, split: HoldOut) -> Start:
    """Decides the length of the training, and how it is computed. Raises DataError, TooLittleMemory."""
    options, part, state, leader = situation.options, situation.part, situation.state, situation.leader
    if options.val or part:
        recipe = recipe.model_copy(update={"validation_fraction": 0.0})
    if leader:
        recipe = leader.recipe.model_copy(update={"threshold": recipe.threshold})
    machine = _machine(situation, recipe, split.training, state)
    if options.minutes and not leader:
        may_narrow = init is None and options.width is None and recipe.adapts
        if state:
            recipe = _as_planned(recipe, state, may_narrow)
        else:
            minutes = options.minutes - situation.processes.from_main(situation.clock.seconds) / 60
            recipe = time_budget.fit(recipe, machine, minutes, split.training, may_narrow=may_narrow)
    return Start(recipe, machine, init)


def _try_init(situation: _Situation, init: Weights, start: Start, split: HoldOut) -> tuple[Start, init_trial.Record]:
    """Compares `--init` with training from nothing; returns the better start and the record of the trial."""
    options = situation.options
    if not init_trial.trial_steps(start.recipe, len(split.training)):
        return start, init_trial.untried(init)
    from_nothing = _plan_start(situation, situation.plan(None).recipe, None, split)
    record = init_trial.try_both(init, (start, from_nothing), split.training, split.validation, options.seed)
    chosen = start if record["kept"] else from_nothing
    if not options.minutes:
        return chosen, record
    return replace(chosen, recipe=init_trial.shortened(chosen.recipe, init_trial.share_left(record))), record


def _open_folder(options: TrainingOptions, part: PartialTraining | None, *, resume: bool) -> RunFolder:
    """Returns the folder, as it is if a training there is resumed. Raises DataError, OSError."""
    if part and part.before:
        part.before()
    if part and part.folder:
        return part.folder
    folder = RunFolder(options.out)
    return folder if resume else folder.begin(options.init)


def _reasons(split: HoldOut, plan: RecipePlan) -> dict[str, Any]:
    """Returns what config.json keeps of the decisions: which images are held out, and how the recipe was configured."""
    decisions = {each.setting: f"{each.value} ({each.reason})" for each in plan.decisions}
    return {"holdout": split.record(), "decisions": decisions}


def _known_record(situation: _Situation) -> init_trial.Record | None:
    """The record of `--init` before this training: from its checkpoint, or from the training whose plan it follows.

    Without a record, or with a record of other weights, the weights count as kept without a trial.
    """
    found, state, leader = situation.found, situation.state, situation.leader
    if found is None:
        return None
    earlier = state.get("--init") if state else None
    if leader:
        earlier = leader.description.provenance.get("init")
    if isinstance(earlier, dict) and earlier.get("label") == found.weights.label:
        return earlier
    return init_trial.untried(found.weights)


def _inherited(options: TrainingOptions, init: Weights | None) -> list[str]:
    """Returns a line about what the new weights say of themselves only because the weights of `--init` say it."""
    if not init:
        return []
    card, names = init.description.card, init.description.labels
    known = card.model_dump() if card else {}
    if names != name_classes(init.description.architecture.classes):
        known["labels"] = ", ".join(names.values())
    given = {name: getattr(options, name) for name in (*TEXTS, "labels")} | {"pixel_size_um": options.pixel_size}
    kept = "; ".join(f"{name}: {value}" for name, value in known.items() if value and not given[name])
    advice = "--segments, --modality, --pixel-size, --not-for and --labels replace it"
    return [f"kept from {init.label}: {kept} ({advice})"] if kept else []


def _initial_weights(options: TrainingOptions, samples: list[Sample]) -> Init | None:
    """Returns the weights of `--init`, fitted to the samples. Raises DataError, WeightsError."""
    if options.init is None:
        return None
    if options.width is not None:
        raise DataError(f"--width does not go with --init: the net is that of the weights, {options.init}")
    return initial_weights(
        RunFolder(options.out).kept_init(options.init) if options.resume else options.init,
        samples,
        classes=options.scheme.classes,
        labels=options.labels,
        channels=options.channels,
        seed=options.seed,
    )


def _hold_out(options: TrainingOptions, samples: list[Sample], fraction: float) -> HoldOut:
    """Raises DataError."""
    if options.val:
        reader = ImageReader(options.channel)
        held_out = load_samples(options.val, options.val_scheme, store_of(samples), reader)
        return hold_out_folder(samples, held_out, options.val)
    return hold_out(samples, fraction, options.group)


def _machine(situation: _Situation, recipe: Recipe, training: list[Sample], state: State | None) -> Machine:
    """The device and how a batch is computed on it. Raises DataError, TooLittleMemory."""
    options, device, processes = situation.options, situation.device, situation.processes
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
    """Returns how masks become objects: as `--objects` says, or as suits the labels.

    Seed depth and minimum area are those that folds have found, those of the weights to start from, or defaults, until
    held-out images choose better ones.
    """
    started = init.description.object_rule if init else None
    kind = options.objects or _suitable_objects(samples, options.scheme.classes, started)
    rule = started if started and started.kind == kind else ObjectRule(kind)
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


def _suitable_objects(samples: list[Sample], classes: int, started: ObjectRule | None) -> Objects:
    """`started`: the rule of the weights to start from. It says that masks without numbers are of touching objects."""
    if classes > 1:
        return "regions"
    if background_is_borders(samples):
        return "interiors"
    numbered = any(sample.ids is not None for sample in samples)
    return "seeds" if numbered or (started and started.kind == "seeds") else "regions"


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
