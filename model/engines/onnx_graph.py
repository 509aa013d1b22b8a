"""ONNX files of other programs as OpenVINO graphs.

Shape letters: N tiles, C channels, K channels of the output, H height, W width.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor
from openvino.properties import hint

from model.engines.engine import Array
from model.engines.openvino import the_core
from model.packages.packaged_net import PackagedNet

# Pixel by pixel: the output depends on the same pixel of the input.
_POINTWISE = """
    Abs Ceiling Clamp Elu Erf Exp Floor Gelu HSigmoid HSwish HardSigmoid Log Mish PRelu Relu Round Selu Sigmoid Sign
    SoftPlus SoftSign Softmax Sqrt Swish Tanh
""".split()  # noqa: SIM905
# Sums and products, and copies: where an input is not a number, neither is the output.
_PASSING = """
    Add AvgPool BatchNormInference Broadcast Concat Constant Convert Convolution ConvolutionBackpropData DepthToSpace
    Divide Gather GroupConvolution GroupConvolutionBackpropData Interpolate MVN MatMul Multiply Pad Parameter Power
    ReduceMean ReduceSum Reshape Result Slice SpaceToDepth Split SquaredDifference Squeeze StridedSlice Subtract
    Transpose Unsqueeze VariadicSplit
""".split()  # noqa: SIM905


def read_onnx(data: bytes, net: PackagedNet, external: tuple[str, bytes] | None = None) -> openvino.Model:
    """Reads an ONNX file as a graph, 1 x C x H x W float32 -> 1 x K x H x W float32.

    OpenVINO reads tensors that an ONNX file keeps in other files, but only from the file's folder. So the file is read
    from a folder that holds nothing else.

    Args:
        data: The bytes of the file.
        net: The order of axes.
        external: Name and bytes of the file that holds the tensors.

    Raises:
        RuntimeError: OpenVINO does not take the file.
        OSError: The temporary folder cannot be written to.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        if external:
            (folder / Path(external[0]).name).write_bytes(external[1])
        (folder / "net.onnx").write_bytes(data)
        return _in_order(the_core().read_model(folder / "net.onnx"), net)


def _in_order(graph: openvino.Model, net: PackagedNet) -> openvino.Model:
    """The graph with the axes and types of the engines."""
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise RuntimeError("several inputs or outputs")
    sizes = {"b": 1, "c": net.in_channels}
    sides = net.smallest if not net.step else -1
    graph.reshape([sizes.get(axis, sides) for axis in net.input_axes])
    steps = PrePostProcessor(graph)
    steps.input().tensor().set_element_type(openvino.Type.f32).set_layout(openvino.Layout("NCHW"))
    steps.input().model().set_layout(_layout(net.input_axes))
    steps.output().model().set_layout(_layout(net.output_axes))
    steps.output().tensor().set_element_type(openvino.Type.f32).set_layout(openvino.Layout("NCHW"))
    return steps.build()


def _layout(axes: str) -> openvino.Layout:
    return openvino.Layout(axes.upper().translate(str.maketrans("BYX", "NHW")))


def compiled(graph: openvino.Model) -> Callable[[Array], Array]:
    """The graph as a function that computes one input after another, in fp32."""
    precision = {hint.inference_precision: openvino.Type.f32}
    request = the_core().compile_model(graph, "CPU", precision).create_infer_request()
    return lambda batch: np.array(request.infer([batch])[0])


def passing_graph(graph: openvino.Model) -> openvino.Model | None:
    """A copy of a graph that passes on what is not a number, from each input to all outputs that depend on it.

    OpenVINO's activations and maximum pooling may turn "not a number" into a number. Activations are left out, and
    averages replace maxima. Returns None if the graph has a node that is not known to pass it on.
    """
    graph = graph.clone()
    for node in graph.get_ordered_ops():
        rank = node.get_output_partial_shape(0).rank if node.get_output_size() else None
        if rank is None or not node.get_output_element_type(0).is_real() or (rank.is_static and rank.get_length() < 2):
            continue  # whole numbers and vectors compute shapes
        if node.get_type_name() in _POINTWISE and rank == 4:
            _replace(node, node.input_value(0))
        elif node.get_type_name() == "MaxPool":
            _replace(node, _averaged(node))
        elif node.get_type_name() not in _PASSING:
            return None
    graph.validate_nodes_and_infer_types()
    return graph


def _averaged(node: openvino.Node) -> openvino.Output:
    known = node.get_attributes()
    return ops.avg_pool(
        node.input_value(0),
        known["strides"],
        known["pads_begin"],
        known["pads_end"],
        known["kernel"],
        True,
        known["rounding_type"],
        known["auto_pad"],
    ).output(0)


def _replace(node: openvino.Node, source: openvino.Output) -> None:
    for target in list(node.output(0).get_target_inputs()):
        target.replace_source_output(source)
