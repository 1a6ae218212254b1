"""The README's commands are executed, and its table of commands is the command line's."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from segspectral.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- test -->\n```bash\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_there_are_commands_to_execute() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_works(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_images").symlink_to(ROOT / "sample_images")
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(line, comments=True)
    assert program == "segspectral"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def test_the_table_names_every_command() -> None:
    described = set(re.findall(r"^\| `segspectral (\w+)", README, re.MULTILINE))
    assert described == set(get_command(app).commands)  # type: ignore[attr-defined]


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
