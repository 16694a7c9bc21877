"""The page of all settings, `deploy/settings.md`: the everyday settings first, then the advanced ones by group."""

from collections.abc import Iterable

from sidestream.streams.settings import Settings, env_name, walk_settings

EVERYDAY = (
    "data_dir",
    "artifacts",
    "kafka.bootstrap",
    "kafka.security.protocol",
    "kafka.security.mechanism",
    "kafka.security.username",
    "kafka.security.password",
    "kafka.security.ca_file",
    "broker.kind",
    "topics.prefix",
    "topics.user_partitions",
    "topics.item_partitions",
    "topics.partitioner",
    "topics.replication_factor",
    "worker.app_id",
    "worker.role",
    "lane.guarantee",
    "lane.history_events",
    "session.deadline_ms",
    "recommend.exclude_seen",
    "recommend.reserved_new",
    "recommend.new_within_hours",
    "generations.folder",
    "web.host",
    "web.port",
    "log.format",
)
"""The settings that most installations look at, in the order of the page. All others are advanced."""

_HEAD = """\
# Settings

Written by `make readme`; `sidestream config table` prints the same page.

A setting has the same name everywhere, and where several places give it, the first of this list counts:

1. an option of the command: `--set lane.batch_ms=50`;
2. an environment variable: `SIDESTREAM_LANE__BATCH_MS=50`;
3. `batch_ms = 50` under `[lane]` in `sidestream.toml` (in the working folder, or `--config FILE`).

`sidestream config show` prints the merged settings and where each value came from. An unknown name is refused, with the
nearest one that exists. Secrets come from the environment or the file, never from `--set`: everybody on a machine can
read the arguments of its processes. Older names keep working: `popularity.fresh_hours` is read as
`recommend.new_within_hours`, `recommend.beam_size` as `engine.beam_size`; both with different values are an error.
"""


def settings_page() -> str:
    """Write the page: all settings with their environment variables, defaults and meanings."""
    rows = {name: _row(name, value, description) for name, value, description in walk_settings(Settings())}
    groups: dict[str, list[str]] = {}
    for name, row in rows.items():
        if name not in EVERYDAY:
            groups.setdefault(name.partition(".")[0], []).append(row)
    sections = [_section("## Everyday settings", (rows[name] for name in EVERYDAY))]
    sections.append(
        f"## Advanced settings\n\n{len(rows) - len(EVERYDAY)} settings whose defaults were measured or follow from "
        "others. Change one for a reason.\n"
    )
    sections += [_section(f"### `{group}`", found) for group, found in groups.items()]
    return "\n".join((_HEAD, *sections))


def _section(title: str, rows: Iterable[str]) -> str:
    head = ("| setting | environment | default | meaning |", "|---|---|---|---|")
    return "\n".join((title, "", *head, *rows, ""))


def _row(name: str, value: object, description: str) -> str:
    meaning = " ".join(description.split()).replace("|", "\\|")
    return f"| `{name}` | `{env_name(name)}` | `{value}` | {meaning} |"
