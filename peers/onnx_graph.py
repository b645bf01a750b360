"""The layer as an ONNX model: of ONNX's own operators, or with ONNX Runtime's operator for experts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from moe.implementations.contract import NotAvailableError, require_finite
from moe.problem import Weights

OPSETS = {"": 18, "com.microsoft": 1}
IR_VERSION = 10
INT64 = 7  # of TensorProto.DataType
MOST_BYTES = 2**31 - 2**20  # of a protocol buffer's 2 GiB, some for the nodes


class _Model:
    """Nodes and constants of a model from x (T, d) to y (T, d), collected."""

    def __init__(self, weights: Weights) -> None:
        held = sum(array.nbytes for array in weights.arrays().values())
        if held > MOST_BYTES:
            raise NotAvailableError(f"an ONNX model holds less than 2 GiB, these weights take {held / 2**30:.1f} GiB")
        require_finite(weights, "ONNX's Relu and TopK")
        self.d_model = weights.d_model
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        """The name of a new constant: an array, whole numbers or one."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of a new node's output."""
        return self.nodes_of(operator, *inputs, outputs=[output or f"value{len(self.nodes)}"], **attributes)[0]

    def nodes_of(self, operator: str, *inputs: str, outputs: Sequence[str], **attributes: Any) -> Sequence[str]:
        """The names of a new node's outputs."""
        from onnx import helper

        self.nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs

    def sorting_order(self, values: str, count: str) -> str:
        """The places of values from the smallest to the largest, equal ones in their order."""
        outputs = [f"sorted{len(self.nodes)}", f"order{len(self.nodes)}"]
        return self.nodes_of("TopK", values, count, outputs=outputs, largest=0)[1]

    def serialise(self) -> bytes:
        """The model as bytes."""
        from onnx import TensorProto, helper

        x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["tokens", self.d_model]) for n in "xy")
        graph = helper.make_graph(self.nodes, "moe", [x], [y], self.constants)
        opsets = [helper.make_opsetid(*opset) for opset in OPSETS.items()]
        data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()
        return data


def build_graph(weights: Weights, top_k: int) -> bytes:
    """A model with tokens sorted by expert: three nodes an expert, and none that reads or writes the whole output."""
    model = _Model(weights)
    all_in_a_row, one = model.constant([-1]), model.constant([1])
    logits = model.node("MatMul", "x", model.constant(weights.gate))  # (T, E)
    # Sorted, and a tie goes to the lower number; (T, k) each.
    chosen, experts = model.nodes_of("TopK", logits, model.constant([top_k]), outputs=["chosen", "experts"], axis=1)
    shares = model.node("Softmax", chosen, axis=1)  # over the chosen alone: dividing by their sum cancels the others
    flat = model.node("Reshape", experts, all_in_a_row)  # (T·k,)
    count = model.node("Shape", flat)
    order = model.sorting_order(flat, count)
    numbers = model.constant(np.arange(weights.num_experts)[:, None])
    taken = model.node("Cast", model.node("Equal", flat, numbers), to=INT64)  # (E, T·k)
    counts = model.node("ReduceSum", taken, one, keepdims=0)  # (E,)
    rows = model.node("Gather", "x", model.node("Div", order, model.constant(top_k)))  # (T·k, d)
    parts = model.nodes_of("Split", rows, counts, outputs=[f"rows{e}" for e in range(weights.num_experts)], axis=0)
    outs = []
    for part, w1, w2 in zip(parts, weights.w1, weights.w2, strict=True):
        hidden = model.node("Relu", model.node("MatMul", part, model.constant(w1)))  # (n, f)
        outs.append(model.node("MatMul", hidden, model.constant(w2)))  # (n, d)
    out = model.node("Gather", model.node("Concat", *outs, axis=0), model.sorting_order(order, count))
    out = model.node("Reshape", out, model.constant([-1, top_k, weights.d_model]))  # (T, k, d)
    shares = model.node("Unsqueeze", shares, model.constant([2]))
    model.node("ReduceSum", model.node("Mul", out, shares), one, keepdims=0, output="y")
    return model.serialise()


def build_operator(weights: Weights, top_k: int) -> bytes:
    """A model with `com.microsoft.MoE`, which takes logits, and weights in the order (E, out, in).

    Two things are made up for. The operator gives a tie to the higher number, so experts go in from the last to the
    first. And it leaves a token with NaN or Inf out, which a sum makes NaN again: 0 where logits are finite.
    """
    model = _Model(weights)
    logits = model.node("MatMul", "x", model.constant(weights.gate[:, ::-1]))  # (T, E)
    w1, w2 = (model.constant(w[::-1].transpose(0, 2, 1)) for w in (weights.w1, weights.w2))
    y = model.node(
        "MoE", "x", logits, w1, "", w2,
        domain="com.microsoft", k=top_k, activation_type="relu", normalize_routing_weights=1,
    )  # fmt: skip
    first = model.node("Gather", logits, model.constant([0]), axis=1)  # (T, 1)
    model.node("Add", y, model.node("Sub", first, first), output="y")
    return model.serialise()
