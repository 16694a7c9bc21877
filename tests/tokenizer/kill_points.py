"""Simulated kills of a process while it writes, after every single change to the file system."""

import builtins
import io
import os
from contextlib import contextmanager, suppress

import pytest

from sidestream.tokenizer import folders

# Calls that change names of folders: enough where a publisher only has to be shown to leave the rest to `folders`.
FOLDERS = ("mkdir", "rename", "replace", "rmdir", "swap")
EVERY_CHANGE = (*FOLDERS, "unlink", "remove", "fsync", "symlink", "link", "open")


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the code under test changes anything after it."""


class Kill:
    """Lets so many changes to the file system happen, and then no more.

    Args:
        after: Changes that still happen.
        once: One change is interrupted, and those after it happen: what a keyboard interrupt does.

    Attributes:
        happened: Whether it came to the kill.
        changes: What was changed, in order: (name of the call, its first argument).
    """

    def __init__(self, after, *, once=False):
        self.after = after
        self.once = once
        self.happened = False
        self.changes = []

    def wrap(self, name, call):
        def counted(*args, **kwargs):
            self._die_if_due()
            result = call(*args, **kwargs)
            self.changes.append((name, args[0]))
            try:
                self._die_if_due()
            except Killed:
                if name == "open":
                    result.close()
                raise
            return result

        return counted

    def wrap_open(self, call):
        changing = self.wrap("open", call)

        def opened(file, mode="r", *args, **kwargs):
            return (changing if set(mode) & set("wax+") else call)(file, mode, *args, **kwargs)

        return opened

    def _die_if_due(self):
        if len(self.changes) >= self.after and not (self.once and self.happened):
            self.happened = True
            raise Killed


@contextmanager
def killed(after, *, swap=True, changes=EVERY_CHANGE, once=False):
    """Run a block that is killed after so many changes to the file system.

    Args:
        after: Changes that still happen.
        swap: Whether the file system can swap two folders.
        changes: The calls that count as changes.
        once: As for `Kill`.
    """
    kill = Kill(after, once=once)
    with pytest.MonkeyPatch.context() as patch:
        for name in set(changes) - {"open", "swap"}:
            patch.setattr(os, name, kill.wrap(name, getattr(os, name)))
        if "open" in changes:
            opened = kill.wrap_open(io.open)
            for module in (builtins, io):
                patch.setattr(module, "open", opened)
        exchange = folders._exchange
        patch.setattr(folders, "_exchange", kill.wrap("swap", exchange) if swap else lambda *_: False)
        with suppress(Killed):
            yield kill


def check_every_kill(
    tmp_path, save, load, missing, *, swap=True, reader_first=True, changes=EVERY_CHANGE, replacing=(True, False)
):
    """Kill a publisher after each of its changes, and check what the next reader and the next publisher meet.

    Args:
        tmp_path: Free folder.
        save: save(place, version) publishes version "old" or "new".
        load: load(place) returns which of the two is there.
        missing: The error that `load` raises if the folder is missing.
        swap: Whether the file system can swap two folders.
        reader_first: Whether a reader or a publisher comes first after the kill.
        changes: The calls that count as changes.
        replacing: Whether an old version exists when the killed publisher starts.

    Returns:
        How many kills there were.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Nothing here outlives the kernel, and thousands of waits for a disk would take minutes.
        patch.setattr(os, "fsync", lambda _: None)
        kinds = {"swap": swap, "reader_first": reader_first, "changes": changes}
        return sum(_check(tmp_path, save, load, missing, replaces=replaces, **kinds) for replaces in replacing)


def _check(tmp_path, save, load, missing, *, swap, reader_first, changes, replaces):
    for after in range(10_000):
        place = tmp_path / f"{replaces}-{after}" / "place"
        place.parent.mkdir()
        if replaces:
            save(place, "old")
        with killed(after, swap=swap, changes=changes) as kill:
            save(place, "new")
        if not kill.happened:
            return after
        if reader_first:
            _read_after_a_kill(place, load, missing, replaces=replaces)
        save(place, "new")
        assert load(place) == "new"
        assert [path.name for path in place.parent.iterdir()] == ["place"], f"leftovers after change {after}"
    raise AssertionError("never done")


def _read_after_a_kill(place, load, missing, *, replaces):
    try:
        assert load(place) in (("old", "new") if replaces else ("new",))
    except missing:
        assert not replaces
        assert not place.exists()
