"""What a network computes, read from its TensorFlow graph: steps from feature maps to feature maps.

However a model is written (functional, subclassed or nested, with layers or with plain functions), tracing it once, for
images float32 (2, H, W, 3), flattens it into the same few operations, and those say what it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from roadseg.backend import keras, tf

PICTURES = 2  # in the batch that is traced: more than one, so that a mix-up of the batch with another axis shows
SIZE = (256, 256)

# TensorFlow's operations that make a step. All others happen between two steps, unless they change the size.
KINDS = {
    "Conv2D": "convolution",
    "MatMul": "convolution",  # a dense layer is a 1 x 1 convolution
    "DepthwiseConv2dNative": "depthwise",
    "Conv2DBackpropInput": "transposed",
    "MaxPool": "max_pool",
    "AvgPool": "average_pool",
    "ConcatV2": "join",
    "Transpose": "transpose",
    "ResizeBilinear": "resize",
    "ResizeNearestNeighbor": "resize",
    "ResizeBicubic": "resize",
}
MERGES = {"AddV2": "add", "AddN": "add"}
LEARNED = ("convolution", "depthwise", "transposed")
ACTIVATIONS = {
    (): "none",
    ("Relu",): "ReLU",
    ("Relu6",): "ReLU cut off at 6",
    ("LeakyRelu",): "leaky ReLU",
    ("Elu",): "ELU",
    ("Selu",): "SELU",
    ("Tanh",): "tanh",
    ("Sigmoid",): "sigmoid",
    ("Sigmoid", "Sigmoid"): "sigmoid twice",
    ("Softmax",): "softmax",
    ("Softplus",): "softplus",
    ("AddV2", "Relu6", "RealDiv"): "hard sigmoid",
    ("Mul", "Sigmoid", "Mul"): "SiLU",
    ("Neg", "Mul", "Erfc", "Mul"): "GELU",
    ("Neg", "Relu", "Mul", "AddV2"): "PReLU",
}
SILENT = ("BiasAdd", "Cast", "Identity", "IdentityN", "Pad", "Reshape", "Squeeze")  # they apply no function
WIDER_EDGE = ("Pad", "SpaceToBatchND")  # made for the convolution behind, which takes it away again
WRITTEN_OUT = {  # what a function may amount to, however it is written
    "Relu": lambda values: np.maximum(values, 0),
    "Sigmoid": lambda values: 1 / (1 + np.exp(-values)),
    "": lambda values: values,
}


class Use(NamedTuple):
    """A step's output as the next step takes it; `after` are the operations in between, such as BiasAdd and Relu, and
    `begin` and `end` the tensors between which they apply a function."""

    step: Step
    after: tuple[str, ...] = ()
    begin: str = ""
    end: str = ""

    @property
    def functions(self) -> tuple[str, ...]:
        """The operations that are no mere bookkeeping; ReLU applied twice is ReLU."""
        names = [name for name in self.after if name not in SILENT]
        return tuple(name for before, name in pairwise([None, *names]) if not before == name == "Relu")

    @property
    def activation(self) -> str:
        """The function that the values pass on the way: ReLU, sigmoid, ..., or none."""
        singles = [ACTIVATIONS.get((name,)) for name in self.functions]
        return ACTIVATIONS.get(self.functions) or (" and ".join(singles) if all(singles) else "something else")

    @property
    def bias(self) -> bool:
        """Whether a learned number for each channel is added."""
        return "BiasAdd" in self.after


@dataclass(frozen=True, eq=False)
class Step:
    """One operation that makes feature maps from feature maps.

    kind : image, a value of KINDS or MERGES, or merge for another way to bring several feature maps together.
    inputs : what it takes.
    size : (height, width) of what it gives; channels : how many.
    window : (height, width) of the kernel or of the pool, (1, 1) where there is none; stride : likewise.
    taken : the channels that a convolution is given; groups : into how many groups it cuts them.
    dilated : whether its kernel has gaps; channels_first : whether it takes the channels for the second axis.
    weights : the kernel's names in the graph, one for a plain kernel; none where nothing is learned.
    """

    kind: str
    inputs: tuple[Use, ...]
    size: tuple[int, int]
    channels: int
    window: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    taken: int = 0
    groups: int = 1
    dilated: bool = False
    channels_first: bool = False
    weights: frozenset[str] = frozenset()

    @cached_property
    def depth(self) -> int:
        """Steps on the longest way from the image."""
        return 1 + max((use.step.depth for use in self.inputs), default=-1)


@dataclass(frozen=True, eq=False)
class Network:
    """Steps from the image to the outputs.

    outputs : what the network gives, as far as it depends on the image.
    shape : of the first output, with the batch.
    wrapped : whether the output comes in a list or a dictionary.
    operations : the kinds of all TensorFlow operations, such as Rsqrt, which only a normalisation needs.
    """

    outputs: tuple[Use, ...]
    shape: tuple[int | None, ...]
    wrapped: bool
    operations: frozenset[str]

    @cached_property
    def spine(self) -> list[Use]:
        """The longest way from the image to an output, both included: down to the bottom and up again."""
        way = [max(self.outputs, key=_depth)]
        while inputs := way[-1].step.inputs:
            way.append(max(inputs, key=_depth))
        return way[::-1]

    @cached_property
    def stages(self) -> list[list[Use]]:
        """The spine cut where the size changes."""
        return [list(stage) for _, stage in groupby(self.spine, key=lambda use: use.step.size)]

    @cached_property
    def steps(self) -> list[Step]:
        """All steps, those nearest to the image first."""
        found, waiting = [], [use.step for use in self.outputs]
        while waiting:
            step = waiting.pop()
            if step not in found:
                found.append(step)
                waiting += [use.step for use in step.inputs]
        return sorted(found, key=lambda step: step.depth)


def _depth(use: Use) -> int:
    return use.step.depth


def read(model: keras.Model) -> Network:
    """Trace a model in training mode, so that what happens in training alone shows too.

    Raises what the model raises when it is called.
    """
    images = tf.TensorSpec((PICTURES, *SIZE, 3), name="image")
    with _one_flat_graph():
        traced = tf.function(lambda image: model(image, training=True), autograph=False).get_concrete_function(images)
    wrapped = isinstance(traced.structured_outputs, dict | list | tuple)
    return network(traced.graph, traced.graph.outputs, wrapped=wrapped)


def network(graph: tf.Graph, tensors: Sequence[tf.Tensor], *, wrapped: bool = False) -> Network:
    """The way from the image of a graph that `read` makes, finished or not, to `tensors`."""
    image = graph.get_tensor_by_name("image:0")
    uses = {image.name: Use(Step("image", (), tuple(image.shape[1:3]), image.shape[3]), (), image.name, image.name)}
    for operation in graph.get_operations():  # in the order in which they were made, inputs first
        fed = [uses[tensor.name] for tensor in operation.inputs if tensor.name in uses]
        if fed and operation.type != "Shape":
            own = [tensor for tensor in operation.inputs if tensor.name not in uses]
            use = _use(operation, fed, own)
            uses |= {tensor.name: use for tensor in operation.outputs}
    found = tuple(_read_out(uses[tensor.name], graph) for tensor in tensors if tensor.name in uses)
    shape = tuple(tensors[0].shape) if tensors and tensors[0].shape.rank is not None else ()
    return Network(found, shape, wrapped, frozenset(operation.type for operation in graph.get_operations()))


@contextmanager
def _one_flat_graph() -> Iterator[None]:
    """Functions that are compiled on their own, inside of the model, become a part of the graph."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def _use(operation: tf.Operation, fed: list[Use], own: list[tf.Tensor]) -> Use:
    """What an operation makes of the uses that it is fed and of its own constants and weights: a new step, or one
    operation more after the last step."""
    last = max(fed, key=lambda use: (use.step.depth, len(use.after)))
    kind = KINDS.get(operation.type)
    if operation.type == "MatMul" and not any(map(_weights, own)):
        kind = None  # such as the shares of the colours in a grey picture
    if kind is None and len({use.step for use in fed}) > 1:
        kind = MERGES.get(operation.type, "merge")
    if kind is None and _resizes(operation, last.step):
        kind = "resize"
    tensor = operation.outputs[0].name if operation.outputs else ""
    if kind is None:
        use = Use(last.step, (*last.after, _name(operation, own)), last.begin, tensor)
        if not use.functions:
            return use._replace(begin=tensor)
        return use._replace(end=last.end) if use.functions == last.functions else use
    if kind == "resize" and last.step.kind == "resize":
        fed = list(last.step.inputs)  # rows first and columns then is one enlargement
    fed = [_read_out(use, operation.graph) for use in fed]
    return Use(_step(operation, kind, tuple(fed)), (), tensor, tensor)


def _name(operation: tf.Operation, own: list[tf.Tensor]) -> str:
    """The kind of an operation, told by what it does with its own constants and weights."""
    if operation.type == "AddV2" and any(_weights(tensor) for tensor in own):
        return "BiasAdd"
    if operation.type == "Maximum" and any(np.all(tf.get_static_value(tensor) == 0) for tensor in own):
        return "Relu"
    return operation.type


def _read_out(use: Use, graph: tf.Graph) -> Use:
    """The same use, its function called by its name where it is one of WRITTEN_OUT in other operations."""
    if use.activation in ("none", "ReLU", "sigmoid") or use.step.kind == "image":
        return use
    part = _part(graph, use.begin, use.end)
    name = None if part is None else _amounts_to(part.SerializeToString(deterministic=True), use.step.channels)
    silent = tuple(name for name in use.after if name in SILENT)
    return use if name is None else use._replace(after=(*silent, name) if name else silent)


def _part(graph: tf.Graph, begin: str, end: str) -> tf.compat.v1.GraphDef | None:
    """The operations from one tensor, which n0 makes, to another, named n1, n2, ...; None where they need more than the
    first tensor and constants, or hide a gradient."""
    first, last = (graph.get_tensor_by_name(name).op for name in (begin, end))
    needed = _needed(last, first)
    if any(operation.type in ("Placeholder", "ReadVariableOp", "StopGradient") for operation in needed):
        return None
    made = [operation for operation in graph.get_operations() if operation in needed]  # inputs first
    names = {operation: f"n{place}" for place, operation in enumerate((first, *made))}
    part = tf.compat.v1.GraphDef()
    for operation in made:
        node = part.node.add()
        node.CopyFrom(operation.node_def)
        node.name = names[operation]
        node.input[:] = [f"{names[tensor.op]}:{tensor.value_index}" for tensor in operation.inputs]
    return part


def _needed(last: tf.Operation, first: tf.Operation) -> set[tf.Operation]:
    """An operation and all that it is computed from, as far back as to another one, which is left out."""
    found, waiting = {first}, [last]
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
    return found - {first}


@lru_cache(maxsize=64)
def _amounts_to(part: bytes, channels: int) -> str | None:
    """The name in WRITTEN_OUT of the function that a part of a graph computes; None for another, or for none of values
    alone."""
    shape, random = (PICTURES, 32, 16, channels), np.random.default_rng(0)
    values = (random.normal(size=shape) * random.choice([0.1, 1, 10], shape)).astype("float32")

    def computed(begin: tf.Tensor) -> tf.Tensor:
        graph = tf.compat.v1.GraphDef.FromString(part)
        return tf.graph_util.import_graph_def(graph, {"n0": begin}, [f"{graph.node[-1].name}:0"], name="")[0]

    try:
        found = tf.compat.v1.wrap_function(computed, [tf.TensorSpec(shape)])(tf.constant(values)).numpy()
    except (ValueError, TypeError, tf.errors.OpError):  # it needs the sizes, or something else from around it
        return None
    if found.shape != shape:
        return None
    same = (name for name, right in WRITTEN_OUT.items() if np.allclose(found, right(values), rtol=1e-5, atol=1e-6))
    return next(same, None)


def _resizes(operation: tf.Operation, step: Step) -> bool:
    shapes = [tensor.shape for tensor in operation.outputs[:1]]
    return operation.type not in WIDER_EDGE and any(s.rank == 4 and tuple(s[1:3]) != step.size for s in shapes)


def _step(operation: tf.Operation, kind: str, fed: tuple[Use, ...]) -> Step:
    shape, before = operation.outputs[0].shape, fed[0]
    size = tuple(shape[1:3]) if shape.rank == 4 else before.step.size
    stride = _attribute(operation, "strides")
    if kind not in LEARNED:
        return Step(kind, fed, size, shape[-1], _attribute(operation, "ksize"), stride)
    kernel = operation.inputs[1]
    window = tuple(kernel.shape[:2]) if kernel.shape.rank == 4 else (1, 1)
    taken = operation.inputs[0].shape[-1] if kind == "convolution" else before.step.channels
    groups = taken // kernel.shape[2] if operation.type == "Conv2D" else 1
    dilated = "SpaceToBatchND" in before.after or _attribute(operation, "dilations") != (1, 1)
    first = "data_format" in operation.node_def.attr and operation.get_attr("data_format") == b"NCHW"
    return Step(kind, fed, size, shape[-1], window, stride, taken, groups, dilated, first, _weights(kernel))


def _attribute(operation: tf.Operation, name: str) -> tuple[int, int]:
    """Such as the strides along height and width."""
    return tuple(operation.get_attr(name)[1:3]) if name in operation.node_def.attr else (1, 1)


def _weights(tensor: tf.Tensor) -> frozenset[str]:
    """Names of the variables that a tensor, one that does not depend on the image, is computed from."""
    found, waiting = set(), [tensor.op]
    while waiting:
        operation = waiting.pop()
        if operation.type == "ReadVariableOp":
            found.add(operation.inputs[0].name)
        waiting += [tensor.op for tensor in operation.inputs]
    return frozenset(found)
