"""What Python may import: never a module of the current folder because a user stands there.

``python -c`` and ``python -m`` put the current folder before the standard library, and so does an empty entry in
PYTHONPATH. A folder of somebody's images may hold a ``queue.py``, which must not run because a user stands there.
"""

import os
import sys

__all__ = ["safe_path"]


def safe_path() -> list[str]:
    """``sys.path`` without the current folder, unless this package or the program that runs lies in it."""
    try:
        here = os.path.realpath(os.curdir)
    except FileNotFoundError:  # somebody has removed it, and whoever makes it again may fill it
        return [p for p in sys.path if os.path.isabs(p)]
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    trusted = {os.path.realpath(os.path.join(os.path.dirname(__file__), os.pardir))}
    if program is not None:
        trusted.add(os.path.dirname(os.path.realpath(program)))
    return sys.path[:] if here in trusted else [p for p in sys.path if os.path.realpath(p or os.curdir) != here]
