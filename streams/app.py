"""Entry points of the worker: `create_app(settings)` builds it, `run_worker(settings)` runs it.

`faust -A sidestream.streams.app worker` works too: the attribute `app` is built on first use, from the environment and
the settings file.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from sidestream.streams.errors import SettingsError
from sidestream.streams.generations.pair import SETTING, Pair, load_pair
from sidestream.streams.generations.pair_loader import LoadPair
from sidestream.streams.runtime.logs.log import set_up_logging
from sidestream.streams.runtime.metrics import Metrics
from sidestream.streams.settings import Settings, load_settings
from sidestream.streams.worker.build import WorkerParts
from sidestream.streams.worker.folder import own_folder
from sidestream.streams.worker.run import run

__all__ = ["create_app", "run_worker"]


def create_app(
    settings: Settings, pair: Pair | None = None, metrics: Metrics | None = None, load: LoadPair | None = None
) -> WorkerParts:
    """Build a worker; nothing is connected or started.

    Args:
        settings: All settings; `kafka.bootstrap` must be given.
        pair: The pair to serve; loaded from `settings.artifacts` by default.
        metrics: Its metrics; new ones by default.
        load: Loads the pair folders of other generations; `load_pair` by default.

    Returns:
        The parts; `parts.app` is the Faust app.

    Raises:
        ArtifactError: The pair is missing or damaged, or its parts do not belong together.
        SettingsError: A setting is missing.
    """
    if pair is None:
        if settings.artifacts is None:
            msg = (
                "artifacts: expected a folder with `tokenizer/` and `model/`, got none; give one with "
                "--set artifacts=… (SIDESTREAM_ARTIFACTS), or use that of the demo"
            )
            raise SettingsError(msg)
        pair = load_pair(
            settings.artifacts, settings.engine, with_model=settings.worker.role != "tokenize", named=SETTING
        )
    return WorkerParts(settings, pair, metrics if metrics is not None else Metrics(), load)


def run_worker(
    settings: Settings,
    pair: Pair | None = None,
    load: LoadPair | None = None,
    on_listening: Callable[[str], None] = lambda url: None,
) -> int:
    """Build a worker and run it until a signal stops it or it fails.

    Args:
        settings: All settings.
        pair: The pair to serve; loaded from `settings.artifacts` by default.
        load: Loads the pair folders of other generations; `load_pair` by default.
        on_listening: Called with the URL of its pages as soon as they can be asked for.

    Returns:
        Exit code: 0 after SIGTERM or SIGINT, otherwise non-zero with the reason in the log.

    Raises:
        ArtifactError: The pair is missing or damaged, or its parts do not belong together.
        SettingsError: A setting is missing.
    """
    set_up_logging(settings.log)
    asyncio.set_event_loop(asyncio.new_event_loop())
    with own_folder(settings) as held:
        parts = create_app(held, pair, load=load)
        parts.web.on_listening = on_listening
        return run(parts)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    settings, _ = load_settings()
    globals()["_parts"] = parts = create_app(settings)
    globals()["app"] = parts.app
    return parts.app
