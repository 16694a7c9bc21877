"""The Settings object: the settings groups of all packages, read from flags, environment and file in that order.

A value is found under the same name everywhere: `--set lane.batch_ms=50`, `SIDESTREAM_LANE__BATCH_MS=50`, or
`batch_ms = 50` under `[lane]` in `sidestream.toml`.

The settings are read once, by the command line, and passed in; no other module reads the environment.

Secrets (`SecretStr` fields) are read from the environment or the file only, because every user of a machine can read
the arguments of its processes. They are masked wherever settings are shown, and no message contains their values.
"""

import difflib
import itertools
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sidestream.models.data.settings import ImportSettings
from sidestream.models.recommend.settings import RecommendSettings
from sidestream.models.records.faults import told
from sidestream.models.settings import EngineSettings
from sidestream.models.training.settings import TrainSettings
from sidestream.models.world.settings import WorldSettings
from sidestream.streams.broker.settings import KAFKA_FOLDER, BrokerSettings
from sidestream.streams.catalogue.settings import CatalogueSettings
from sidestream.streams.contracts.settings import TopicSettings
from sidestream.streams.demo.settings import DemoSettings
from sidestream.streams.dotted import holds, merge, nest
from sidestream.streams.errors import SettingsError
from sidestream.streams.generations.settings import GenerationSettings
from sidestream.streams.kafka.settings import KafkaSettings
from sidestream.streams.listens.settings import LaneSettings
from sidestream.streams.popularity.settings import PopularitySettings
from sidestream.streams.replay.settings import ReplaySettings
from sidestream.streams.runtime.logs.settings import LogSettings
from sidestream.streams.sessions.settings import SessionSettings
from sidestream.streams.setting_aliases import with_present_names
from sidestream.streams.tokenizing.settings import AgentSettings
from sidestream.streams.worker.settings import WorkerSettings
from sidestream.streams.worker.web.settings import WebSettings
from sidestream.tokenizer.live.settings import LiveSettings
from sidestream.tokenizer.settings import TokenizerSettings

ENV_PREFIX = "SIDESTREAM_"
DEFAULT_FILE = Path("sidestream.toml")
MASK = "********"


class Settings(BaseSettings):
    """All settings of Sidestream, in groups."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        # pydantic's error, the cause of ours, would print the input.
        hide_input_in_errors=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(
        default=Path("var"),
        description="Folder for the worker's local state, the local broker's log and the demo's data.",
    )
    artifacts: Path | None = Field(
        default=None,
        description="Folder with `tokenizer/` and `model/`: the pair that serves. None: the shipped demo pair.",
    )

    worker: WorkerSettings = WorkerSettings()
    kafka: KafkaSettings = KafkaSettings()
    broker: BrokerSettings = BrokerSettings()
    topics: TopicSettings = TopicSettings()
    lane: LaneSettings = LaneSettings()
    session: SessionSettings = SessionSettings()
    recommend: RecommendSettings = RecommendSettings()
    engine: EngineSettings = EngineSettings()
    catalogue: CatalogueSettings = CatalogueSettings()
    popularity: PopularitySettings = PopularitySettings()
    agent: AgentSettings = AgentSettings()
    live: LiveSettings = LiveSettings()
    generations: GenerationSettings = GenerationSettings()
    web: WebSettings = WebSettings()
    log: LogSettings = LogSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    train: TrainSettings = TrainSettings()
    importing: ImportSettings = ImportSettings()
    world: WorldSettings = WorldSettings()
    replay: ReplaySettings = ReplaySettings()
    demo: DemoSettings = DemoSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use the constructor's values only, older names too: `load_settings` merges environment and file itself."""
        del env_settings, dotenv_settings, file_secret_settings
        ((_, groups),) = with_present_names([("constructor", init_settings())])
        return (InitSettingsSource(settings_cls, groups),)


def load_settings(
    flags: Mapping[str, Any] | None = None, file: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[Settings, dict[str, str]]:
    """Merge flags, environment and file into settings.

    Args:
        flags: Values by dotted name (`lane.batch_ms`); they take precedence.
        file: TOML file; by default `sidestream.toml` in the working folder, if it exists.
        env: Environment; that of the process by default.

    Returns:
        The settings, and for every dotted name the source of its value: flag, environment, file or default.

    Raises:
        SettingsError: A name is unknown, a value does not fit, the file cannot be read, or a setting is given by its
            older name too, with another value.
    """
    layers = with_present_names(
        [
            ("flag", nest(flags or {})),
            ("environment", _from_environment(os.environ if env is None else env)),
            ("file", _from_file(file)),
        ]
    )
    merged: dict[str, Any] = {}
    for _, layer in reversed(layers):
        merge(merged, layer)
    _put_broker_into_data_dir(merged)
    try:
        settings = Settings(**merged)
    except ValidationError as exc:
        raise SettingsError(explain(exc)) from exc
    origins = {}
    for name, _, _ in walk_settings(settings):
        found = [origin for origin, layer in layers if holds(layer, name.split("."))]
        origins[name] = found[0] if found else "default"
    return settings, origins


def _put_broker_into_data_dir(merged: dict[str, Any]) -> None:
    data_dir, broker = merged.get("data_dir"), merged.get("broker", {})
    if isinstance(data_dir, str | Path) and isinstance(broker, dict):
        merged["broker"] = {"data_dir": Path(data_dir) / KAFKA_FOLDER, **broker}


def walk_settings(group: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Iterate over all settings, depth first.

    Args:
        group: The settings or one group of them.
        prefix: Dotted name of the group, with a trailing dot.

    Yields:
        Dotted name, value (secrets masked), and description.
    """
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            yield from walk_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", MASK if isinstance(value, SecretStr) and value else value, field.description or ""


def secret_names(group: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """List the settings that are secrets.

    Args:
        group: Class of the settings or of one group of them.
        prefix: Dotted name of the group, with a trailing dot.

    Yields:
        Dotted names.
    """
    for name, field in group.model_fields.items():
        kinds = (field.annotation, *get_args(field.annotation))
        if SecretStr in kinds:
            yield f"{prefix}{name}"
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from secret_names(kind, f"{prefix}{name}.")


def given_secrets(flags: Mapping[str, Any]) -> list[str]:
    """Find secrets among flags, including those inside whole groups.

    Args:
        flags: Values by dotted name.

    Returns:
        Dotted names of the given secrets.
    """
    nested = nest(flags)
    return [name for name in secret_names() if holds(nested, name.split("."))]


def flags_of(group: BaseModel, prefix: str) -> dict[str, Any]:
    """Convert a group to flags, to pass it to another process.

    Args:
        group: The group.
        prefix: Its dotted name, with a trailing dot.

    Returns:
        Values that differ from their defaults, by dotted name; secrets stay `SecretStr`.
    """
    flags: dict[str, Any] = {}
    for name, field in type(group).model_fields.items():
        value = getattr(group, name)
        if isinstance(value, BaseModel):
            flags |= flags_of(value, f"{prefix}{name}.")
        elif value != field.default:
            flags[f"{prefix}{name}"] = str(value) if isinstance(value, Path) else value
    return flags


def env_name(name: str) -> str:
    """Return the environment variable of a dotted setting name, for example `lane.batch_ms`."""
    return ENV_PREFIX + name.upper().replace(".", "__")


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    # pydantic-settings reads os.environ; an injected mapping is parsed by the same source.
    source = EnvSettingsSource(Settings)
    source.env_vars = {key.lower(): value for key, value in env.items()}
    return source()


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        if not DEFAULT_FILE.exists():
            return {}
        file = DEFAULT_FILE
    if not file.is_file():
        msg = f"settings file {file}: expected a TOML file, found none; check --config"
        raise SettingsError(msg)
    try:
        # Editors put a BOM before the text, which TOML knows nothing of.
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except ValueError as exc:
        msg = f"settings file {file}: invalid TOML ({exc}); correct that line"
        raise SettingsError(msg) from exc


def explain(exc: ValidationError, prefix: str = "") -> str:
    """Describe in one line which settings are invalid, and how each is set.

    Args:
        exc: The validation errors.
        prefix: Dotted name of the validated group, with a trailing dot.

    Returns:
        One line, without secrets.
    """
    lines = []
    secrets = set(secret_names())
    for error in exc.errors():
        # List elements have no environment variable, and the error of a whole group has no location at all.
        place = [str(part) for part in itertools.takewhile(lambda part: not isinstance(part, int), error["loc"])]
        name = (prefix + ".".join(place)).rstrip(".")
        # A whole group may contain a secret.
        is_shown = name not in secrets and not isinstance(error["input"], Mapping | BaseModel)
        fault = _unknown(name) if error["type"] == "extra_forbidden" else told(error, shows_value=is_shown)
        lines.append(f"setting {name} (--set {name}=…, {env_name(name)}): {fault}")
    return "; ".join(lines) + "; `sidestream config show` lists all settings"


def _unknown(name: str) -> str:
    near = nearest_setting(name)
    return "unknown setting" + (f", did you mean {near}?" if near else "")


def nearest_setting(name: str) -> str | None:
    """Find the setting or group that was probably meant.

    Args:
        name: Dotted name of no setting or group.

    Returns:
        One with a similar name, or the only setting with a similar last part; None if there is none.
    """
    known = [known for known, _, _ in walk_settings(Settings())]
    groups = {group for known_name in known for group in itertools.accumulate(known_name.split(".")[:-1], _dotted)}
    near = difflib.get_close_matches(name, [*known, *groups], n=1, cutoff=0.75)
    if near:
        return near[0]
    leaf = name.rpartition(".")[2]
    alike = [known for known in known if difflib.SequenceMatcher(None, leaf, known.rpartition(".")[2]).ratio() >= 0.85]
    return alike[0] if len(alike) == 1 else None


def _dotted(group: str, name: str) -> str:
    return f"{group}.{name}"
