"""The import path without the current folder, so that a file in a folder of images never runs as a Python module.

``python -c`` and ``python -m`` put the current folder before the standard library, and so does an empty entry in
PYTHONPATH. A folder with images from somebody else may contain a ``queue.py``. That file must not run only because the
user works in that folder.
"""

import os
import sys

__all__ = ["safe_path"]


def safe_path() -> list[str]:
    """Return ``sys.path`` without the current folder, unless this package or the running program lies in it."""
    try:
        here = os.path.realpath(os.curdir)
    except FileNotFoundError:  # the current folder was removed, and whoever creates it again can put files there
        return [p for p in sys.path if os.path.isabs(p)]
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    trusted = {os.path.realpath(os.path.join(os.path.dirname(__file__), os.pardir))}
    if program is not None:
        trusted.add(os.path.dirname(os.path.realpath(program)))
    return sys.path[:] if here in trusted else [p for p in sys.path if os.path.realpath(p or os.curdir) != here]
