"""The tower and its head as ONNX graphs whose matrices lie in one file of 8-bit integers, `tower.bin`.

Matrices are multiplied as integers: weights with one scale an output, activations with one scale a row, so that what
stands beside an image in a batch changes its logit by rounding alone. Source of the operator: ONNX Runtime,
com.microsoft.MatMulIntegerToFloat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from defake.detectors.default import TOWER_FILE

from .tower import HEADS, MEAN, PATCH_PX, STD, WIDTH, middle_of_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

Weights = Mapping[str, "NDArray[np.float32]"]
Stored = Mapping[str, list[Any]]  # name of a matrix -> its integers and its scales, tensors that point into the file
# The largest integer of a weight. Processors without VNNI add two products of 8 bits in 16 and saturate: with 127 that
# happens to 4 products in 100,000 and can be seen in the result, with 96 to 1 in a million. Source: ours.
TOP = 96
# Quick GELU is nowhere below this, so that an eighth of the integers is enough for what is negative. Source: ours.
LEAST_GELU = -0.17
# The share of a channel's width that moves from the activations into the weights. Source: SmoothQuant (Xiao et al.
# 2023), with 0.7 for its 0.5: ours.
SMOOTHING = 0.7
_PATCH = "patch.weight"


class _Graph:
    """Nodes and constants in the order they are added."""

    def __init__(self, stored: Stored) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.stored = stored

    def constant(self, values: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"{kind}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def product(self, value: str, matrix: str, least: float | None = None) -> Any:
        """Rows `(n, t, in)` times a stored matrix: `(n, t, out)`. `least` is the smallest value there is, if known."""
        whole, scales = self.stored[matrix]
        self.constants += [whole, scales]
        inputs, outputs = whole.dims
        rows = self.op("Reshape", value, self.integers(-1, inputs))
        zero = 128 if least is None else 32  # the integer that stands for 0, of 255
        widest = self.op("ReduceMax", self.op("Abs", rows) if least is None else rows, self.integers(1), keepdims=0)
        floor = 1e-6 if least is None else -least * (255 - zero) / zero  # a row of zeros has a scale, too
        scale = self.op("Max", widest, self.constant(np.float32(floor)))
        scale = self.op("Mul", scale, self.constant(np.float32(1 / (255 - zero))))
        nought = self.constant(np.uint8(zero))
        noughts = self.op("Expand", nought, self.op("Shape", scale))
        seen = self.op("QuantizeLinear", rows, scale, noughts, axis=0)
        factors = whole.name, self.constant(np.float32(1)), scales.name, nought
        product = self.op("MatMulIntegerToFloat", seen, *factors, domain="com.microsoft")
        product = self.op("Mul", product, self.op("Unsqueeze", scale, self.integers(1)))
        shape = self.op("Concat", self.op("Shape", value, start=0, end=2), self.integers(outputs), axis=0)
        return self.op("Reshape", product, shape)


def smooth(weights: Weights, widest: Mapping[str, NDArray[np.float32]]) -> Weights:
    """The same tower with activations of more even width, which integers hold better.

    `widest` is what `Tower.widest` gives: the largest absolute input of `qkv`, `proj` and `fc1` a channel. A channel is
    divided where it is made (a norm, or the values of the attention) and multiplied where it is used.
    """
    found = {name: values.copy() for name, values in weights.items()}
    for name, width in widest.items():
        block, _, user = name.partition(".")
        matrix = found[f"{name}.weight"]
        factor = np.maximum(width, 1e-4) ** SMOOTHING / np.maximum(np.abs(matrix).max(0), 1e-4) ** (1 - SMOOTHING)
        matrix *= factor
        made = [found[f"{block}.{_MAKERS[user]}.{part}"] for part in ("weight", "bias")]
        for values in made:
            made_last = values[-len(factor) :]  # of queries, keys and values the last third
            made_last /= factor if values.ndim == 1 else factor[:, None]
    return found


_MAKERS = {"qkv": "ln1", "proj": "qkv", "fc1": "ln2"}


def quantise(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Of `(out, in)` the integers `(in, out)`, as they are multiplied, and the scales `(out,)`.

    The scales are those that give the matrix back with the least squared error.
    """
    widest = np.abs(matrix).max(1) / TOP + 1e-9
    best, least = widest, np.full(widest.shape, np.inf)
    for shrink in np.arange(1.0, 0.45, -0.05):
        scale = widest * shrink
        error = ((np.clip(np.round(matrix / scale[:, None]), -TOP, TOP) * scale[:, None] - matrix) ** 2).sum(1)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    whole = np.clip(np.round(matrix / best[:, None]), -TOP, TOP)
    return np.ascontiguousarray(whole.T.astype(np.int8)), best.astype(np.float32)


def pack(weights: Weights) -> tuple[bytes, Stored]:
    """The content of `tower.bin`, and where in it lie the integers and scales of each matrix.

    What turns pixels into tokens stays in float32: one hundredth of the products, two thirds of the rounding error.
    """
    content, stored = bytearray(), {}
    for name, matrix in weights.items():
        if name == _PATCH:
            stored[name] = [_outside(content, name, np.ascontiguousarray(matrix.T))]
        elif matrix.ndim == 2 and name.endswith(".weight"):
            whole, scales = quantise(matrix)
            stored[name] = [_outside(content, f"{name}.whole", whole), _outside(content, f"{name}.scales", scales)]
    return bytes(content), stored


def _outside(content: bytearray, name: str, values: NDArray[Any]) -> Any:
    content += bytes(-len(content) % 4096)  # on a page of its own, so that it can be mapped
    kind = helper.np_dtype_to_tensor_dtype(values.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=values.shape, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", TOWER_FILE), ("offset", len(content)), ("length", values.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    content += values.tobytes()
    return tensor


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear logit of the features after some blocks: `weight` `(len(taps) * 1536,)`."""

    taps: tuple[int, ...]
    weight: NDArray[np.float32]
    bias: float


def build_graph(weights: Weights, stored: Stored, probe: Probe, tile_px: int) -> onnx.ModelProto:
    """The model `views` (n, 3, px, px) float32 RGB 0..255 -> `logits` (n,).

    `weights` are those that `pack` made `stored` of. Blocks after the last tap are left out.
    """
    graph = _Graph(stored)
    features = _features(graph, weights, probe.taps, tile_px)
    logit = graph.op("MatMul", features, graph.constant(probe.weight.reshape(-1, 1)))
    logit = graph.op("Add", logit, graph.constant(np.array([probe.bias], np.float32)))
    graph.nodes.append(helper.make_node("Squeeze", [logit, graph.integers(1)], ["logits"]))
    return _model(graph, tile_px, "logits", ["n"])


def build_features(weights: Weights, stored: Stored, taps: Sequence[int], tile_px: int) -> onnx.ModelProto:
    """The model `views` -> `features` (n, len(taps) * 1536) float32: what a `Probe` of these taps is linear in."""
    graph = _Graph(stored)
    features = _features(graph, weights, taps, tile_px)
    graph.nodes.append(helper.make_node("Identity", [features], ["features"]))
    return _model(graph, tile_px, "features", ["n", 2 * WIDTH * len(taps)])


def _model(graph: _Graph, tile_px: int, output: str, shape: list[Any]) -> onnx.ModelProto:
    whole = helper.make_graph(
        graph.nodes,
        "defake",
        [helper.make_tensor_value_info("views", TensorProto.FLOAT, ["n", 3, tile_px, tile_px])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        graph.constants,
    )
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(whole, opset_imports=versions, producer_name="defake")
    model.ir_version = 8
    return model


def _features(graph: _Graph, weights: Weights, taps: Sequence[int], tile_px: int) -> Any:
    """Class token and mean patch after each of the blocks `taps` (1 = the first)."""
    grid, found = tile_px // PATCH_PX, []
    x = _embed(graph, weights, grid)
    for i in range(max(taps)):
        x = _block(graph, x, weights, f"{i}.")
        if i + 1 in taps:
            first = graph.op("Slice", x, graph.integers(0), graph.integers(1), graph.integers(1))
            rest = graph.op("Slice", x, graph.integers(1), graph.integers(1 + grid * grid), graph.integers(1))
            found.append(graph.op("Squeeze", first, graph.integers(1)))
            found.append(graph.op("ReduceMean", rest, graph.integers(1), keepdims=0))
    return graph.op("Concat", *found, axis=-1)


def _embed(graph: _Graph, weights: Weights, grid: int) -> Any:
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    x = graph.op("Div", graph.op("Sub", "views", graph.constant(mean)), graph.constant(std))
    x = graph.op("Reshape", x, graph.integers(-1, 3, grid, PATCH_PX, grid, PATCH_PX))
    x = graph.op("Transpose", x, perm=[0, 2, 4, 1, 3, 5])
    x = graph.op("Reshape", x, graph.integers(-1, grid * grid, WIDTH))
    (patch,) = graph.stored[_PATCH]
    graph.constants.append(patch)
    x = graph.op("MatMul", x, patch.name)
    x = graph.op("Add", x, graph.constant(middle_of_grid(weights["position"], grid)))
    count = graph.op("Concat", graph.op("Shape", "views", start=0, end=1), graph.integers(1, WIDTH), axis=0)
    first = graph.op("Expand", graph.constant(weights["class_token"].reshape(1, 1, WIDTH)), count)
    return _norm(graph, graph.op("Concat", first, x, axis=1), weights, "pre")


def _norm(graph: _Graph, x: str, weights: Weights, name: str) -> Any:
    scale, shift = (graph.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)


def _block(graph: _Graph, x: Any, weights: Weights, block: str) -> Any:
    def linear(value: Any, name: str, least: float | None = None) -> Any:
        product = graph.product(value, f"{block}{name}.weight", least)
        return graph.op("Add", product, graph.constant(weights[f"{block}{name}.bias"]))

    per_head = graph.integers(0, -1, HEADS, WIDTH // HEADS)
    parts = graph.op("Split", linear(_norm(graph, x, weights, f"{block}ln1"), "qkv"), outputs=3, axis=-1, num_outputs=3)
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    q, k, v = (
        graph.op("Transpose", graph.op("Reshape", part, per_head), perm=order)
        for part, order in zip(parts, orders, strict=True)
    )
    q = graph.op("Mul", q, graph.constant(np.float32((WIDTH // HEADS) ** -0.5)))
    seen = graph.op("MatMul", graph.op("Softmax", graph.op("MatMul", q, k), axis=-1), v)
    seen = graph.op("Reshape", graph.op("Transpose", seen, perm=[0, 2, 1, 3]), graph.integers(0, -1, WIDTH))
    x = graph.op("Add", x, linear(seen, "proj"))
    hidden = linear(_norm(graph, x, weights, f"{block}ln2"), "fc1")
    gate = graph.op("Sigmoid", graph.op("Mul", hidden, graph.constant(np.float32(1.702))))
    return graph.op("Add", x, linear(graph.op("Mul", hidden, gate), "fc2", LEAST_GELU))
