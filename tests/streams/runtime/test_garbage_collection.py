import gc

from sidestream.streams.runtime.garbage_collection import settle


def test_what_is_alive_is_left_out_of_collections_until_it_settles_again():
    held = [[] for _ in range(1_000)]
    before = gc.get_freeze_count()
    try:
        settle()
        frozen = gc.get_freeze_count()
        assert frozen >= before + len(held)
        held.clear()
        settle()
        assert gc.get_freeze_count() < frozen
    finally:
        gc.unfreeze()
