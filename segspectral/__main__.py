"""``python -m segspectral`` is ``segspectral``."""

import sys

from segspectral.safepath import safe_path

sys.path[:] = safe_path()  # before anything else is imported

from segspectral.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
