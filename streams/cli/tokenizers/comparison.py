"""The comparison of two tokenizer versions as rows of words, for `sidestream tokenizer compare`."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from sidestream.models.data.quantities import quantity
from sidestream.tokenizer.generations import Comparison

Row = dict[str, str]

_NONE = "–"


def measure_rows(compared: Comparison) -> list[Row]:
    """Set the measures of both versions beside each other.

    Args:
        compared: The comparison.

    Returns:
        Rows of `measure`, `old` and `new`; a level or prefix that a version lacks is a dash.
    """
    old, new = compared.old, compared.new
    a, b = old.codes, new.codes
    sizes = tuple(" × ".join(f"{size:,}" for size in side.codebook_sizes) for side in (old, new))
    rows = [
        _row("version", old.version, new.version),
        _row("codes of each level", *sizes),
        _row("distinct SIDs", f"{a.distinct_sids:,}", f"{b.distinct_sids:,}"),
        _row("items that share their SID", _share(a.shared_share), _share(b.shared_share)),
        _row("items on the most crowded SID", f"{a.largest_bucket:,}", f"{b.largest_bucket:,}"),
        _row("cosine of items on one SID", _number(a.bucket_cosine), _number(b.bucket_cosine)),
        _row(
            f"the same at {compared.matched_sids:,} SIDs each", _number(old.matched_cosine), _number(new.matched_cosine)
        ),
    ]
    for count, pair in _pairs(a.prefix_cosine, b.prefix_cosine, first=1):
        rows.append(_row(f"cosine of items sharing {_codes(count)}", *map(_number, pair)))
    for level, used in _pairs(a.codes_used, b.codes_used):
        rows.append(_row(f"codes used, level {level}", *(_NONE if n is None else f"{n:,.0f}" for n in used)))
    for level, pair in _pairs(a.perplexity, b.perplexity):
        rows.append(_row(f"perplexity, level {level}", *(_NONE if n is None else f"{n:,.1f}" for n in pair)))
    for count, pair in _pairs(old.left_over, new.left_over, first=1):
        rows.append(_row(f"residual after {_codes(count)}", *map(_share, pair)))
    return rows


def change_rows(compared: Comparison) -> list[Row]:
    """Tell what changes around the items, and what the map from old SIDs to new ones gets right.

    Args:
        compared: The comparison.

    Returns:
        Rows of `change` and `share`.
    """
    churn, agreed = compared.churn, compared.agreement
    rows = [_change("items that share their SID with other items than before", churn.bucket_mates_changed)]
    if churn.neighbours:
        asked = f"{quantity(churn.num_asked, 'item')} asked"
        rows.append(_change(f"of the {churn.neighbours} nearest items, others now ({asked})", churn.neighbours_changed))
    rows += _by_prefix("items sharing {codes}, that still do", churn.prefix_mates_kept)
    rows += _by_prefix("SIDs mapped right, {codes}: items in the map", agreed["seen"])
    rows += _by_prefix("SIDs mapped right, {codes}: items not in the map", agreed["unseen"])
    rows += _by_prefix("SIDs mapped right, {codes}: by chance", agreed["chance"])
    rows += [_change(f"codes mapped right, level {level}", share) for level, share in enumerate(agreed["code_maps"])]
    rows.append(_change("items not in the map with an unknown first code", agreed["unseen_unknown"]))
    return rows


def _row(measure: str, old: str, new: str) -> Row:
    return {"measure": measure, "old": old, "new": new}


def _change(name: str, share: float) -> Row:
    return {"change": name, "share": _share(share)}


def _by_prefix(name: str, shares: Sequence[float]) -> Iterable[Row]:
    return (_change(name.format(codes=_codes(count)), share) for count, share in enumerate(shares, 1))


def _pairs(
    old: Sequence[float | None], new: Sequence[float | None], first: int = 0
) -> Iterator[tuple[int, tuple[float | None, float | None]]]:
    return enumerate(zip_longest(old, new), first)


def _codes(count: int) -> str:
    return "1 code" if count == 1 else f"{count} codes"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1%}"
