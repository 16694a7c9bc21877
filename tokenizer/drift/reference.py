"""Drift reference: statistics of the training items encoded as if they were new, and their JSON form.

Legend: N items, C content dimensions, D dimensions, L levels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from sidestream.tokenizer.arrays.grid import Exact
from sidestream.tokenizer.levels import Quantizer
from sidestream.tokenizer.representation.vector import Representation

NUM_QUANTILES = 101
# Quantiles and shares over this many items are as good as over all.
MAX_ITEMS = 50_000
# A second fit is worth its time only while a code has no more than some tens of items.
MIN_ITEMS_HELD_OUT_FROM, MAX_ITEMS_HELD_OUT_FROM = 50, 20_000


class DriftReference(BaseModel):
    """Statistics of the training items as arrivals; stored with a tokenizer's arrays, not part of its version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["sidestream-drift-1"] = "sidestream-drift-1"
    num_items: int = Field(ge=1, description="Training items that were measured.")
    residual_norms: tuple[float, ...] = Field(
        min_length=NUM_QUANTILES,
        max_length=NUM_QUANTILES,
        description="Quantiles of the norm of the quantization residual, from 0 to 100 %, as of held-out items.",
    )
    code_counts: tuple[tuple[int, ...], ...] = Field(min_length=1, description="Items of each code, by level.")
    bucket_sizes: dict[int, int] = Field(description="Number of SIDs by number of items on them.")

    def residual_quantile(self, percent: int) -> float:
        """Return a quantile (0 to 100 %) of the norm of the quantization residual."""
        return self.residual_norms[percent]

    def shared_share(self, num_arrivals: int) -> float:
        """Return the expected share of arrivals that share their SID with another arrival of the same group.

        Args:
            num_arrivals: Size of the group.

        Returns:
            The share, if arrivals were drawn from the training items.
        """
        # Probability that a given other item of the SID is not drawn, without replacement.
        missing = max(1.0 - (num_arrivals - 1) / max(self.num_items - 1, 1), 0.0)
        return sum(
            count * size / self.num_items * (1.0 - missing ** (size - 1)) for size, count in self.bucket_sizes.items()
        )


def measure_reference(
    representation: Representation,
    levels: Quantizer,
    content: npt.NDArray[np.float32],
    stretch: Exact | None = None,
) -> DriftReference:
    """Measure the training items as new items, without their collaborative vectors.

    Args:
        representation: The frozen representation.
        levels: The frozen quantizer.
        content: The encoder's vectors of the training items, at least one.

            Shape: (N, C).
        stretch: Result of `held_out_stretch`; None uses the training items' residuals unchanged.

            Shape: (101,).

    Returns:
        The reference, measured on at most 50,000 evenly spaced items.
    """
    sample = content[:: -(-len(content) // MAX_ITEMS)]
    vectors, codes = _as_arrivals(representation, levels, sample)
    measured = describe_arrivals(codes, levels.sizes, residual_norms(levels, vectors, codes))
    if stretch is None:
        return measured
    stretched = np.array(measured.residual_norms) * stretch
    return measured.model_copy(update={"residual_norms": tuple(np.round(stretched, 6).tolist())})


def describe_arrivals(codes: npt.NDArray[np.int32], sizes: Sequence[int], norms: Exact) -> DriftReference:
    """Build a reference from arrivals.

    Args:
        codes: SIDs of the arrivals, at least one.

            Shape: (N, L).
        sizes: Codes of each level.
        norms: Norm of each one's quantization residual.

            Shape: (N,).

    Returns:
        The reference.
    """
    on_sids, sids = np.unique(np.unique(codes, axis=0, return_counts=True)[1], return_counts=True)
    return DriftReference(
        num_items=len(codes),
        residual_norms=tuple(np.round(_quantiles(norms), 6).tolist()),
        code_counts=tuple(
            tuple(np.bincount(column, minlength=size).tolist()) for column, size in zip(codes.T, sizes, strict=True)
        ),
        bucket_sizes=dict(zip(on_sids.tolist(), sids.tolist(), strict=True)),
    )


def held_out_stretch(
    fit: Callable[[npt.NDArray[np.intp]], tuple[Representation, Quantizer]],
    content: npt.NDArray[np.float32],
    rng: np.random.Generator,
) -> Exact | None:
    """Measure how much larger the quantization residual of held-out items is, since small catalogues are overfitted.

    With 400 items on 32 codes a level, so many new items exceeded the 95 % quantile of the training items that it
    raised an alarm. The norms themselves are not taken from the second fit: it may weight the predicted collaborative
    vectors of items without listens differently.

    Args:
        fit: Fits representation and quantizer on some rows.
        content: The encoder's vectors of the training items.

            Shape: (N, C).
        rng: Draws the fifth that is held out.

    Returns:
        Quantiles of the residual norms of held-out items relative to those of the others; None if there are too few
        items, or so many that it makes no difference.

        Shape: (101,).
    """
    if not MIN_ITEMS_HELD_OUT_FROM <= len(content) <= MAX_ITEMS_HELD_OUT_FROM:
        return None
    rows = rng.permutation(len(content))
    kept, left = np.sort(rows[: len(rows) * 4 // 5]), rows[len(rows) * 4 // 5 :]
    representation, levels = fit(kept)
    seen, unseen = (
        _quantiles(residual_norms(levels, *_as_arrivals(representation, levels, content[part])))
        for part in (kept, left)
    )
    return np.divide(unseen, seen, out=np.ones_like(seen), where=seen > 0)


def residual_norms(levels: Quantizer, vectors: npt.NDArray[np.floating], codes: npt.NDArray[np.int32]) -> Exact:
    """Measure the norm of the quantization residual of each vector.

    Args:
        levels: Quantizer that gave the codes.
        vectors: Representation vectors.

            Shape: (N, D).
        codes: The first codes of each vector, any number of levels.

            Shape: (N, L or fewer).

    Returns:
        Norms, in the latent space of the trained encoder if there is one.

        Shape: (N,).
    """
    points = vectors if levels.encoder is None else levels.encoder.encode(np.asarray(vectors, dtype=np.float64))
    norms: Exact = np.linalg.norm(points - levels.decode(codes), axis=1)
    return norms


def _quantiles(norms: Exact) -> Exact:
    quantiles: Exact = np.quantile(norms, np.linspace(0.0, 1.0, NUM_QUANTILES))
    return quantiles


def _as_arrivals(
    representation: Representation, levels: Quantizer, content: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    unheard = replace(representation, keys=representation.keys[:0], collaborative=representation.collaborative[:0])
    vectors = unheard.represent(np.zeros(len(content), dtype=np.uint64), content)
    return vectors, levels.encode(vectors)
