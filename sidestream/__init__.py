"""Sidestream: a streaming, real-time, generative recommender for audio.

Public API; everything else under `sidestream.` is internal and may change without notice:

* `Recommender`: a trained pair and a catalogue in this process; recommends for a list of item ids, without Kafka.
* `SidestreamClient`: publishes listens, items and session-starts to Kafka, and consumes candidate sets.
* `ReplayDriver`: runs the whole loop over a log folder without a broker, with the same results in every run.
* `sidestream.testing`: pytest fixtures: a builder of log folders, and the broker-free driver.
* `__version__`: version of the installed package.

Names are loaded on first use, so that `import sidestream` is fast.
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
