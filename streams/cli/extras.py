"""Optional packages: a command that needs one says so in one line before anything starts, and how to install it."""

import importlib.util
from typing import TYPE_CHECKING

from sidestream.streams.errors import MissingPackage

if TYPE_CHECKING:
    from sidestream.streams.settings import Settings

_ENGINE = {"onnxruntime": "cpu"}
_BROKER = {"confluent_kafka": "embedded"}
_TRAINING = {name: "train" for name in ("torch", "safetensors", "onnx", "onnxscript", "matplotlib")}
_NAMES = {"confluent_kafka": "confluent-kafka"}


def require_engine(what: str) -> None:
    """Refuse what answers session-starts without ONNX Runtime.

    Args:
        what: What needs it.

    Raises:
        MissingPackage: It is not installed.
    """
    _require(what, _ENGINE)


def require_training(what: str) -> None:
    """Refuse training and export without torch and its kin; training evaluates too, so it needs the engine.

    Args:
        what: What needs them.

    Raises:
        MissingPackage: One is not installed.
    """
    _require(what, _TRAINING | _ENGINE)


def require_torch(what: str) -> None:
    """Refuse what torch alone is needed for.

    Args:
        what: What needs it.

    Raises:
        MissingPackage: It is not installed.
    """
    _require(what, {"torch": _TRAINING["torch"]})


def require_broker_library(settings: "Settings", what: str) -> None:
    """Refuse to start an embedded broker, where one is asked for, without its library.

    Args:
        settings: All settings.
        what: What needs it.

    Raises:
        MissingPackage: It is not installed.
    """
    if settings.broker.kind == "embedded" and not settings.kafka.bootstrap:
        _require(f"{what} with broker.kind=embedded", _BROKER)


def _require(what: str, packages: dict[str, str]) -> None:
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(_NAMES.get(name, name) for name in missing)
        extras = ",".join(dict.fromkeys(packages[name] for name in missing))
        state = "is not installed" if len(missing) == 1 else "are not installed"
        msg = f"{what} needs {names}, which {state}; run pip install 'sidestream[{extras}]'"
        raise MissingPackage(msg)
