"""The command line: its help, its settings, and its first run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from numpy.typing import NDArray

from segspectral.cli import app
from segspectral.config import load
from segspectral.pipeline import Pipeline
from tests.cli.conftest import ROOT, expected, files, one_error, python, run


class TestStart:
    def test_help_groups_the_commands_by_job(self) -> None:
        shown = run("--help").output
        panels = ["Segment", "Many images", "Evaluate", "Results", "Networks", "Housekeeping"]
        places = [shown.find(f"─ {panel} ─") for panel in panels]
        assert -1 not in places
        assert places == sorted(places)
        assert "─ Commands ─" not in shown  # the panel of commands without a group

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; sys.argv = ['segspectral', '--help']\n"
            "from segspectral.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: assert not end.code\n"
            "heavy = {'torch', 'numpy', 'scipy', 'sklearn', 'skimage', 'timm', 'cv2', 'PIL', 'pydantic', 'yaml'}\n"
            "print('imported:', sorted(heavy & set(sys.modules)))"
        )
        done = python("-c", code)
        assert "imported: []" in done.stdout, done.stdout[-300:] + done.stderr
        assert "segment" in done.stdout

    def test_an_interruption_while_it_is_imported_shows_no_traceback(self) -> None:
        code = (
            "import builtins, runpy\n"
            "real = builtins.__import__\n"
            "def interrupted(name, *rest, **named):\n"
            "    if name == 'segspectral.cli': raise KeyboardInterrupt\n"
            "    return real(name, *rest, **named)\n"
            "builtins.__import__ = interrupted\n"
            "runpy.run_module('segspectral', run_name='__main__')"
        )
        done = python("-c", code)
        assert done.returncode == 130, done.stderr
        assert done.stderr == ""

    def test_an_interruption_of_an_extension_module_shows_no_traceback(self) -> None:
        code = (
            "import segspectral.cli as cli\n"
            "def app():\n"
            "    raise ImportError('initialization failed') from KeyboardInterrupt()\n"  # as pybind11 does
            "cli.app = app\n"
            "cli.main()"
        )
        done = python("-c", code)
        assert (done.returncode, done.stderr) == (130, "")

    @pytest.mark.parametrize("command", [(), ("segment",), ("demo",), ("checks",), ("config",), ("config", "show")])
    def test_every_command_and_option_has_help(self, command: Sequence[str]) -> None:
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert "Usage" in result.output

    def test_every_option_is_described(self) -> None:
        from typer.main import get_command

        def walk(command: object, name: str) -> None:
            for inner, child in getattr(command, "commands", {}).items():
                assert child.help, f"{name} {inner} has no help"
                walk(child, f"{name} {inner}")
            for parameter in command.params:  # type: ignore[attr-defined]
                assert parameter.help or parameter.name == "help", f"{name}: {parameter.name} has no help"

        walk(get_command(app), "segspectral")

    def test_an_option_means_the_same_in_every_command(self) -> None:
        """Options that commands share are declared once: equal names have equal spellings and help."""
        from typer.main import get_command

        seen: dict[str, set[tuple[object, ...]]] = {}
        for command in get_command(app).commands.values():  # type: ignore[attr-defined]
            for parameter in command.params:
                for spelling in parameter.opts:
                    if spelling.startswith("-"):
                        what = (tuple(parameter.opts), parameter.metavar, parameter.help)
                        seen.setdefault(spelling, set()).add(what)
        shared = ("--head", "--backbone", "--refine", "--preset", "--set", "--seed", "--level", "--hierarchy")
        assert set(shared) <= seen.keys()
        for spelling in (*shared, "--format", "--category", "--separator", "--weight", "--config", "--debug"):
            assert len(seen[spelling]) == 1, spelling

    @pytest.mark.parametrize("command", ["segment", "batch", "evaluate", "serve"])
    def test_these_commands_take_all_options_of_a_pipeline(self, command: str) -> None:
        from dataclasses import fields

        from typer.main import get_command

        from segspectral.cli.options import PipelineOptions

        names = {parameter.name for parameter in get_command(app).commands[command].params}  # type: ignore[attr-defined]
        assert {field.name for field in fields(PipelineOptions)} <= names

    def test_the_module_runs_and_tells_its_version(self) -> None:
        from segspectral import __version__

        done = python("-m", "segspectral", "--version")
        assert (done.returncode, done.stdout) == (0, f"segspectral {__version__}\n")

    @pytest.mark.parametrize("arguments", [("sgement",), ("segment",), ("segment", "x.png"), ("segment", "--nope")])
    def test_wrong_usage_ends_with_2(self, arguments: Sequence[str]) -> None:
        assert run(*arguments).exit_code == 2


class TestConfig:
    def test_what_show_prints_loads_to_the_same_settings(self, tmp_path: Path) -> None:
        shown = run("config", "show", "--set", "head=exact", "--set", "refine.iterations=2", "--set", "segments=3")
        assert shown.exit_code == 0
        path = tmp_path / "mine.yaml"
        path.write_text(shown.stdout, encoding="utf-8")
        assert load(path) == Pipeline(head="exact", refine={"name": "crf", "iterations": 2}, segments=3)
        assert run("config", "show", "--config", path).stdout == shown.stdout

    def test_show_alone_prints_the_defaults(self) -> None:
        assert Pipeline.model_validate(yaml.safe_load(run("config", "show").stdout)) == Pipeline()

    def test_presets_are_listed_and_named(self, tmp_path: Path) -> None:
        from segspectral.registry import presets

        listed = run("config", "list").stdout
        for name, path in presets().items():
            assert f"\n{name}\n" in f"\n{listed}"
            first = path.read_text(encoding="utf-8").splitlines()[0]
            assert first.startswith("# ")
            assert first[2:] in listed
        shown = run("config", "show", "--preset", "fast").stdout
        assert Pipeline.model_validate(yaml.safe_load(shown)) == load("fast")
        assert "fsat: there is no such preset; there are cells, fast, quality, " in one_error(
            run("config", "show", "--preset", "fsat")
        )

    def test_what_is_more_special_wins(self, tmp_path: Path) -> None:
        """A preset, a file, a named option and --set each change what the ones before have set."""
        mine = tmp_path / "mine.yaml"
        mine.write_text("superpixels: {iterations: 7}\nseed: 1\nsegments: 3\n", encoding="utf-8")
        options = ("--set", "segments=9", "--seed", 2, "-k", 8, "--config", mine, "--preset", "fast")
        shown = Pipeline.model_validate(yaml.safe_load(run("config", "show", *options).stdout))
        assert shown.working_pixels == load("fast").working_pixels
        assert (shown.superpixels.iterations, shown.seed, shown.segments) == (7, 2, 9)

    def test_the_schema_is_json(self) -> None:
        schema = json.loads(run("config", "schema").stdout)
        assert set(schema["properties"]) == set(Pipeline.model_fields)


class TestChecksAndDemo:
    def test_checks_print_what_a_bug_report_needs(self) -> None:
        result = run("checks")
        assert result.exit_code == 0
        for needed in ("segspectral", "python", "onnxruntime", "torch", "GPU", "threads", "weights from", "refiner"):
            assert needed in result.stdout

    def test_the_demo_segments_the_samples_and_ends_with_three_commands(
        self, tmp_path: Path, cat: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Small copies of all samples, so that the test takes seconds.
        samples = tmp_path / "samples"
        samples.mkdir()
        names = sorted(p.name for p in (ROOT / "sample_images").glob("*.jpg"))
        assert len(names) >= 6
        for name in names:
            with PIL.Image.open(ROOT / "sample_images" / name) as picture:
                picture.resize((96, 72)).save(samples / name)
        monkeypatch.setattr(sys.modules["segspectral.cli.segment"], "sample_images", lambda: samples)
        result = run("demo", "--output", tmp_path / "out")
        assert result.exit_code == 0
        assert files(tmp_path / "out") == expected(*(Path(name).stem for name in names))
        commands = [line.split("#")[0].split() for line in result.stdout.splitlines() if "  segspectral " in line]
        assert len(commands) == 3
        # The commands that are printed are commands that there are.
        for words in commands:
            known = run(*words[1 : 3 if words[1] == "config" else 2], "--help")
            assert known.exit_code == 0
            assert all(option in known.output for option in words if option.startswith("-"))
