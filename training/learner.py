"""A net that learns: its optimizer, schedule and averaged weights, a step at a time. Knows no files and no scores."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import swa_utils

from model.engines.pytorch import DTYPES, choose_precision, memory_format
from model.unet import UNet
from training import losses
from training.machine import Machine
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
        """`init`: weights to start from."""
        self.recipe, self.machine = recipe, machine
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
        self._average = _average(self.net, recipe.ema_decay)
        self.optimizer = _optimizer(self.net, recipe)
        self._schedule = _schedule(self.optimizer, recipe, steps)
        self._criterion = losses.LOSSES[recipe.loss]
        precision = choose_precision(device, "auto") if recipe.name != "tutorial" else "fp32"
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

    def update(self) -> None:
        """One step of the optimizer, the schedule and the average."""
        if self.recipe.clip_norm:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self._schedule.step()
        if self._average:
            self._average.update_parameters(self.net)

    def state(self) -> dict[str, Any]:
        """All that `load_state` needs to go on exactly."""
        return {
            "net": self.net.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._average:
            self._average.load_state_dict(state["average"])


def _average(net: UNet, decay: float | None) -> swa_utils.AveragedModel | None:
    if decay is None:
        return None

    def average(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        n = int(updates)
        # reaches back a ninth of the steps so far, at most: a short training does not average in what it began with
        update = swa_utils.get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
        update(averaged, current, n)

    return swa_utils.AveragedModel(net, multi_avg_fn=average, use_buffers=True)


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
