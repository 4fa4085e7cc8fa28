"""The tower and its head as ONNX graphs whose matrices lie in one file of 8-bit integers, `tower.bin`.

Matrices are multiplied as integers with one scale for 64 inputs, on the side of the weights and of the activations.
Each row of activations is scaled by itself: what stands beside an image in a batch changes its logit by rounding alone.
Source of the operator: ONNX Runtime, com.microsoft.MatMulNBits.
"""

from __future__ import annotations

from collections.abc import Mapping
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
GROUP, _TOP = 64, 127  # inputs that share one scale; the largest integer


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

    def product(self, value: str, matrix: str) -> Any:
        """Rows times a stored matrix."""
        whole, scales = self.stored[matrix]
        self.constants += [whole, scales]
        out, groups, size = whole.dims
        sizes = {"K": groups * size, "N": out, "bits": 8, "block_size": size, "accuracy_level": 4}
        return self.op("MatMulNBits", value, whole.name, scales.name, domain="com.microsoft", **sizes)


def quantise(matrix: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Of `(out, in)` the integers `(out, in / 64, 64)`, 128 for zero, and the scales `(out * in / 64,)`.

    The scales are those that give the matrix back with the least squared error.
    """
    rows, columns = matrix.shape
    grouped = matrix.reshape(rows, columns // GROUP, GROUP)
    widest = np.abs(grouped).max(2) / _TOP + 1e-9
    best, least = widest, np.full(widest.shape, np.inf)
    for shrink in (1.0, 0.95, 0.9, 0.85, 0.8):
        scale = widest * shrink
        error = ((np.clip(np.round(grouped / scale[..., None]), -_TOP, _TOP) * scale[..., None] - grouped) ** 2).sum(2)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    whole = np.clip(np.round(grouped / best[..., None]), -_TOP, _TOP) + _TOP + 1
    return whole.astype(np.uint8), best.astype(np.float32).reshape(-1)


def pack(weights: Weights) -> tuple[bytes, Stored]:
    """The content of `tower.bin`, and where in it lie the integers and scales of each matrix."""
    content, stored = bytearray(), {}
    for name, matrix in weights.items():
        if matrix.ndim == 2 and name.endswith(".weight"):
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

    `weights` holds what `Tower.arrays` gives, `stored` what `pack` makes of it. Blocks after the last tap are left out.
    """
    graph, grid = _Graph(stored), tile_px // PATCH_PX
    x, found = _embed(graph, weights, grid), []
    for i in range(max(probe.taps)):
        x = _block(graph, x, weights, f"{i}.")
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
    versions = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(whole, opset_imports=versions, producer_name="defake")
    model.ir_version = 8
    return model


def _embed(graph: _Graph, weights: Weights, grid: int) -> Any:
    mean, std = (np.array(v, np.float32).reshape(1, 3, 1, 1) * 255 for v in (MEAN, STD))
    x = graph.op("Div", graph.op("Sub", "views", graph.constant(mean)), graph.constant(std))
    x = graph.op("Reshape", x, graph.integers(-1, 3, grid, PATCH_PX, grid, PATCH_PX))
    x = graph.op("Transpose", x, perm=[0, 2, 4, 1, 3, 5])
    x = graph.op("Reshape", x, graph.integers(-1, grid * grid, WIDTH))
    x = graph.product(x, "patch.weight")
    x = graph.op("Add", x, graph.constant(middle_of_grid(weights["position"], grid)))
    count = graph.op("Concat", graph.op("Shape", "views", start=0, end=1), graph.integers(1, WIDTH), axis=0)
    first = graph.op("Expand", graph.constant(weights["class_token"].reshape(1, 1, WIDTH)), count)
    return _norm(graph, graph.op("Concat", first, x, axis=1), weights, "pre")


def _norm(graph: _Graph, x: str, weights: Weights, name: str) -> Any:
    scale, shift = (graph.constant(weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return graph.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)


def _block(graph: _Graph, x: Any, weights: Weights, block: str) -> Any:
    def linear(value: Any, name: str) -> Any:
        product = graph.product(value, f"{block}{name}.weight")
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
    return graph.op("Add", x, linear(graph.op("Mul", hidden, gate), "fc2"))
