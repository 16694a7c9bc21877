"""Where tasks wait, as seen from the watchdog's thread."""

import asyncio
import threading
import types

from sidestream.streams.worker.watch import waits


async def outer(event):
    await inner(event)


async def inner(event):
    await event.wait()


@types.coroutine
def old_style(event):
    yield from event.wait()


def seen_from_a_thread(monkeypatch, *makers):
    """Run tasks until they wait, and look from another thread while the loop sleeps."""
    monkeypatch.setattr(waits, "_OURS", __file__)

    async def run():
        event, loop, found = asyncio.Event(), asyncio.get_running_loop(), []
        tasks = [asyncio.create_task(maker(event)) for maker in makers]
        await asyncio.sleep(0)
        look = threading.Thread(target=lambda: found.extend(waits.task_waits(loop)))
        look.start()
        await asyncio.to_thread(look.join)
        event.set()
        await asyncio.gather(*tasks)
        return found

    return asyncio.run(run())


def test_await_chains_are_listed_from_the_outermost_call(monkeypatch):
    places = [place for place in seen_from_a_thread(monkeypatch, outer) if "outer" in place]
    (place,) = places
    first, second, *rest = place.split(" > ")
    line = inner.__code__.co_firstlineno + 1
    assert first.startswith("outer (test_waits.py:")
    assert second == f"inner (test_waits.py:{line})"
    assert rest[0].startswith("wait (locks.py:")


def test_equal_places_are_listed_once_with_their_count(monkeypatch):
    found = seen_from_a_thread(monkeypatch, outer, outer, outer)
    assert [place for place in found if place.startswith("3 x outer (")]


def test_generators_are_followed(monkeypatch):
    async def wait(event):
        await old_style(event)

    (place,) = [place for place in seen_from_a_thread(monkeypatch, wait) if "old_style" in place]
    assert place.index("wait (") < place.index("old_style (") < place.index("locks.py")


def test_tasks_of_libraries_only_are_omitted(monkeypatch):
    def only_library(event):
        return event.wait()

    found = seen_from_a_thread(monkeypatch, only_library)
    assert all("locks.py" not in place for place in found)


def test_a_closed_loop_has_no_waits():
    loop = asyncio.new_event_loop()
    loop.close()
    assert waits.task_waits(loop) == []
