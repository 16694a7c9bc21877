"""The comparison sheet of tokenizers: its checks, its kept rows, and its smallest size on real data where that is."""

import os
from pathlib import Path

import pytest

from tests.bench.support.smoke import last_line
from tests.bench.tokenizer_study.claims import judge
from tests.bench.tokenizer_study.kinds import kmeans_cosine
from tests.bench.tokenizer_study.rows import KeptRows

CHECKS = (
    "equal_vectors_shared",
    "fsq_shared_vs_kmeans",
    "rqvae_cosine_above_kmeans",
    "halving_shared_vs_equal",
    "masking_left_over_1",
    "masking_left_over_2",
    "masking_left_over_3",
    "contrastive_lift",
    "contrastive_shared_vs_none",
    "psrq_last_code_vs_kmeans",
    "psrq_equal_weight_shared",
    "random_cosine",
    "random_lift",
    "least_cosine_above_random",
    "unheard_recall_vs_chance",
)
KINDS = ("kmeans", "kmeans + fsq", "psrq 0.3", "psrq 1.0", "random", "rq-vae")
OPTIONS = ("rq-vae, halving", "rq-vae, masking", "rq-vae, contrastive")
LISTENS = {"unheard": {"predicted_recall": 0.1, "chance": 0.01}}


def row(shared=0.5, cosine=0.6, left=(0.7, 0.6, 0.5), together=0.2, last=0.1, matched=0.7):
    return {
        "shared_share": shared,
        "bucket_cosine": cosine,
        "last_code_cosine": last,
        "left_over": list(left),
        "held_pairs_together": [together, 0.1, 0.0],
        "held_pairs_by_chance": [0.05, 0.01, 0.0],
        "kmeans_cosine_at_as_many_sids": matched,
    }


def missed(**changed):
    table = {kind: row() for kind in (*KINDS, *OPTIONS)}
    table["random"] = row(cosine=0.0, left=(), together=0.05)
    table |= {kind.replace("_", ", "): changes for kind, changes in changed.items()}
    checks = judge("set", {"kinds": table, "from_listens": LISTENS, "equal_vectors": {"shared_share": 0.1}})
    assert [check.name for check in checks] == [f"{name}_set" for name in CHECKS]
    return {check.name.removesuffix("_set") for check in checks if not check.ok}


def test_a_claim_that_does_not_hold_is_a_miss():
    assert missed() == set()
    assert missed(kmeans=row(shared=0.4)) == {"fsq_shared_vs_kmeans"}
    assert missed(**{"rq-vae": row(matched=0.5)}) == {"rqvae_cosine_above_kmeans"}
    assert missed(**{"rq-vae, halving": row(shared=0.51)}) == {"halving_shared_vs_equal"}
    assert missed(**{"rq-vae, masking": row(left=(0.6, 0.61, 0.6))}) == {"masking_left_over_2"}
    assert missed(**{"rq-vae, contrastive": row(together=0.19)}) == {"contrastive_lift"}
    assert missed(**{"psrq 0.3": row(last=0.09)}) == {"psrq_last_code_vs_kmeans"}
    assert missed(random=row(cosine=0.15, together=0.1)) == {"random_cosine", "random_lift"}


def test_a_cosine_outside_of_the_sweep_is_a_miss_and_absent_data_is_not():
    assert missed(**{"rq-vae": row(matched=None)}) == {"rqvae_cosine_above_kmeans"}
    assert all(check.ok and check.value is None for check in judge("set", None))


def test_cosines_are_compared_at_as_many_sids():
    points = [(100, 0.5), (200, 0.7)]
    assert kmeans_cosine(points, 150) == 0.6
    assert kmeans_cosine(points, 201) is None
    assert kmeans_cosine([], 1) is None


def test_rows_are_made_once_and_a_line_cut_off_is_made_again(tmp_path):
    path, made = tmp_path / "rows.jsonl", []
    first = KeptRows(path)
    assert first(["a", 1], lambda: made.append("a") or {"x": (1, 2)}) == {"x": [1, 2]}
    first(["b", 1], lambda: made.append("b"))
    path.write_text(path.read_text()[:-4])
    again = KeptRows(path)
    assert again(["a", 1], lambda: made.append("a")) == {"x": [1, 2]}
    again(["b", 1], lambda: made.append("b"))
    again(["a", 2], lambda: made.append("other"))
    assert made == ["a", "b", "b", "other"]
    assert len(KeptRows(path).rows) == 3


@pytest.mark.data
def test_tokenizers_end_with_their_checks():
    data = Path(os.environ.get("SIDESTREAM_TEST_DATA", "shared/data"))
    if not (data / "amazon18-office").exists():
        pytest.skip(f"no real data at {data}; set SIDESTREAM_TEST_DATA to the folder that holds it")
    line = last_line("tokenizers", "--sets", "office", "--data", str(data))
    views = ("learned_weights_vs_alike", "sentences_vs_whole")
    assert [check["name"] for check in line["checks"]] == [f"{name}_office" for name in (*CHECKS, *views)]
    table = line["results"]["office"]["kinds"]
    assert table["kmeans + fsq"]["shared_share"] < table["kmeans"]["shared_share"] < table["psrq 1.0"]["shared_share"]
    assert table["kmeans"]["bucket_cosine"] > 0.5 > 0.1 > abs(table["random"]["bucket_cosine"])
    assert table["kmeans"]["left_over"] == sorted(table["kmeans"]["left_over"], reverse=True)


def test_tokenizers_say_what_they_skip(tmp_path):
    line = last_line("tokenizers", "--data", str(tmp_path))
    assert line["results"] == {"lastfm": None, "beauty": None, "office": None}
    assert [check["value"] for check in line["checks"]] == [None] * 3 * len(CHECKS)


def test_a_streamed_fit_tells_its_memory():
    line = last_line("tokenizers", "--fit-10m", "--fit-vectors", "20000")
    assert [check["name"] for check in line["checks"]] == ["fit_peak_mb"]
    found = line["results"]["fit"]
    assert (found["num_vectors"], found["codebook_sizes"]) == (20_000, [256, 256, 256])
    assert found["left_over"] < 0.9
    assert found["peak_mb"] > found["peak_mb_before"] > 0
