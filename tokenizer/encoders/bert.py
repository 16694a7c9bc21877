"""ONNX graph of a BERT encoder, built from its weights file without torch or transformers.

Source: Devlin et al. 2019, "BERT", with the weight names of the library transformers; Vaswani et al. 2017 for
attention. MiniLM, BGE and most small sentence encoders belong to this family.

Legend: B texts, T tokens, H dimensions, A heads.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sidestream.tokenizer.errors import TokenizerError

_OPSET = 20
# Added to padding tokens before the softmax; finite, so that a row of padding only does not become NaN.
_MASKED = np.float32(-1e30)

Weights = Mapping[str, np.ndarray[Any, Any]]


class _Graph:
    """Nodes and constants of the graph under construction."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def weight(self, name: str, *, transpose: bool = False) -> str:
        try:
            value = np.asarray(self._weights[name], dtype=np.float32)
        except KeyError as error:
            msg = f"the weights have no {name}; expected those of a BERT encoder, as config.json says"
            raise TokenizerError(msg) from error
        return self.constant(name, value.T if transpose else value)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def linear(self, source: str, name: str) -> str:
        product = self.add("MatMul", source, self.weight(f"{name}.weight", transpose=True))
        return self.add("Add", product, self.weight(f"{name}.bias"))

    def layer_norm(self, source: str, name: str, epsilon: float) -> str:
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", source, scale, shift, axis=-1, epsilon=epsilon)


def bert_graph(weights: Weights, config: Mapping[str, Any]) -> onnx.ModelProto:
    """Build the graph of a BERT encoder.

    Args:
        weights: Arrays by their names in the library transformers.
        config: The model's `config.json`.

    Returns:
        A graph from `input_ids` and `attention_mask`, both (B, T) int64, to `last_hidden_state`, (B, T, H) float32.

    Raises:
        TokenizerError: It is not a BERT encoder with GELU and absolute positions, or weights are missing.
    """
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    got = {"position_embedding_type": "absolute", **config}
    if wrong := {name: got.get(name) for name, value in expected.items() if got.get(name) != value}:
        msg = f"config.json: expected {expected}, got {wrong}; export this encoder with its own tools"
        raise TokenizerError(msg)
    graph, epsilon = _Graph(weights), float(config["layer_norm_eps"])
    hidden = _embedded(graph, epsilon)
    mask = _mask_bias(graph)
    for number in range(int(config["num_hidden_layers"])):
        hidden = _layer(graph, hidden, mask, f"encoder.layer.{number}", int(config["num_attention_heads"]), epsilon)
    graph.nodes.append(helper.make_node("Identity", [hidden], ["last_hidden_state"]))
    names = ("input_ids", "attention_mask")
    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "T"]) for name in names]
    shape: list[str | int | None] = ["B", "T", int(config["hidden_size"])]
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape)
    built = helper.make_graph(graph.nodes, "bert", ids, [out], list(graph.constants.values()))
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def _embedded(graph: _Graph, epsilon: float) -> str:
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    length = graph.add("Shape", "input_ids", start=1, end=2)
    start, axis = graph.constant("zero", np.zeros(1, np.int64)), graph.constant("rows", np.zeros(1, np.int64))
    places = graph.add("Slice", graph.weight("embeddings.position_embeddings.weight"), start, length, axis)
    types = graph.weight("embeddings.token_type_embeddings.weight")
    first = graph.add("Gather", types, graph.constant("first", np.int64(0)))
    summed = graph.add("Add", graph.add("Add", words, places), first)
    return graph.layer_norm(summed, "embeddings.LayerNorm", epsilon)


def _mask_bias(graph: _Graph) -> str:
    wide = graph.add("Unsqueeze", "attention_mask", graph.constant("heads_and_queries", np.array([1, 2], np.int64)))
    absent = graph.add("Sub", graph.constant("one", np.float32(1)), graph.add("Cast", wide, to=TensorProto.FLOAT))
    return graph.add("Mul", absent, graph.constant("masked", _MASKED))


def _layer(graph: _Graph, hidden: str, mask: str, name: str, num_heads: int, epsilon: float) -> str:
    split = graph.constant("split", np.array([0, 0, num_heads, -1], np.int64))
    heads = {
        part: graph.add("Reshape", graph.linear(hidden, f"{name}.attention.self.{part}"), split)
        for part in ("query", "key", "value")
    }
    query = graph.add("Transpose", heads["query"], perm=[0, 2, 1, 3])
    key = graph.add("Transpose", heads["key"], perm=[0, 2, 3, 1])
    value = graph.add("Transpose", heads["value"], perm=[0, 2, 1, 3])
    width = len(graph._weights[f"{name}.attention.self.query.bias"]) // num_heads
    scale = graph.constant("scale", np.float32(1 / np.sqrt(width)))
    scores = graph.add("Add", graph.add("Mul", graph.add("MatMul", query, key), scale), mask)
    mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
    join = graph.constant("join", np.array([0, 0, -1], np.int64))
    joined = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), join)
    attended = graph.add("Add", graph.linear(joined, f"{name}.attention.output.dense"), hidden)
    attended = graph.layer_norm(attended, f"{name}.attention.output.LayerNorm", epsilon)
    widened = graph.add("Gelu", graph.linear(attended, f"{name}.intermediate.dense"))
    narrowed = graph.add("Add", graph.linear(widened, f"{name}.output.dense"), attended)
    return graph.layer_norm(narrowed, f"{name}.output.LayerNorm", epsilon)
