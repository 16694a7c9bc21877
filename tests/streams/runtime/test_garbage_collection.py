import gc

from sidestream.streams.runtime.garbage_collection import THRESHOLDS, collect_and_freeze, rare_collections


def test_live_objects_are_excluded_from_collections_until_the_next_freeze():
    held = [[] for _ in range(1_000)]
    before = gc.get_freeze_count()
    try:
        collect_and_freeze()
        frozen = gc.get_freeze_count()
        assert frozen >= before + len(held)
        held.clear()
        collect_and_freeze()
        assert gc.get_freeze_count() < frozen
    finally:
        gc.unfreeze()


def test_full_collections_are_rare_while_a_worker_runs():
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold() == THRESHOLDS
    assert gc.get_threshold() == before
