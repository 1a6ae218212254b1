"""``python -m segspectral`` is ``segspectral``."""

from segspectral.cli import main

if __name__ == "__main__":
    main()
