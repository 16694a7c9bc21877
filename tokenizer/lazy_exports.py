"""Packages whose names are imported when they are first asked for: settings of a package then load without its code.

`import sidestream.streams.settings` reads a small `settings.py` from each of 21 packages. Importing one runs the
package's `__init__`, and with every name imported there at once, numpy, Kafka clients and the whole program came along:
1.3 s of CPU before any command did anything.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(package: str, modules: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Make a package's `__getattr__`; the package imports the same names under `TYPE_CHECKING` for type checkers.

    Args:
        package: The package's `__name__`.
        modules: Names by the module of the package that defines them. None may be called like a module of the
            package: the import system would put the module in its place.

    Returns:
        The function to be assigned to `__getattr__`.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in homes:
            msg = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return get
