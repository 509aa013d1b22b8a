"""TorchScript of other programs: checked before it runs, because it is a program.

An archive holds code, which torch compiles, and values in pickles, which torch reads in C++: they can name only torch's
own types and classes of the archive's code. Code can do more than a net does: torch.save writes files. So only
operations of nets are accepted, and no code that would run while the archive is loaded.

Shape letters: N tiles, C channels, K channels of the output, H height, W width.
"""

import io
import warnings
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
import torch

from model.engines.engine import Array, EngineError
from model.engines.pytorch import BATCH_PIXELS, STREAMS, choose_device
from model.errors import UserError
from model.packages.packaged_net import PackagedNet
from model.tiles import Window

_OPERATIONS = """
    Bool Float FloatImplicit Int IntImplicit ScalarImplicit __and__ __contains__ __derive_index __getitem__
    __interpolate __is__ __isnot__ __not__ __or__ __range_length _convolution _set_item _upsample_bicubic2d_aa
    _upsample_bilinear2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d abs abs_
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d add add_ addmm all alpha_dropout any append arange avg_pool1d avg_pool2d avg_pool3d baddbmm
    batch_norm bmm cat ceil celu chunk clamp clamp_ clamp_max clamp_min clone constant_pad_nd contiguous conv1d
    conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d copy_ detach dim div div_ dropout dropout_
    einsum elu elu_ eq exp expand expand_as extend feature_dropout flatten float floor floor_divide floordiv format
    full ge gelu glu group_norm gt hardsigmoid hardswish hardswish_ hardtanh hardtanh_ index index_select insert
    instance_norm is_floating_point item layer_norm le leaky_relu leaky_relu_ len linear list log log_softmax
    logical_and logical_not logical_or lt masked_fill matmul max max_pool1d max_pool2d max_pool3d maximum mean
    meshgrid min minimum mish mish_ mul mul_ narrow ne neg new_zeros numel ones ones_like pad permute pixel_shuffle
    pixel_unshuffle pop pow prelu prod reflection_pad1d reflection_pad2d reflection_pad3d relu relu6 relu6_ relu_
    remainder repeat replication_pad1d replication_pad2d replication_pad3d reshape rrelu rsqrt scalar_tensor
    scaled_dot_product_attention select selu selu_ sigmoid sigmoid_ silu silu_ size slice softmax softplus split
    split_with_sizes sqrt squeeze stack std str sub sub_ sum t tanh tanh_ tensor to transpose type_as unbind
    unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d upsample_nearest2d
    upsample_nearest3d upsample_trilinear3d var view view_as warn where zeros zeros_like
""".split()  # noqa: SIM905
_PRIMITIVES = """
    BooleanNone Constant ConstantChunk CreateObject GetAttr If ListConstruct ListUnpack Loop NumToTensor
    RaiseException TupleConstruct TupleIndex TupleUnpack Uninitialized device dtype is_cuda layout max min
    unchecked_cast
""".split()  # noqa: SIM905


def load_script(data: bytes, device: str = "cpu") -> torch.jit.ScriptModule:
    """Loads TorchScript whose forward has only operations of nets. Raises UserError, also if it is broken."""
    archive = _checked_archive(data)
    try:
        # deprecated, but what packages hold
        with warnings.catch_warnings(action="ignore"):
            module: torch.jit.ScriptModule = torch.jit.load(archive, map_location=device)  # type: ignore[no-untyped-call]
        module.eval()
        found = sorted({kind for kind in _kinds(module.inlined_graph) if not _is_of_a_net(kind)})
    except (RuntimeError, AttributeError, ValueError) as error:
        raise UserError("broken or truncated, or not TorchScript of this version of torch") from error
    if found:
        raise UserError(f"TorchScript with operations that no net needs: {', '.join(found)}")
    return module


def _checked_archive(data: bytes) -> io.BytesIO:
    """The archive written anew, so that torch reads what was checked, not another reading of the same bytes."""
    anew = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(anew, "w") as checked:
            if sum(member.file_size for member in archive.infolist()) > 10 * len(data):
                raise UserError("broken, or would grow to more than weights can")
            for member in archive.infolist():
                content = archive.read(member)
                _check_member(member.filename, content)
                checked.writestr(member.filename, content)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError("broken or truncated, or not TorchScript") from error
    anew.seek(0)
    return anew


def _check_member(name: str, content: bytes) -> None:
    if "/code/" in name and b"__setstate__" in content:
        raise UserError("TorchScript with code that runs while it is loaded (__setstate__)")
    if name.endswith(".pkl") and b"torch.classes" in content:
        raise UserError("TorchScript with classes that are not of nets (torch.classes)")


def _kinds(block: torch.Graph | torch.Block) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)


def _is_of_a_net(kind: str) -> bool:
    space, _, name = kind.partition("::")
    return name in {"aten": _OPERATIONS, "prim": _PRIMITIVES}.get(space, ())


class ScriptEngine:
    """An `Engine` without activation: N x C x H x W float32 -> N x K x H x W float32, of sides that the net takes."""

    name, precision = "torch", "fp32"

    def __init__(self, module: torch.jit.ScriptModule, net: PackagedNet, device: str = "cpu") -> None:
        """`module` is on the device. `net` says the order of axes. Raises EngineError if there is no such device."""
        self._device = choose_device(device)
        self.device = str(self._device)
        self.batch_pixels, self.streams = BATCH_PIXELS[self._device.type], STREAMS[self._device.type]
        self._module = module
        self._to_net = ["bcyx".index(axis) for axis in net.input_axes]
        self._from_net = [net.output_axes.index(axis) for axis in "bcyx"]

    @property
    def held_bytes(self) -> int:
        """The weights, see `TorchEngine`."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._module.state_dict().values())

    def release_memory(self) -> None:
        """Does nothing: no memory belongs only to this engine."""

    @torch.inference_mode()
    def run(self, batch: Array, kept: Window | None = None) -> Array:
        x = torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)
        found = self._module(x.permute(self._to_net).contiguous())
        if not isinstance(found, torch.Tensor) or found.dim() != 4:
            raise EngineError("the net of the package does not give one tensor of four axes")
        (top, bottom), (left, right) = kept or ((0, None), (0, None))
        values: Array = found.permute(self._from_net)[..., top:bottom, left:right].float().contiguous().cpu().numpy()
        return values
