"""The run of one volume: its remaining jobs, and the handling of their outcomes."""

import shutil
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import UserError
from model.inputs.net_input import scaling_notices
from model.inputs.preprocessing import Affine, Values, bits_in_use
from model.outputs.output import OutputSpec, renderer
from model.packages.packaged_net import PackagedNet
from model.predict.jobs import Job
from model.predict.volumes import moments, ranges
from model.predict.volumes.measurements import Measurements, Place
from model.predict.volumes.plan import VolumePart, VolumePlan, boxes
from model.predict.volumes.ranges import PlaneRange, Stretch
from model.predict.volumes.result import MOMENTS, RANGES, SUFFIX, UNFINISHED, ResultError, VolumeResult, create
from model.predict.volumes.source import Volume, open_volume
from model.predict.volumes.volume_jobs import MeasureJob, MomentsJob, RangeJob, SectionInput, SegmentJob, chunks
from model.weights_file import Description

# What is measured is written down so often.
SAVED_EVERY_S = 10


class VolumeRun:
    """A volume that becomes a result: which jobs are left, and what has come of those that are done."""

    def __init__(
        self,
        path: Path,
        target: Path,
        output_spec: OutputSpec,
        recipe: dict[str, Any],
        description: Description,
        tile: int,
    ) -> None:
        """Resumes an unfinished result, or begins one.

        `target` is the path without its suffix. `recipe` holds everything else that the result depends on; it is stored
        with the result. Raises ImageError, ResultError, UserError, OSError.
        """
        self.path = path
        self.target = target.with_name(target.name + SUFFIX)
        self._volume, self._description = open_volume(path), description
        _check_channels(self._volume, description)
        self._plan = VolumePlan.of(self._volume, description, tile)
        threshold = description.threshold if output_spec.threshold is None else output_spec.threshold
        self._result = self._begun(
            recipe
            | {"output": output_spec.output, "threshold": threshold, "class": output_spec.class_index}
            | {"chunk": list(self._plan.chunk), "shape": list(self._shape), "type": str(self._volume.dtype)}
            | ({"range": "measured"} if self._needs_range else {}),
            renderer(output_spec, description)(np.zeros((description.architecture.classes, 0, 0), np.float32)).dtype,
        )
        read_together = list(boxes(self._volume))
        self._ranges = Measurements(self._result.measured(RANGES), read_together, ranges.merge)
        self._moments = Measurements(self._result.measured(MOMENTS), read_together, moments.add)
        self._saved = time.monotonic()

    @property
    def _shape(self) -> tuple[int, ...]:
        volume = self._volume
        return volume.times, volume.sections, volume.height, volume.width

    def _begun(self, recipe: dict[str, Any], dtype: np.dtype[Any]) -> VolumeResult:
        folder = unfinished(self.target)
        if not folder.exists():
            return create(folder, self._volume, dtype, self._plan.chunk, recipe)
        result = VolumeResult(folder)
        if result.recipe != recipe:
            other = [key for key in recipe if result.recipe.get(key) != recipe[key]]
            raise ResultError(f"it was begun with another {', '.join(other)}: --overwrite begins it again")
        return result

    @property
    def _z_scored(self) -> bool:
        return self._description.preprocessing.normalisation == "zscore"

    @property
    def _needs_range(self) -> bool:
        """True if the values of the whole volume decide how they are scaled; of z-scored 16 bits they do not."""
        return not self._volume.has_full_range or (self._volume.dtype == np.uint16 and not self._z_scored)

    def measuring_ranges(self) -> list[RangeJob]:
        """Returns the first jobs: none if the net needs no ranges, or if all sections are measured."""
        if not self._needs_range or next(self._missing(), None) is None:
            return []
        return [RangeJob(self.path, box) for box in self._ranges.left(self._places())]

    def measuring_moments(self) -> list[MomentsJob]:
        """Returns the jobs after all ranges are known: none if the net needs no moments, or if all are measured."""
        if not self._z_scored:
            return []
        needed = {(part.time, number) for part in self._missing() for number in range(*part.sections)}
        return [
            MomentsJob(self.path, box, [self._stretch((box.time, number)) for number in range(*box.sections)])
            for box in self._moments.left(needed)
        ]

    def measured(self, job: MeasureJob, found: Sequence[Any]) -> None:
        """Takes what a job has found. Raises OSError."""
        (self._ranges if isinstance(job, RangeJob) else self._moments).take(job.box, found)
        if time.monotonic() > self._saved + SAVED_EVERY_S:
            self.save()

    def save(self) -> None:
        """Stores measured ranges and moments. Raises OSError."""
        self._saved = time.monotonic()
        for name, measurements in ((RANGES, self._ranges), (MOMENTS, self._moments)):
            if measurements.known:
                self._result.keep_measured(name, measurements.known)

    def notices(self) -> list[str]:
        """Returns sentences about how values were scaled, after all ranges are known."""
        if not self._needs_range or self._ranges.left(self._places()):
            return []
        first = self._whole_range[0]
        value_range = None if self._volume.has_full_range else (first.low, first.high)
        return scaling_notices(self._description, value_range, self._bits)

    def _places(self) -> Iterator[Place]:
        return product(range(self._volume.times), range(self._volume.sections))

    @cached_property
    def _whole_range(self) -> list[PlaneRange]:
        """The range of each plane in all sections, which must be measured."""
        return ranges.merge(self._range(place) for place in self._places())

    def _range(self, place: Place) -> list[PlaneRange]:
        return [PlaneRange(*plane) for plane in self._ranges[place]]

    @property
    def _bits(self) -> int:
        """Bits in use of 16; 16 for other values than uint16."""
        if self._volume.dtype != np.uint16:
            return 16
        return bits_in_use(ranges.used_bits(self._whole_range), self._volume.significant_bits)

    def segmenting(self) -> list[Job]:
        """Returns the remaining jobs after all sections are measured."""
        return [
            SegmentJob(
                self.path, self._result.folder, part, [self._input((part.time, z)) for z in range(*part.sections)]
            )
            for part in self._missing()
        ]

    def _missing(self) -> Iterator[VolumePart]:
        has = self._result.has
        return (
            part
            for part in self._plan.parts(self._volume)
            if not all(has(*place, tile) for place, tile in chunks(part))
        )

    def _input(self, place: Place) -> SectionInput:
        return SectionInput(self._stretch(place), self._affine(place))

    def _stretch(self, place: Place) -> Stretch | None:
        if self._volume.has_full_range:
            return None
        return Stretch.of(self._whole_range, self._range(place), self._volume.colours)

    def _affine(self, place: Place) -> Affine:
        preprocessing, volume = self._description.preprocessing, self._volume
        if self._z_scored:
            return moments.affine(self._moments[place], volume.height * volume.width, volume.values_dtype)
        return preprocessing.fixed(self._description.architecture.in_channels, volume.values_dtype, self._bits)

    @property
    def chunks(self) -> int:
        """Returns the size of the whole result."""
        count: int = self._volume.times * self._volume.sections * self._plan.count
        return count

    def finish(self) -> None:
        """Raises OSError."""
        self._result.finish(self.target)


def unfinished(target: Path) -> Path:
    """Returns the name of a result, NAME_res.zarr, until it is complete."""
    return target.with_name(target.name.removesuffix(SUFFIX) + UNFINISHED)


def begin_again(target: Path) -> None:
    """Removes what is unfinished of a result (a path without its suffix). Raises OSError."""
    folder = unfinished(target.with_name(target.name + SUFFIX))
    if folder.exists():
        shutil.rmtree(folder)


def _check_channels(volume: Volume, description: Description) -> None:
    """Raises ValueError if the net takes no such volume."""
    taken = description.architecture.in_channels
    pixel: Values = np.zeros((1, 1, volume.channels), volume.values_dtype)
    given = description.preprocessing.arrange(pixel).shape[2]
    if isinstance(description.architecture, PackagedNet) and _needs_whole_images(description):
        raise UserError(f"{description.name}: this package's net needs whole images in memory, so it takes no volumes")
    # channels that are no colours, stains for one, make no grey
    if given != taken or not (volume.colours or volume.channels in (1, taken)):
        raise UserError(f"the net takes {taken} channels, the volume has {volume.channels}")


def _needs_whole_images(description: Description) -> bool:
    """True if a package's net sees the whole image, or if its preprocessing does."""
    preprocessing = description.preprocessing
    return description.architecture.is_unlimited or preprocessing.is_relative or preprocessing.scaling == "stored"
