"""Names and types of the graph's inputs and outputs, declared by the export and filled by the engine.

Shape legend: T listens, L levels, N_l trie nodes of level l, R rows of the item store, Q rows of
the table of vectors, S items in buckets, X excluded rows, W beams, V beams of the last level (leaves), C candidates,
D d_model. Each name below is one dynamic dimension.
"""

from collections.abc import Iterator
from typing import NamedTuple

Dim = str | int


class TensorSpec(NamedTuple):
    """One input of the graph: its name, numpy type and dimensions (a name = dynamic)."""

    name: str
    dtype: str
    dims: tuple[Dim, ...]


def history_specs(num_levels: int) -> tuple[TensorSpec, ...]:
    """List the inputs of a listener's history, oldest listen first.

    Args:
        num_levels: Levels of a SID.

    Returns:
        `history_rows` (row in the item store, -1 = missing) and `history_codes` (SID, -1 = unknown).
    """
    return (TensorSpec("history_rows", "int32", ("T",)), TensorSpec("history_codes", "int32", ("T", num_levels)))


def level_specs(level: int, num_levels: int, d_model: int) -> tuple[TensorSpec, ...]:
    """List the inputs of one trie level.

    Args:
        level: 0-based level.
        num_levels: Levels of a SID.
        d_model: Width of node vectors.

    Returns:
        CSR offsets (one more than the nodes above), codes, guide vectors with scale (on the last level their rows in
        the table of item vectors, since most of its nodes have one item), log mass, eligibility, and `fan`: an arange
        at least as wide as the widest node, and wide enough that parents x fan >= beams kept.
    """
    nodes = f"N{level}"
    guide: tuple[TensorSpec, ...] = (
        TensorSpec(f"node_vectors_{level}", "int8", (nodes, d_model)),
        TensorSpec(f"node_scales_{level}", "float32", (nodes,)),
    )
    if level == num_levels - 1:
        guide = (TensorSpec("leaf_rows", "int32", (nodes,)),)
    return (
        TensorSpec(f"offsets_{level}", "int32", (f"offsets_{level}",)),
        TensorSpec(f"codes_{level}", "int32", (nodes,)),
        *guide,
        TensorSpec(f"node_log_mass_{level}", "float32", (nodes,)),
        TensorSpec(f"node_eligible_{level}", "bool", (nodes,)),
        TensorSpec(f"fan_{level}", "int32", (f"fan_{level}",)),
    )


def item_specs(d_model: int) -> tuple[TensorSpec, ...]:
    """List the inputs of the last step, from SIDs to items.

    Args:
        d_model: Width of item vectors.

    Returns:
        Buckets (CSR over the last level's nodes), the table of vectors (items from its front, means of SIDs shared by
        several items from its end: their rows are negative), eligibility, excluded rows (-1 = padding).
    """
    return (
        TensorSpec("bucket_offsets", "int32", ("bucket_offsets",)),
        TensorSpec("bucket_rows", "int32", ("S",)),
        TensorSpec("fan_bucket", "int32", ("fan_bucket",)),
        TensorSpec("item_vectors", "int8", ("Q", d_model)),
        TensorSpec("item_scales", "float32", ("Q",)),
        TensorSpec("item_eligible", "bool", ("R",)),
        TensorSpec("excluded_rows", "int32", ("X",)),
    )


def control_specs() -> tuple[TensorSpec, ...]:
    """List the inputs that set widths (aranges) and weights of one request."""
    return (
        TensorSpec("beam", "int32", ("W",)),
        TensorSpec("leaf_beam", "int32", ("V",)),
        TensorSpec("out", "int32", ("C",)),
        TensorSpec("gamma", "float32", ()),
        TensorSpec("beta", "float32", ()),
    )


def input_specs(num_levels: int, d_model: int) -> tuple[TensorSpec, ...]:
    """List all inputs in the graph's order.

    Args:
        num_levels: Levels of a SID.
        d_model: Width of vectors.

    Returns:
        History, then each level, then items, then controls.
    """
    levels = (spec for level in range(num_levels) for spec in level_specs(level, num_levels, d_model))
    return (*history_specs(num_levels), *levels, *item_specs(d_model), *control_specs())


def _trace_names(num_levels: int) -> Iterator[str]:
    for level in range(num_levels):
        yield from (f"trace_nodes_{level}", f"trace_parents_{level}", f"trace_scores_{level}")
        yield f"trace_log_probs_{level}"


METADATA_PREFIX = "sidestream."  # of keys in the file's metadata
RESULT_NAMES = ("rows", "scores", "log_probs", "leaves")


def output_names(num_levels: int) -> tuple[str, ...]:
    """List all outputs in the graph's order.

    Args:
        num_levels: Levels of a SID.

    Returns:
        The result (best first, row -1 = dead), then the beam after each level.
    """
    return (*RESULT_NAMES, *_trace_names(num_levels))
