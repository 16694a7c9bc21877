import gc

from sidestream.streams.runtime.garbage_collection import collect_and_freeze


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
