#!/usr/bin/env python3
"""Make a release: version, changelog, commit, tag, distributions in dist/, which are tried in a new environment.

    tools/release.py 0.2.0            # everything but sending it: the last lines say how
    tools/release.py 0.2.0 --dry-run  # only say what would be done

The version is written in pyproject.toml, segspectral/__init__.py and CITATION.cff. What stands in CHANGELOG.md under
"Unreleased" becomes the section of the release. The tree must be clean, so that the tag is what is built.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]

Change = Callable[[str], str]


def replaced(pattern: str, replacement: str) -> Change:
    """A change of one place in a text. Raises SystemExit if there is not exactly one such place."""

    def change(text: str) -> str:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if count != 1:
            sys.exit(f"'{pattern}' occurs {count} times, not once")
        return text

    return change


def changes(version: str, day: datetime.date) -> dict[str, Change]:
    """File -> what a release changes in it."""
    return {
        "pyproject.toml": replaced(r'^version = ".*"$', f'version = "{version}"'),
        "segspectral/__init__.py": replaced(r'^__version__ = ".*"$', f'__version__ = "{version}"'),
        "CITATION.cff": lambda text: replaced(r'^version: ".*"$', f'version: "{version}"')(
            re.sub(r"^date-released: .*\n", "", text, flags=re.MULTILINE).rstrip() + f"\ndate-released: {day}\n"
        ),
        "CHANGELOG.md": replaced(r"^## Unreleased$", f"## Unreleased\n\n## {version} ({day})"),
    }


def notes(changelog: str, heading: str) -> str:
    """The section of the changelog below a heading."""
    found = re.search(rf"^## {re.escape(heading)}.*?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found.group(1).strip() if found else ""


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def try_out(wheel: Path) -> None:
    """Install the wheel in a new environment, outside the checkout, and segment a sample."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(sys.executable, "-m", "venv", place / "venv")
        python = place / "venv/bin/python"
        run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel)
        run(python, "-m", "segspectral", "demo", "cat.jpg", "-o", place / "out")
        print(
            f"{wheel.name}: installed in a new environment, {len(list((place / 'out').iterdir()))} results of cat.jpg"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", help="such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    options = parser.parse_args()
    version = options.version
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        parser.error(f"'{version}' is no version such as 0.2.0 or 0.2.0rc1")
    if f"v{version}" in run("git", "tag").split():
        parser.error(f"there is a tag v{version} already")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not notes(changelog, "Unreleased"):
        parser.error("CHANGELOG.md has nothing under Unreleased")
    made = {
        name: change((ROOT / name).read_text(encoding="utf-8"))
        for name, change in changes(version, datetime.date.today()).items()
    }
    if options.dry_run:
        print(f"would write {', '.join(made)}, commit, tag v{version}, and build. The notes of the release:\n")
        print(notes(made["CHANGELOG.md"], version))
        return
    if changed := run("git", "status", "--porcelain"):
        parser.error(f"the tree is not clean:\n{changed}")
    for name, text in made.items():
        (ROOT / name).write_text(text, encoding="utf-8")
    run("git", "commit", "--quiet", "--all", "--message", f"Version {version}")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "-d", "dist")
    (wheel,) = (ROOT / "dist").glob("*.whl")
    try_out(wheel)
    run("git", "tag", "--annotate", f"v{version}", "--message", notes(made["CHANGELOG.md"], version))
    print(f"dist/ holds what belongs to the tag v{version}. To send it:")
    print(f"  git push && git push origin v{version}\n  python -m twine upload dist/*")


if __name__ == "__main__":
    main()
