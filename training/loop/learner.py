"""A net that learns: its optimizer, schedule and averaged weights, a step at a time. Knows no files and no scores."""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from model.engines.pytorch import DTYPES, choose_precision, memory_format
from model.unet import UNet
from training.loop import losses
from training.loop.machine import Machine
from training.recipe import Recipe

Tensors = tuple[Tensor, ...] | list[Tensor]


class Learner:
    """`net` is trained; `averaged` is what is validated and kept. Everything is made from the seed and the recipe."""

    def __init__(
        self,
        recipe: Recipe,
        steps: int,
        machine: Machine,
        *,
        seed: int,
        init: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Makes the net.

        Args:
            recipe: The recipe.
            steps: The planned number of steps, which the schedule of the learning rate is as long as.
            machine: Where the net is trained.
            seed: The seed of the first weights.
            init: Weights to start from.
        """
        self.recipe, self.machine = recipe, machine
        self.position = 0.0  # in the schedule, 0 to `steps`
        self._advance = 0.0  # by the present step
        device = machine.device
        torch.manual_seed(seed)
        net = UNet(recipe.net)
        if init is not None:
            net.load_state_dict(init)
        net.to(device)
        if machine.sync_batch_norm:
            machine.processes.synchronise_batch_norm(net)
        self._layout = memory_format(net)
        self.net: UNet = net.to(memory_format=self._layout)  # type: ignore[call-overload]  # torch's stubs
        self._forward = cast(nn.Module, torch.compile(self.net)) if machine.compiled else self.net
        self._average = None
        if recipe.ema_decay:
            self._average = swa_utils.AveragedModel(self.net, multi_avg_fn=self._blend, use_buffers=True)
        self.optimizer = _optimizer(self.net, recipe)
        # one position more than a training reaches, and at least as many as a cycle needs to rise
        self._cycle = max(10, steps + 1)
        self._set_rate()
        self._criterion = losses.LOSSES[recipe.loss]
        precision = choose_precision(device, recipe.precision)
        self._autocast = torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")

    @property
    def averaged(self) -> nn.Module:
        return self._average.module if self._average else self.net

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def logits(self, images: Tensor) -> Tensor:
        """Computes logits at the net's own scale in training mode.

        Args:
            images: N x C x H x W float32.

        Returns:
            N x K x H/s x W/s float32, where s is the net's downsampling.
        """
        self.net.train()
        images = images.to(self.machine.device, memory_format=self._layout, non_blocking=True)
        with self._autocast:
            logits: Tensor = self._forward(images, upsampled=False)
        return logits.float()

    def gradients(self, images: Tensor, targets: Tensor, weights: Tensor, *, batch: int | None = None) -> float:
        """The batch's loss, and the gradients for `update`.

        `batch`: of how many images these are this process's share; None: they are all of it.
        In several parts, each has its own batch statistics and Dice, so this is close to the whole batch, not equal.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.machine.device)
        batch = batch or len(targets)
        divided = self.machine.divided(batch)
        sizes = [len(mine) for _, mine in divided]
        pieces = zip(*(torch.split(tensor, sizes) for tensor in (images, targets, weights)), strict=True)
        for (part, mine), piece in zip(divided, pieces, strict=True):
            wanted, counts = (tensor.to(self.machine.device, non_blocking=True) for tensor in piece[1:])
            share = losses.Share(len(mine) / len(part), self.machine.processes.total)
            loss = self._criterion(self.logits(piece[0]), wanted, counts, share) * (len(part) / batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.machine.processes.add_gradients(self.net.parameters())
        return total.item()

    def update(self, position: float | None = None) -> None:
        """Takes one step of the optimizer and updates rate and average.

        Args:
            position: The position in the schedule after the step, in planned steps; None for one more than before.
        """
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        position = self.position + 1 if position is None else position
        self._advance = position - self.position
        if self._average:
            self._average.update_parameters(self.net)
        self.position = position
        self._set_rate()

    def _blend(self, averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        """Moves the averaged weights towards the current ones; a step that advanced farther counts for more."""
        done = self.position  # before the step
        # reaches back a ninth of the training so far, at most: a short training does not average in what it began with
        decay = min(self.recipe.ema_decay or 0.0, (1 + done) / (10 + done)) ** self._advance
        update = swa_utils.get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(averaged, current, updates)

    def _set_rate(self) -> None:
        """Sets learning rate and momentum for the next step."""
        if self.recipe.schedule == "constant":
            return
        rate, momentum = one_cycle(self.position, self._cycle, self.recipe.learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum

    def state(self) -> dict[str, Any]:
        """Returns everything that `load_state` needs to continue exactly."""
        return {
            "net": self.net.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "optimizer": self.optimizer.state_dict(),
            "position": self.position,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.position = state["position"]
        if self._average:
            self._average.load_state_dict(state["average"])


def _optimizer(net: UNet, recipe: Recipe) -> torch.optim.Optimizer:
    parameters, rate, decay = net.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(parameters, lr=rate, weight_decay=decay, momentum=0.9)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)


def one_cycle(position: float, length: float, highest: float) -> tuple[float, float]:
    """Returns learning rate and momentum at a position, 0 to `length` - 1, of a one-cycle schedule.

    The same values as torch's `OneCycleLR` with a fifth of the schedule rising, whose positions must be whole numbers.
    The rate rises from a 25th of the highest and falls to a 250,000th; the momentum falls from 0.95 to 0.85 and rises
    again (Smith and Topin 2017).
    """
    lowest, peak = highest / 25, 0.2 * length - 1
    if position <= peak:
        share = position / peak
        return _between(lowest, highest, share), _between(0.95, 0.85, share)
    share = (position - peak) / (length - 1 - peak)
    return _between(highest, lowest / 1e4, share), _between(0.85, 0.95, share)


def _between(start: float, end: float, share: float) -> float:
    """Returns the value at a share of the way, along half a cosine."""
    return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
