"""The tower and its head as an ONNX graph whose matrices are stored in 8 or 6 bits and unfolded once, at load.

ONNX Runtime folds the unpacking into float32 constants when the session opens: the arithmetic on an image is plain
float32, so that a score does not depend on its batch. Source of the packing: ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .tower import GRID, HEADS, MEAN, PATCH_PX, STD, WIDTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

Weights = Mapping[str, "NDArray[np.float32]"]
GROUP = 64  # inputs that share one scale


class _Graph:
    """Nodes and constants in the order they are added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

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


def quantise(matrix: NDArray[np.float32], bits: int) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
    """Integers `(in, out)` and the scales `(in / 64, out)` that give back `(in, out)` with the least squared error."""
    rows, columns = matrix.shape
    grouped = matrix.reshape(rows // GROUP, GROUP, columns)
    top = 2 ** (bits - 1) - 1
    widest = np.abs(grouped).max(1) / top + 1e-9
    best, least = widest, np.full(widest.shape, np.inf)
    for shrink in (1.0, 0.95, 0.9, 0.85, 0.8):
        scale = widest * shrink
        error = ((np.clip(np.round(grouped / scale[:, None]), -top - 1, top) * scale[:, None] - grouped) ** 2).sum(1)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    scales = best.astype(np.float16)
    whole = np.clip(np.round(grouped / scales[:, None].astype(np.float32)), -top - 1, top)
    return whole.reshape(rows, columns).astype(np.int32), scales


def _matrix(graph: _Graph, matrix: NDArray[np.float32], bits: int) -> str:
    if bits == 32:
        return graph.constant(matrix.astype(np.float32))
    rows, columns = matrix.shape
    whole, scales = quantise(matrix, bits)
    if bits == 8:
        unpacked = graph.op("Cast", graph.constant(whole.astype(np.int8)), to=TensorProto.FLOAT)
    else:
        unpacked = _unpack_six(graph, (whole + 32).astype(np.uint8))
    grouped = graph.op("Reshape", unpacked, graph.integers(rows // GROUP, GROUP, columns))
    scale = graph.op("Cast", graph.constant(scales[:, None]), to=TensorProto.FLOAT)
    return str(graph.op("Reshape", graph.op("Mul", grouped, scale), graph.integers(rows, columns)))


def _unpack_six(graph: _Graph, whole: NDArray[np.uint8]) -> Any:
    """Four rows of 6-bit numbers in three rows of bytes: the fourth is spread over the upper two bits of the others."""
    quarter = len(whole) // 4
    a, b, c, d = (whole[i * quarter : (i + 1) * quarter] for i in range(4))

    def byte(value: int) -> str:
        return graph.constant(np.array(value, np.uint8))

    packed = [graph.constant(x) for x in (a | (d >> 4) << 6, b | (d >> 2 & 3) << 6, c | (d & 3) << 6)]
    low = [graph.op("BitwiseAnd", x, byte(63)) for x in packed]
    high = [graph.op("BitShift", x, byte(6), direction="RIGHT") for x in packed]
    shifted = [graph.op("BitShift", high[i], byte(4 - 2 * i), direction="LEFT") for i in range(2)]
    last = graph.op("BitwiseOr", shifted[0], graph.op("BitwiseOr", shifted[1], high[2]))
    floats = graph.op("Cast", graph.op("Concat", *low, last, axis=0), to=TensorProto.FLOAT)
    return graph.op("Sub", floats, graph.constant(np.float32(32)))


@dataclass(frozen=True, slots=True)
class Probe:
    """A linear logit of the features after some blocks: `weight` `(len(taps) * 1536,)`."""

    taps: tuple[int, ...]
    weight: NDArray[np.float32]
    bias: float


def build_graph(weights: Weights, probe: Probe, tile_px: int, bits: int) -> onnx.ModelProto:
    """The model `views` (n, 3, px, px) float32 RGB 0..255 -> `logits` (n,).

    `weights` holds what `Tower.arrays` gives. Blocks after the last tap are left out.
    """
    graph, grid = _Graph(), tile_px // PATCH_PX
    x, found = _embed(graph, weights, grid, bits), []
    for i in range(max(probe.taps)):
        own = {name.removeprefix(f"{i}."): value for name, value in weights.items() if name.startswith(f"{i}.")}
        x = _block(graph, x, own, bits)
        if i + 1 in probe.taps:
            first = graph.op("Slice", x, graph.integers(0), graph.integers(1), graph.integers(1))
            rest = graph.op("Slice", x, graph.integers(1), graph.integers(1 + grid * grid), graph.integers(1))
            found.append(graph.op("Squeeze", first, graph.integers(1)))
            found.append(graph.op("ReduceMean", rest, graph.integers(1), keepdims=0))
    logit = graph.op("MatMul", graph.op("Concat", *found, axis=-1), graph.constant(probe.weight.reshape(-1, 1)))
    logit = graph.op("Add", logit, graph.constant(np.array([probe.bias], np.float32)))
    graph.nodes.append(helper.make_node("Squeeze", [logit, graph.integers(1)], ["logits"]))
    whole = helper.make_graph(
        graph.nodes,
        "defake",
        [helper.make_tensor_value_info("views", TensorProto.FLOAT, ["n", 3, tile_px, tile_px])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n"])],
        graph.constants,
    )
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 18)], producer_name="defake")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def _embed(graph: _Graph, weights: Weights, grid: int, bits: int) -> Any:
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    x = graph.op("Div", graph.op("Sub", "views", graph.constant(mean)), graph.constant(std))
    x = graph.op("Reshape", x, graph.integers(-1, 3, grid, PATCH_PX, grid, PATCH_PX))
    x = graph.op("Transpose", x, perm=[0, 2, 4, 1, 3, 5])
    x = graph.op("Reshape", x, graph.integers(-1, grid * grid, WIDTH))
    x = graph.op("MatMul", x, _matrix(graph, weights["patch.weight"].T, max(bits, 8)))
    x = graph.op("Add", x, graph.constant(_middle(weights["position"], grid)))
    count = graph.op("Concat", graph.op("Shape", "views", start=0, end=1), graph.integers(1, WIDTH), axis=0)
    first = graph.op("Expand", graph.constant(weights["class_token"].reshape(1, 1, WIDTH)), count)
    return _norm(graph, graph.op("Concat", first, x, axis=1), weights, "pre")


def _middle(position: NDArray[np.float32], grid: int) -> NDArray[np.float32]:
    first = (GRID - grid) // 2
    return position.reshape(GRID, GRID, WIDTH)[first : first + grid, first : first + grid].reshape(-1, WIDTH)


def _norm(graph: _Graph, x: str, weights: Weights, name: str) -> Any:
    scale, shift = (graph.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)


def _block(graph: _Graph, x: Any, own: Weights, bits: int) -> Any:
    def linear(value: Any, name: str) -> Any:
        product = graph.op("MatMul", value, _matrix(graph, own[f"{name}.weight"].T, bits))
        return graph.op("Add", product, graph.constant(own[f"{name}.bias"]))

    per_head = graph.integers(0, -1, HEADS, WIDTH // HEADS)
    parts = graph.op("Split", linear(_norm(graph, x, own, "ln1"), "qkv"), outputs=3, axis=-1, num_outputs=3)
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    q, k, v = (
        graph.op("Transpose", graph.op("Reshape", part, per_head), perm=order)
        for part, order in zip(parts, orders, strict=True)
    )
    q = graph.op("Mul", q, graph.constant(np.float32((WIDTH // HEADS) ** -0.5)))
    seen = graph.op("MatMul", graph.op("Softmax", graph.op("MatMul", q, k), axis=-1), v)
    seen = graph.op("Reshape", graph.op("Transpose", seen, perm=[0, 2, 1, 3]), graph.integers(0, -1, WIDTH))
    x = graph.op("Add", x, linear(seen, "proj"))
    hidden = linear(_norm(graph, x, own, "ln2"), "fc1")
    gate = graph.op("Sigmoid", graph.op("Mul", hidden, graph.constant(np.float32(1.702))))
    return graph.op("Add", x, linear(graph.op("Mul", hidden, gate), "fc2"))
