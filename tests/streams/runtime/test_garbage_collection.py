import gc

from sidestream.streams.runtime.garbage_collection import collect_and_freeze


def test_what_is_alive_is_left_out_of_collections_until_it_settles_again():
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
