"""``python -m segspectral`` is ``segspectral``."""

import sys

from segspectral.safepath import safe_path

sys.path[:] = safe_path()  # before anything else is imported

from segspectral.imports import no_collection  # noqa: E402

try:
    with no_collection():
        from segspectral.cli import main
except KeyboardInterrupt:  # Ctrl-C in the first instant
    sys.exit(130)

if __name__ == "__main__":
    main()
