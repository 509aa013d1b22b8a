"""The steps before and after a packaged net, as what the service computes; others are refused by name."""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from model.errors import UserError
from model.inputs.preprocessing import Preprocessing
from model.packages.described_normalisation import DescribedNormalisation
from model.packages.rdf import Step, Tensor

Activation: TypeAlias = Literal["none", "sigmoid", "softmax"]
Scaling: TypeAlias = Literal["unit", "raw", "stored"]

EPS = 1e-6
FLOATS = ("float32", "float64", "float16")
ACCEPTED_BEFORE = (
    "ensure_dtype, scale_linear, clip, zero_mean_unit_variance, fixed_zero_mean_unit_variance, scale_range"
)
ACCEPTED_AFTER = "sigmoid, softmax, binarize, ensure_dtype"


@dataclass(frozen=True)
class Finish:
    """The activation that follows the net, and the threshold of the mask."""

    activation: Activation = "none"
    threshold: float | None = None


def read_finish(tensor: Tensor, outputs: int) -> Finish:
    """Reads the postprocessing of an output of that many channels. Raises UserError, which names the step."""
    finish = Finish()
    for step in tensor.postprocessing:
        where = f"outputs.{tensor.id}.postprocessing.{step.id}"
        if step.id in ("sigmoid", "softmax") and finish == Finish():
            if step.id == "softmax" and step.arguments.get("axis", "channel") != "channel":
                raise UserError(f"{where}.axis: {step.arguments['axis']}; accepted: channel")
            finish = Finish("sigmoid" if step.id == "sigmoid" else "softmax")
        elif step.id == "binarize" and finish.threshold is None and outputs == 1:
            finish = replace(finish, threshold=_threshold(where, step))
        elif step.id != "ensure_dtype" or (finish.threshold is None and step.arguments.get("dtype") not in FLOATS):
            raise UserError(
                f"{where}: accepted: {ACCEPTED_AFTER}, each once and in this order, binarize only for one channel"
            )
    return finish


def _threshold(where: str, step: Step) -> float:
    """The least value above the threshold, because binarize asks for more than it, and the service for as much."""
    (threshold,) = _numbers(where, step.arguments, "threshold", 1)
    if not 0 < threshold < 1:
        raise UserError(f"{where}.threshold: {threshold:g}; accepted: between 0 and 1")
    return float(np.nextafter(np.float32(threshold), np.float32(1)))


def read_preprocessing(tensor: Tensor, channels: Literal["grey", "rgb", "stored"], count: int) -> Preprocessing:
    """Reads the preprocessing of an input of `count` channels. Raises UserError, which names the step."""
    chain = _Chain(tensor.id, count)
    for index, step in enumerate(tensor.preprocessing):
        chain = chain.followed_by(step, index == 0)
    described = chain.described
    return Preprocessing(
        channels=channels,
        scaling="raw" if described.statistic != "none" else _scaling(tensor),
        normalisation="described",
        described=described,
    )


def _scaling(tensor: Tensor) -> Scaling:
    """The range of the numbers that a net without statistics takes, from the range of the input's data."""
    low, high = tensor.bounds
    if (low, high) == (0.0, 1.0) or _is_of_unit_range(tensor):
        return "unit"
    is_eight_bits = (low, high) == (0.0, 255.0) or (tensor.type == "uint8" and high is None)
    return "raw" if is_eight_bits else "stored"


def _is_of_unit_range(tensor: Tensor) -> bool:
    """True if the range is not described, but mean and deviation are numbers of 0..1 for all channels."""
    first = next((step for step in tensor.preprocessing if step.id != "ensure_dtype"), None)
    if tensor.bounds != (None, None) or first is None or first.id != "fixed_zero_mean_unit_variance":
        return False
    numbers = [number for name in ("mean", "std") for number in _numbers(first.id, first.arguments, name)]
    return all(0 < number <= 1 for number in numbers)


@dataclass(frozen=True)
class _Chain:
    """The steps so far."""

    tensor: str
    channels: int
    described: DescribedNormalisation = field(default_factory=DescribedNormalisation)

    def followed_by(self, step: Step, is_first: bool) -> "_Chain":
        where = f"inputs.{self.tensor}.preprocessing.{step.id}"
        match step.id:
            case "ensure_dtype" if is_first or step.arguments.get("dtype") in FLOATS:
                return self
            case "scale_linear":
                gain = _numbers(where, step.arguments, "gain", 0, 1.0)
                return self._scaled(where, step, gain, _numbers(where, step.arguments, "offset", 0, 0.0))
            case "fixed_zero_mean_unit_variance":
                return self._standardised(where, step)
            case "clip":
                return self._clipped(where, step)
            case "zero_mean_unit_variance" | "scale_range":
                return self._with_statistic(where, step)
        raise UserError(f"{where}: accepted: {ACCEPTED_BEFORE}; ensure_dtype of an integer only as the first step")

    def _standardised(self, where: str, step: Step) -> "_Chain":
        mean, deviation = (np.array(_numbers(where, step.arguments, name)) for name in ("mean", "std"))
        scale = deviation + _numbers(where, step.arguments, "eps", 1, EPS)
        if 0 in scale or mean.shape != scale.shape:
            raise UserError(f"{where}: accepted: one mean and std, or one per channel, with std above 0")
        return self._scaled(where, step, tuple((1 / scale).tolist()), tuple((-mean / scale).tolist()))

    def _scaled(self, where: str, step: Step, gain: tuple[float, ...], offset: tuple[float, ...]) -> "_Chain":
        now = self.described
        if step.arguments.get("axis", "channel") != "channel":
            raise UserError(f"{where}.axis: {step.arguments['axis']}; accepted: channel")
        if any(len(numbers) not in (1, self.channels) for numbers in (gain, offset)) or 0 in gain:
            raise UserError(f"{where}: accepted: one number or {self.channels}, and none that divides by 0")
        if (now.low, now.high) != (None, None):
            raise UserError(f"{where}: accepted: no scaling after clip")
        gains = np.array(now.gain) * gain
        offsets = np.array(now.offset) * gain + offset
        changed = {"gain": tuple(gains.tolist()), "offset": tuple(offsets.tolist())}
        return replace(self, described=DescribedNormalisation.model_validate(now.model_dump() | changed))

    def _clipped(self, where: str, step: Step) -> "_Chain":
        if step.arguments.get("min_percentile") is not None or step.arguments.get("max_percentile") is not None:
            raise UserError(f"{where}: accepted: min and max, no percentiles")
        bounds = {
            ours: _numbers(where, step.arguments, name, 1)[0]
            for ours, name in (("low", "min"), ("high", "max"))
            if step.arguments.get(name) is not None
        }
        if (self.described.low, self.described.high) != (None, None):
            raise UserError(f"{where}: accepted: clip once")
        return replace(self, described=self.described.model_copy(update=bounds))

    def _with_statistic(self, where: str, step: Step) -> "_Chain":
        kwargs = step.arguments
        if self.described != DescribedNormalisation():
            raise UserError(f"{where}: accepted: as the first step, because it measures the image")
        axes = set(kwargs.get("axes") or ("batch",))
        if not {"x", "y"} <= axes <= {"x", "y", "channel"}:
            raise UserError(
                f"{where}.axes: {', '.join(sorted(axes))}; accepted: x and y, with or without channel: "
                "the statistics of each image, because those of a data set are not in the package"
            )
        if kwargs.get("reference_tensor") not in (None, self.tensor):
            raise UserError(f"{where}.reference_tensor: {kwargs['reference_tensor']}; accepted: none")
        (eps,) = _numbers(where, kwargs, "eps", 1, EPS)
        changed: dict[str, Any] = {"statistic": "moments", "together": "channel" in axes, "eps": eps}
        if step.id == "scale_range":
            lower, upper = (
                _numbers(where, kwargs, name, 1, default)[0]
                for name, default in (("min_percentile", 0.0), ("max_percentile", 100.0))
            )
            if not 0 <= lower < upper <= 100:
                raise UserError(f"{where}: percentiles {lower:g} and {upper:g}; accepted: rising, from 0 to 100")
            changed |= {"statistic": "percentiles", "percentiles": (lower, upper)}
        return replace(self, described=DescribedNormalisation.model_validate(changed))


def _numbers(
    where: str, kwargs: dict[str, Any], name: str, count: int = 0, default: float | None = None
) -> tuple[float, ...]:
    """The finite numbers of an argument, which may be a list. Raises UserError if there are not `count` (0: any)."""
    given: Any = kwargs.get(name)
    given = default if given is None else given
    try:
        numbers = tuple(float(number) for number in (given if isinstance(given, list) else [given]))
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or (count and len(numbers) != count) or not all(map(math.isfinite, numbers)):
        raise UserError(f"{where}.{name}: {given}; accepted: {f'{count} finite number' if count else 'finite numbers'}")
    return numbers
