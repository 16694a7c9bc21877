"""From a trained `GenModel` to the one ONNX file that serves it, checked before anybody loads it.

The file's bytes are a function of weights, configuration and library versions: names of source files, which the
exporter notes beside every node, are removed. What the file promises is asserted on the file itself, since an exporter
may specialise a dimension without a word: every dimension dynamic as declared, no control flow, one opset, no weights
outside the file.
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
# Where training keeps the learned item vectors beside the network's own tensors in the weights file.
ITEM_VECTORS_TENSOR = "item_vectors"
CONTROL_FLOW = frozenset({"Loop", "If", "Scan", "SequenceMap"})

# Sizes of the example that is traced: distinct, so that no two dimensions are taken for one, and above 1, which the
# tracer would fix. fan x parents must hold the beams kept.
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
        model: The network; it is put into evaluation mode and back.
        path: File to write.
        metadata: Goes into the file's `metadata_props` under `sidestream.`: versions that the engine compares.

    Raises:
        TrainingError: The exporter failed, or the file is not what was declared.
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
    """Refuse a graph that is not what the engine expects.

    Args:
        proto: The model as it is saved.
        specs: Inputs in order.
        outputs: Names of the outputs in order.

    Raises:
        TrainingError: Names the first difference.
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
        msg = f"exported graph holds control flow ({', '.join(control)}); every step must be unrolled"
        raise TrainingError(msg)
    opsets = {entry.domain: entry.version for entry in proto.opset_import}
    if opsets.get("", 0) != OPSET or any(node.domain for node in proto.graph.node) or proto.functions:
        msg = f"exported graph: expected plain ONNX opset {OPSET} alone, got {opsets}"
        raise TrainingError(msg)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer):
        msg = "exported graph keeps weights in a second file; one file was asked for"
        raise TrainingError(msg)


def strip(proto: onnx.ModelProto) -> None:
    """Remove what the exporter notes for debugging: source paths, stack traces, inferred shapes between nodes."""
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
    # Names of dimensions become Python identifiers of the tracer; T is bounded by the position table.
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
    # All zeros: a trie without nodes below its root, which every gather accepts.
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
    """Keep the exporter's remarks (torchvision, repeated dimension names) from a person's terminal."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
