"""What is claimed of the kinds of tokenizers, each as a check of one data set; what does not hold stays as a miss.

Sources: R-KMeans against RQ-VAE at matched numbers of SIDs, GLIDE (arXiv 2603.17540); an FSQ last level, QARM V2 (arXiv
2602.08559); PLUM's options (arXiv 2510.07784): books that halve make SIDs more unique, masking makes every prefix
reconstruct better, the pull between items heard together shows in their codes; PSRQ (arXiv 2508.20359): late codes keep
their meaning, at the price of unique SIDs.
"""

from collections.abc import Callable
from typing import Any

from tests.bench.support.harness import Check, at_least, at_most, told
from tests.bench.tokenizer_study.views import ALIKE, LEARNED, SENTENCES, WHOLE

Table = dict[str, dict[str, Any]]

_VQ, _MASKED, _PULLED = "rq-vae", "rq-vae, masking", "rq-vae, contrastive"


def judge(name: str, found: dict[str, Any] | None) -> list[Check]:
    """Compare what was claimed with what came out; a data set or torch that is absent is told, not missed."""
    rows: Table = {} if found is None else found["kinds"]
    unheard = None if found is None else found["from_listens"]["unheard"]
    equal = None if found is None else found["equal_vectors"]["shared_share"]
    figures: list[tuple[str, float | None, Callable[..., Check], float | None]] = [
        ("equal_vectors_shared", equal, told, None),
        ("fsq_shared_vs_kmeans", _ratio(rows, "shared_share", "kmeans + fsq", "kmeans"), at_most, 1.0),
        ("rqvae_cosine_above_kmeans", _lead(rows, _VQ), at_most, 0.0),
        ("halving_shared_vs_equal", _ratio(rows, "shared_share", "rq-vae, halving", _VQ), at_most, 1.0),
        ("masking_left_over_1", _ratio(rows, "left_over", _MASKED, _VQ, 0), at_most, 1.0),
        ("masking_left_over_2", _ratio(rows, "left_over", _MASKED, _VQ, 1), at_most, 1.0),
        ("masking_left_over_3", _ratio(rows, "left_over", _MASKED, _VQ, 2), told, None),
        ("contrastive_lift", _share(_lift(rows, _PULLED), _lift(rows, _VQ)), at_least, 1.0),
        ("contrastive_shared_vs_none", _ratio(rows, "shared_share", _PULLED, _VQ), told, None),
        ("psrq_last_code_vs_kmeans", _ratio(rows, "last_code_cosine", "psrq 0.3", "kmeans"), at_least, 1.0),
        ("psrq_equal_weight_shared", rows["psrq 1.0"]["shared_share"] if rows else None, told, None),
        ("random_cosine", rows["random"]["bucket_cosine"] if rows else None, at_most, 0.1),
        ("random_lift", _lift(rows, "random"), at_most, 1.25),
        ("least_cosine_above_random", _least_above_random(rows), at_least, 0.2),
        ("unheard_recall_vs_chance", unheard and unheard["predicted_recall"] / unheard["chance"], at_least, 2.0),
    ]
    if found is not None and "views" in found:
        recalls = {mix: row["recall"] for mix, row in found["views"].items() if isinstance(row, dict)}
        figures += [
            ("learned_weights_vs_alike", _share(recalls[LEARNED], recalls[ALIKE]), told, None),
            ("sentences_vs_whole", _share(recalls[SENTENCES], recalls[WHOLE]), told, None),
        ]
    checks = []
    for figure, value, limit, bound in figures:
        check, absent = f"{figure}_{name}", value is None and _VQ not in rows
        checks.append(told(check, value) if absent or bound is None else limit(check, value, bound))
    return checks


def _ratio(rows: Table, figure: str, above: str, below: str, place: int | None = None) -> float | None:
    if above not in rows or below not in rows:
        return None
    values = [rows[kind][figure] if place is None else rows[kind][figure][place] for kind in (above, below)]
    return _share(*values)


def _share(above: float | None, below: float | None) -> float | None:
    return None if above is None or below is None else float(above) / max(float(below), 1e-9)


def _lead(rows: Table, kind: str) -> float | None:
    row = rows.get(kind)
    if row is None or row["kmeans_cosine_at_as_many_sids"] is None:
        return None
    return float(row["bucket_cosine"] - row["kmeans_cosine_at_as_many_sids"])


def _lift(rows: Table, kind: str) -> float | None:
    # Pairs of listeners left aside on one first code, over chance: few codes for many items bring any two together.
    row = rows.get(kind)
    return None if row is None else _share(row["held_pairs_together"][0], row["held_pairs_by_chance"][0])


def _least_above_random(rows: Table) -> float | None:
    cosines = [row["bucket_cosine"] for kind, row in rows.items() if kind != "random"]
    return min(cosines) - float(rows["random"]["bucket_cosine"]) if cosines else None
