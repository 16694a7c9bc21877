"""Lazy package exports: names are imported on first use, so that a package's settings load without its code.

`import sidestream.streams.settings` reads a small `settings.py` from each of 21 packages. Importing one runs the
package's `__init__`, which used to import every name eagerly and with it numpy, Kafka clients and the whole program:
1.3 s of CPU before any command started.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Create a package's `__getattr__`; the package imports the same names under `TYPE_CHECKING` for type checkers.

    Args:
        package: The package's `__name__`.
        modules: Names by the module that defines them. A name must differ from every module name of the package: the
            import system would bind the module instead.

    Returns:
        The function to assign to `__getattr__`.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return get
