"""The training loop: steps, checks, the best weights kept."""

import contextlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import JsonValue
from torch import Tensor, nn
from torch.optim import swa_utils
from tqdm import tqdm

from model.engine import DTYPES, TorchEngine, choose_precision, memory_format
from model.segmenter import Segmenter
from model.unet import UNet
from model.weights_file import Description, Weights, save_weights
from training import losses
from training.batches import SampleStream, make_loader
from training.data import Sample
from training.evaluate import evaluate, picture
from training.recipe import Recipe
from training.run_folder import RunFolder

# Pictures of the first held-out images go to TensorBoard, no more: they show what the curves mean.
PICTURES = 2


class TrainingError(RuntimeError):
    """A training that cannot go on; what it reached is in its folder."""


@dataclass
class Best:
    """The weights kept so far. `score`: higher is better (V_rand, or minus the loss)."""

    score: float = -math.inf
    step: int = 0
    threshold: float = 0.5
    scores: dict[str, JsonValue] | None = None


class Trainer:
    """Trains one net; `run` returns when it is done, and can be called again after a stop (`resume`)."""

    def __init__(
        self,
        recipe: Recipe,
        description: Description,
        training: list[Sample],
        validation: list[Sample],
        folder: RunFolder,
        *,
        device: torch.device,
        seed: int,
        workers: int,
    ) -> None:
        self.recipe, self.description, self.validation, self.folder = recipe, description, validation, folder
        self.device, self.seed, self.workers = device, seed, workers
        self.stream = SampleStream(training, recipe, seed)
        self.steps = recipe.total_steps(len(training))
        self.check_every = recipe.check_every or recipe.steps_per_epoch(len(training))
        self.step = 0
        self.best = Best(threshold=recipe.threshold)
        self._best_tensors: dict[str, Tensor] | None = None  # of weights not written yet

        torch.manual_seed(seed)
        net = UNet(recipe.net).to(device)
        self.layout = memory_format(net)
        self.net: UNet = net.to(memory_format=self.layout)  # type: ignore[call-overload]  # torch's stubs lack it
        self.average = _average(self.net, recipe.ema_decay)
        self.optimizer = _optimizer(self.net, recipe)
        self.schedule = _schedule(self.optimizer, recipe, self.steps)
        self.criterion: Callable[[Tensor, Tensor], Tensor] = {"bce": losses.bce, "bce_dice": losses.bce_dice}[
            recipe.loss
        ]
        precision = choose_precision(device, "auto") if recipe.name != "tutorial" else "fp32"
        self._autocast = torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")

    def run(self) -> Best:
        """Trains to the end.

        Raises TrainingError if the loss is no number, KeyboardInterrupt after SIGINT or SIGTERM, with the checkpoint
        written: then `resume` goes on exactly where this stopped.
        """
        loader = make_loader(
            self.stream, self.recipe, self.step, self.steps, self.workers, pin=self.device.type == "cuda"
        )
        started, total, counted = time.monotonic(), 0.0, 0
        with tqdm(total=self.steps, initial=self.step, unit="step", disable=None) as bar, _asked_to_stop() as asked:
            for images, targets in loader:
                loss = self._train_step(images, targets)
                total, counted = total + loss, counted + 1
                bar.update()
                bar.set_postfix(loss=f"{loss:.4f}", best=f"{self.best.score:.4f}", refresh=False)
                if self.step % self.check_every == 0 or self.step == self.steps:
                    row = {"loss": total / counted, "learning_rate": self.optimizer.param_groups[0]["lr"]}
                    bar.write(self._check(row | {"seconds": time.monotonic() - started}))
                    total, counted = 0.0, 0
                if asked and self.step < self.steps:
                    self._write()
                    raise KeyboardInterrupt
        return self.best

    def resume(self, state: dict[str, Any]) -> None:
        """Goes back to a checkpoint's state. Raises TrainingError if it is of another recipe, data or seed."""
        other = [name for name, value in self._made_of().items() if state.get(name) != value]
        if other:
            raise TrainingError(
                f"the checkpoint was made with another {' and '.join(other)}; resume with the same options and data"
            )
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.step, self.best = state["step"], Best(**state["best"])

    def _made_of(self) -> dict[str, Any]:
        """What decides the outcome: a checkpoint goes on only with the same."""
        images = [[sample.name for sample in samples] for samples in (self.stream.samples, self.validation)]
        return {"recipe": self.recipe.model_dump_json(), "seed": self.seed, "steps": self.steps, "images": images}

    def _train_step(self, images: Tensor, targets: Tensor) -> float:
        self.net.train()
        images = images.to(self.device, memory_format=self.layout, non_blocking=True)
        targets = targets.to(self.device, non_blocking=True)
        with self._autocast:
            logits = self.net(images)
        loss = self.criterion(logits.float(), targets)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {self.step}; try a lower learning rate. Kept: {self._kept()}"
            )
        if self.recipe.select == "training_loss" and -value > self.best.score:
            # before the update: these weights, and no later ones, gave this loss
            self._keep(Best(-value, self.step, self.recipe.threshold), self.net)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.schedule.step()
        if self.average:
            self.average.update_parameters(self.net)
        self.step += 1
        return value

    def _check(self, row: dict[str, float]) -> str:
        """Validates, keeps the weights if they are the best, writes everything; returns a line on how it stands."""
        if self.validation:
            row |= self._validate()
        elif self.recipe.select == "validation":
            self._keep(Best(-row["loss"], self.step, self.recipe.threshold), self.averaged)
        self.folder.record(self.step, row)
        self._write()
        shown = "  ".join(f"{name} {value:.4g}" for name, value in row.items())
        return f"step {self.step}/{self.steps}  {shown}"

    def _validate(self) -> dict[str, float]:
        tensors = self.averaged.state_dict()
        weights = Weights(self.description, tensors, sha256="")
        engine = TorchEngine(weights.build_net(), str(self.device), threshold=self.description.threshold)
        segmenter = Segmenter(weights, engine)

        def show(sample: Sample, probabilities: Any) -> None:
            if sample in self.validation[:PICTURES]:
                self.folder.show(
                    self.step,
                    f"image, label, probability/{sample.name}",
                    picture(sample.pixels, sample.label, probabilities),
                )

        evaluation = evaluate(segmenter, self.validation, show)
        threshold = evaluation.best_threshold
        row = {**vars(evaluation.mean(threshold)), "threshold": threshold}
        if self.recipe.select == "validation" and row["v_rand"] > self.best.score:
            self._keep(Best(row["v_rand"], self.step, threshold, dict(row)), self.averaged)
        return row

    @property
    def averaged(self) -> nn.Module:
        """The net whose weights are validated and kept."""
        return self.average.module if self.average else self.net

    def _keep(self, best: Best, net: nn.Module) -> None:
        self.best = best
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
                "net": self.net.state_dict(),
                "average": self.average.state_dict() if self.average else None,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "best": vars(self.best),
            }
        )

    def _kept(self) -> str:
        return str(self.folder.weights) if self.folder.weights.exists() else "nothing yet"


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


def _average(net: UNet, decay: float | None) -> swa_utils.AveragedModel | None:
    if decay is None:
        return None
    ema = swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return swa_utils.AveragedModel(net, multi_avg_fn=ema, use_buffers=True)


def _optimizer(net: UNet, recipe: Recipe) -> torch.optim.Optimizer:
    parameters, rate, decay = net.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay, momentum=0.9)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)


def _schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    # one step more than is taken, since it is asked once after the last; it cannot rise in fewer than ten
    total = max(10, steps + 1)
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=total, pct_start=0.2)
