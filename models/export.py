"""Export of a trained `GenModel` to one ONNX file, which is checked before it is used.

The file's bytes are a function of weights, configuration and library versions: names of source files, which the
exporter records for every node, are removed. The properties of the file are checked on the file itself, since an
exporter may silently specialise a dimension: every dimension is dynamic as declared, there is no control flow, one
opset, and no external weights.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch

from sidestream.models.decoding.graph import RecommendGraph
from sidestream.models.decoding.operators import translations
from sidestream.models.decoding.signature import METADATA_PREFIX, TensorSpec, input_specs, output_names
from sidestream.models.errors import TrainingError
from sidestream.models.network import GenModel

OPSET = 23
# Name of the learned item vectors, which the weights file contains in addition to the network's own tensors.
ITEM_VECTORS_TENSOR = "item_vectors"
CONTROL_FLOW = frozenset({"Loop", "If", "Scan", "SequenceMap"})

# Sizes of the traced example: distinct, so that no two dimensions are merged, and above 1, which the tracer would
# treat as constant. fan x parents must be at least the beams kept.
_EXAMPLE_SIZES = {"W": 3, "V": 4, "C": 5, "X": 2, "T": 7}
_FIRST_FREE_SIZE = 8
_ELEMENT_TYPES = {
    "int32": onnx.TensorProto.INT32,
    "int8": onnx.TensorProto.INT8,
    "float32": onnx.TensorProto.FLOAT,
    "bool": onnx.TensorProto.BOOL,
}


def export_onnx(model: GenModel, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the serving graph of a model.

    Args:
        model: The network; temporarily set to evaluation mode.
        path: File to write.
        metadata: Entries of the file's `metadata_props` under `sidestream.`: versions that the engine compares.

    Raises:
        TrainingError: The exporter failed, or the file differs from what was declared.
    """
    config = model.config
    specs = input_specs(config.num_levels, config.d_model)
    was_training = model.training
    try:
        proto = _trace(RecommendGraph(model).eval(), specs, output_names(config.num_levels), config.max_len)
    finally:
        model.train(was_training)
    strip(proto)
    for key, value in sorted(metadata.items()):
        proto.metadata_props.add(key=METADATA_PREFIX + key, value=value)
    check(proto, specs, output_names(config.num_levels))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def check(proto: onnx.ModelProto, specs: tuple[TensorSpec, ...], outputs: tuple[str, ...]) -> None:
    """Check that a graph is what the engine expects.

    Args:
        proto: The model as saved.
        specs: Inputs in order.
        outputs: Names of the outputs in order.

    Raises:
        TrainingError: The graph differs; the message names the first difference.
    """
    found = [_declared(value) for value in proto.graph.input]
    expected = [(spec.name, _ELEMENT_TYPES[spec.dtype], spec.dims) for spec in specs]
    for got, wanted in zip(found, expected, strict=False):
        if got != wanted:
            msg = f"exported graph: expected input (name, type, dims) {wanted}, got {got}; the exporter specialised it"
            raise TrainingError(msg)
    names = tuple(value.name for value in proto.graph.output)
    if len(found) != len(expected) or names != outputs:
        msg = f"exported graph: expected {len(expected)} inputs and outputs {outputs}, got {len(found)} and {names}"
        raise TrainingError(msg)
    if control := sorted({node.op_type for node in proto.graph.node} & CONTROL_FLOW):
        msg = f"exported graph contains control flow ({', '.join(control)}); every step must be unrolled"
        raise TrainingError(msg)
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    if opsets.get("", 0) != OPSET or any(node.domain for node in proto.graph.node) or proto.functions:
        msg = f"exported graph: expected only the ONNX opset {OPSET}, got {opsets}"
        raise TrainingError(msg)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        msg = "exported graph has weights in a second file; expected a single file"
        raise TrainingError(msg)


def strip(proto: onnx.ModelProto) -> None:
    """Remove the exporter's debugging information: source paths, stack traces, inferred shapes between nodes."""
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del proto.graph.value_info[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    proto.doc_string = proto.graph.doc_string = ""


def _trace(
    graph: RecommendGraph, specs: tuple[TensorSpec, ...], outputs: tuple[str, ...], max_len: int
) -> onnx.ModelProto:
    sizes = _example_sizes(specs, max_len)
    # Names of dimensions become Python identifiers in the tracer; T is bounded by the position table.
    dims = {name: torch.export.Dim(name, max=max_len if name == "T" else None) for name in sizes}
    shapes = tuple({axis: dims[dim] for axis, dim in enumerate(s.dims) if isinstance(dim, str)} for s in specs)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                graph,
                _example(specs, sizes),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=(shapes,),
                input_names=[spec.name for spec in specs],
                output_names=list(outputs),
                custom_translation_table=translations(),
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        msg = (
            f"the exporter refused the graph: {str(error).splitlines()[0]}; check the versions of torch and onnxscript"
        )
        raise TrainingError(msg) from error
    if program is None:
        msg = "the exporter returned nothing; torch.onnx.export(dynamo=True) of torch 2.13 or newer is needed"
        raise TrainingError(msg)
    return program.model_proto


def _example_sizes(specs: tuple[TensorSpec, ...], max_len: int) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for spec in specs:
        for dim in spec.dims:
            if isinstance(dim, str) and dim not in sizes:
                sizes[dim] = _EXAMPLE_SIZES.get(dim, _FIRST_FREE_SIZE + len(sizes))
    sizes["T"] = min(sizes["T"], max_len)
    return sizes


def _example(specs: tuple[TensorSpec, ...], sizes: Mapping[str, int]) -> tuple[torch.Tensor, ...]:
    # All zeros: a trie without nodes below its root, which is valid for every gather.
    return tuple(
        torch.zeros(
            [sizes[dim] if isinstance(dim, str) else dim for dim in spec.dims], dtype=getattr(torch, spec.dtype)
        )
        for spec in specs
    )


def _declared(value: onnx.ValueInfoProto) -> tuple[str, int, tuple[str | int, ...]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, tuple(dim.dim_param or dim.dim_value for dim in tensor.shape.dim)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's messages (torchvision, repeated dimension names)."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
