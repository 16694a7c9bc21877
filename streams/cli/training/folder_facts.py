"""What commands that make a log folder have in common: the option to replace one, and what is printed of it."""

from pathlib import Path
from typing import Annotated

import typer

from sidestream.models.data.manifest import Manifest

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a log folder at DST.")]


def manifest_facts(manifest: Manifest, folder: Path) -> dict[str, object]:
    """Say what a log folder holds.

    Args:
        manifest: Of the folder.
        folder: Where it is.

    Returns:
        Facts by name, in display order.
    """
    counts = manifest.counts
    return {
        "folder": str(folder),
        "name": manifest.name,
        "items": counts.items,
        "listeners": counts.listeners,
        "listens": counts.listens,
        "sessions": counts.sessions,
        "heldout_test": counts.heldout_test,
        "events_are": manifest.events_are,
        "clock": f"{manifest.clock.kind}: {manifest.clock.statement}",
        "split": f"{manifest.split.protocol}: {manifest.split.statement}",
        "licence": manifest.licence,
        "notes": list(manifest.notes),
    }
