"""Sidestream: a streaming, real-time, generative recommender for audio.

Public API; everything else under `sidestream.` is internal and may change without notice:

* `Recommender`: a trained pair and a catalogue in this process; recommends for a list of item ids, without Kafka.
* `SidestreamClient`: publish listens, items and session-starts to Kafka, consume candidate sets.
* `ReplayDriver`: the whole loop over a log folder without a broker, the same answers at every run.
* `sidestream.testing`: pytest fixtures: log folders made in a few lines, and the broker-free driver.
* `__version__`: of the installed package.

Names are loaded when they are first used, so that `import sidestream` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidestream.recommender import Recommendation, Recommendations, Recommender
    from sidestream.streams.client import SidestreamClient
    from sidestream.streams.replay.driver import ReplayDriver

    __version__: str

__all__ = ["Recommender", "Recommendation", "Recommendations", "SidestreamClient", "ReplayDriver", "__version__"]

_HOMES = {
    "Recommender": "sidestream.recommender",
    "Recommendation": "sidestream.recommender",
    "Recommendations": "sidestream.recommender",
    "SidestreamClient": "sidestream.streams.client",
    "ReplayDriver": "sidestream.streams.replay.driver",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sidestream")
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    msg = f"module 'sidestream' has no attribute {name!r}; the public names are {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
