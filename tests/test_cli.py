"""The command line: what it writes, what it says, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

from segspectral.cli import app
from segspectral.config import load
from segspectral.export import colour_table
from segspectral.pipeline import STAGES, Pipeline

ROOT = Path(__file__).parents[1]
FAST = ("--set", "superpixels.count=80", "--set", "features.cnn=null", "--head", "exact", "--refine", "none")
"""Settings for tests that are about something else."""

EXPECTED = {"{}_labels.png", "{}_overlay.png", "{}_segments.csv", "{}.json"}


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def python(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60, **options
    )


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def expected(*stems: str) -> list[str]:
    return sorted(name.format(stem) for name in EXPECTED for stem in stems)


def one_error(result: Result) -> str:
    """The only line on stderr that is an error."""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert len(errors) == 1, result.stderr
    return errors[0]


@pytest.fixture
def photo(cat: NDArray[np.uint8], tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    PIL.Image.fromarray(cat).save(path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


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


class TestOutputs:
    @pytest.fixture(scope="class")
    @staticmethod
    def result(cat: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
        """The whole pipeline with its defaults, on an image with void."""
        folder = tmp_path_factory.mktemp("whole")
        opacity = np.full(cat.shape[:2], 255, np.uint8)
        opacity[:20, :30] = 0
        PIL.Image.fromarray(np.dstack([cat, opacity])).save(folder / "cat.png")
        done = run("segment", folder / "cat.png", "-o", folder / "out", "-k", 4, "--set", "superpixels.count=80")
        return done, folder / "out"

    def test_it_ends_well_and_tells_where_to_look(self, result: tuple[Result, Path]) -> None:
        done, out = result
        assert done.exit_code == 0
        assert str(out / "cat_overlay.png") in done.stdout
        assert "4 segments" in done.stdout
        assert files(out) == expected("cat")

    def test_labels_are_an_indexed_png_of_segments_and_void(self, result: tuple[Result, Path]) -> None:
        picture = PIL.Image.open(result[1] / "cat_labels.png")
        assert (picture.mode, picture.size) == ("P", (96, 72))
        labels = np.asarray(picture)
        assert np.unique(labels).tolist() == [0, 1, 2, 3, 4]
        assert (labels[:20, :30] == 0).all()
        assert (labels == 0).sum() == 600
        assert picture.getpalette()[:15] == colour_table(5).ravel().tolist()

    def test_the_overlay_is_as_large_as_the_image(self, result: tuple[Result, Path]) -> None:
        picture = PIL.Image.open(result[1] / "cat_overlay.png")
        assert (picture.mode, picture.size) == ("RGB", (96, 72))

    def test_the_table_agrees_with_the_labels(self, result: tuple[Result, Path]) -> None:
        labels = np.asarray(PIL.Image.open(result[1] / "cat_labels.png"))
        rows = list(csv.DictReader(io.StringIO((result[1] / "cat_segments.csv").read_text(encoding="utf-8"))))
        assert [int(row["segment"]) for row in rows] == [1, 2, 3, 4]
        assert [int(row["area"]) for row in rows] == [(labels == s).sum() for s in (1, 2, 3, 4)]
        assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-5)
        for row in rows:
            at = np.argwhere(labels == int(row["segment"]))
            assert [int(row["top"]), int(row["left"])] == at.min(axis=0).tolist()
            assert [int(row["bottom"]), int(row["right"])] == (at.max(axis=0) + 1).tolist()
            assert [float(row["row"]), float(row["column"])] == pytest.approx(at.mean(axis=0).tolist(), abs=0.006)

    def test_the_summary_is_what_a_repetition_needs(self, result: tuple[Result, Path], tmp_path: Path) -> None:
        data = json.loads((result[1] / "cat.json").read_text(encoding="utf-8"))
        assert (data["image"], data["height"], data["width"], data["segments"]) == ("cat.png", 72, 96, 4)
        assert data["void_pixels"] == 600
        assert list(data["seconds"]) == list(STAGES)
        assert 0 < data["ncut"] < 4
        assert data["outcome"]["sentence"]
        assert data["versions"]["torch"]
        assert data["eigenvalues"] == sorted(data["eigenvalues"])
        (tmp_path / "again.yaml").write_text(yaml.safe_dump(data["pipeline"]), encoding="utf-8")
        again = run("segment", result[1].parent / "cat.png", "-o", tmp_path, "--config", tmp_path / "again.yaml")
        assert again.exit_code == 0
        for name in ("cat_labels.png", "cat_overlay.png", "cat_segments.csv"):
            assert (tmp_path / name).read_bytes() == (result[1] / name).read_bytes()

    def test_the_same_seed_gives_the_same_bytes_in_another_process(
        self, result: tuple[Result, Path], tmp_path: Path
    ) -> None:
        arguments = ("segment", str(result[1].parent / "cat.png"), "-o", str(tmp_path), "-k", "4", "--seed", "0")
        done = python("-m", "segspectral", *arguments, "--set", "superpixels.count=80")
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
        for name in ("cat_labels.png", "cat_overlay.png", "cat_segments.csv"):
            assert (tmp_path / name).read_bytes() == (result[1] / name).read_bytes()


class TestInputs:
    @pytest.mark.parametrize("command", ["segment", "batch"])
    def test_what_a_folder_holds_and_is_left_out_is_counted(self, photo: Path, out: Path, command: str) -> None:
        for name in (".hidden.png", "._cat.png", "sub/deep.png", "sub/.trash/x.png"):
            (photo.parent / name).parent.mkdir(parents=True, exist_ok=True)
            (photo.parent / name).write_bytes(photo.read_bytes())
        for name in ("a.mp4", "b.heic", "c.heic", "README"):
            photo.with_name(name).write_bytes(b"something")
        options = ("-o", out, "-k", 2, *FAST, *(("-j", 0, "--progress", "none") if command == "batch" else ()))
        result = run(command, photo.parent, *options)
        assert result.exit_code == 0
        assert "note: 4 files left out: 1 without a suffix, 2 .heic, 1 .mp4; HEIC: convert it" in result.stderr
        assert "2 hidden files left out; 1 subfolder left out (--recursive)" in result.stderr
        assert len(list(out.glob("*_labels.png"))) == 1
        result = run(command, photo.parent, "--recursive", *options)
        assert result.exit_code == 0
        assert len(list(out.rglob("*_labels.png"))) == 2, files(out)
        # The results of the first run lie in a folder of their own, and none became an image of the second.
        assert "subfolder" not in result.stderr

    def test_names_of_results_are_unique_below_folders(self, photo: Path, out: Path) -> None:
        names = ("a/x.png", "b/x.png", "c/b/x.png", "b_x.png", "c/b/x.PNG")
        for name in names:
            (photo.parent / name).parent.mkdir(parents=True, exist_ok=True)
            (photo.parent / name).write_bytes(photo.read_bytes())
        photo.unlink()
        assert run("segment", photo.parent, "-r", "-o", out, "-k", 2, *FAST).exit_code == 0
        sources = {path.parent / json.loads(path.read_text())["source"] for path in out.rglob("*.json")}
        assert {path.resolve() for path in sources} == {(photo.parent / name).resolve() for name in names}

    def test_a_folder_is_segmented_in_order(self, photo: Path, out: Path) -> None:
        for name in ("b.png", "a.bmp"):
            PIL.Image.open(photo).save(photo.with_name(name))
        photo.with_name("notes.txt").write_text("no image")
        result = run("segment", photo.parent, "-o", out, "-k", 2, *FAST)
        assert result.exit_code == 0
        assert files(out) == expected("a", "b", "cat")
        lines = [Path(line.split(":")[0]).name for line in result.stdout.splitlines()]
        assert lines == ["a.bmp", "b.png", "cat.png"]

    def test_images_of_one_stem_are_kept_apart(self, photo: Path, out: Path, tmp_path: Path) -> None:
        paths = [tmp_path / p for p in ("cat.png", "cat.bmp", "one/cat.png", "two/cat.png", "two/cat.tif", "dog.png")]
        for path in paths:
            path.parent.mkdir(exist_ok=True)
            PIL.Image.open(photo).save(path)
        result = run("segment", *paths, "-o", out, "-k", 2, *FAST)
        assert result.exit_code == 0
        assert len(files(out)) == 4 * len(paths)
        assert set(expected("dog")) <= set(files(out))

    @pytest.mark.parametrize(
        "names",
        [
            ("a/cat.png", "b/cat.png", "a_cat.png", "b_cat.png"),
            ("cat.png", "cat.bmp", "cat_png.png"),
            ("x/a/cat.png", "y/a/cat.png", "x_a_cat_png.png", "a_cat.png"),
            ("a.b.png", "a_b.png", "a.b.bmp", "a_b.bmp"),
        ],
    )
    def test_no_result_is_written_over_another(self, photo: Path, out: Path, names: Sequence[str]) -> None:
        paths = [photo.parent / "in" / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo.read_bytes() if path.suffix == ".png" else b"")
            if path.suffix != ".png":
                PIL.Image.open(photo).save(path)
        assert run("segment", *paths, "-o", out, "-k", 2, *FAST).exit_code == 0
        assert len(files(out)) == 4 * len(paths)
        images = [json.loads(p.read_text())["image"] for p in out.rglob("*.json")]
        assert sorted(images) == sorted(path.name for path in paths)

    def test_without_the_crf_the_output_and_the_summary_say_so(
        self, photo: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys.modules["segspectral.pipeline"], "crf_installed", lambda: False)
        default = FAST[: FAST.index("--refine")]
        result = run("segment", photo, "-o", out, "-k", 3, *default)
        assert result.exit_code == 0
        assert result.stderr.count("pydensecrf is not installed") == 1
        assert "pydensecrf" not in result.stdout
        data = json.loads((out / "cat.json").read_text())
        assert data["pipeline"]["refine"]["name"] == "guided"
        assert "pydensecrf is not installed" in data["notes"][0]
        # What is cut out of the hierarchy is not refined, with or without pydensecrf.
        result = run("segment", photo, "-o", out, "--hierarchy", "--set", "superpixels.count=80")
        assert (result.exit_code, result.stderr) == (0, "")

    @pytest.mark.parametrize("how", ["option", "set", "config"])
    def test_the_crf_asked_for_by_name_and_not_installed_is_an_error(
        self, photo: Path, out: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        monkeypatch.setattr(sys.modules["segspectral.pipeline"], "crf_installed", lambda: False)
        config = photo.with_name("mine.yaml")
        config.write_text("refine: crf\n", encoding="utf-8")
        options = {"option": ("--refine", "crf"), "set": ("--set", "refine.iterations=3"), "config": ("-c", config)}
        result = run("segment", photo, "-o", out, "-k", 3, *options[how], "--head", "exact", "--seed", 1)
        assert result.exit_code == 2
        assert "pip install 'segspectral[crf]'" in one_error(result)
        assert files(out) == []

    def test_an_image_of_one_colour_is_one_segment_with_a_note(self, photo: Path, out: Path) -> None:
        PIL.Image.new("RGB", (40, 30), (9, 90, 200)).save(photo)
        result = run("segment", photo, "-o", out, "-k", 4, *FAST)
        assert result.exit_code == 0
        assert "cat.png: 1 segment, " in result.stdout
        assert "note: all pixels have one colour" in result.stdout
        assert "one colour" in json.loads((out / "cat.json").read_text())["notes"][0]

    def test_options_that_the_hierarchy_leaves_unused_are_told(self, photo: Path, out: Path) -> None:
        options = ("--hierarchy", "--set", "superpixels.count=80", "--set", "features.cnn=null")
        result = run("segment", photo, "-o", out, *options, "--head", "exact", "--refine", "none")
        assert result.exit_code == 0
        assert "note: --head and --refine are not used" in result.stderr
        assert (
            "note: --segments is not used" in run("segment", photo, "-o", out, *options, "--level", 0.3, "-k", 4).stderr
        )
        assert run("segment", photo, "-o", out, *options).stderr == ""

    def test_an_outcome_with_fewer_segments_is_told(self, photo: Path, out: Path) -> None:
        result = run("segment", photo, "-o", out, "-k", 30, *FAST, "--head", "modularity")
        summary = json.loads((out / "cat.json").read_text())
        assert (summary["outcome"]["name"], summary["segments"] < 30) == ("fewer", True)
        assert f"note: {summary['outcome']['sentence']}" in result.stdout

    def test_auto_chooses_a_number_within_its_bounds(self, photo: Path, out: Path) -> None:
        assert run("segment", photo, "-o", out, "-k", "auto", *FAST, "--set", "max_segments=5").exit_code == 0
        assert 2 <= json.loads((out / "cat.json").read_text())["segments"] <= 5

    def test_a_settings_file_and_options_are_used_the_later_on_top(self, photo: Path, out: Path) -> None:
        config = photo.with_name("mine.yaml")
        config.write_text("segments: 3\nseed: 5\nrefine: guided\nfeatures: {cnn: null}\n", encoding="utf-8")
        options = ("--config", config, "--head", "exact", "--set", "head.n_init=3", "--set", "superpixels.count=70")
        assert run("segment", photo, "-o", out, "-k", 4, *options).exit_code == 0
        done = Pipeline.model_validate(json.loads((out / "cat.json").read_text())["pipeline"])
        assert done == Pipeline(
            segments=4,
            seed=5,
            refine="guided",
            features={"cnn": None},
            head={"name": "exact", "n_init": 3},
            superpixels={"count": 70},
        )


def bad(tmp_path: Path, kind: str, photo: Path) -> Path:
    """One of the bad inputs that people have."""
    path = tmp_path / f"{kind}.png"
    grey = np.full((24, 30), 120, np.uint8)
    match kind:
        case "empty":
            path.touch()
        case "truncated":
            path = path.with_suffix(".jpg")
            PIL.Image.open(photo).save(path)
            path.write_bytes(path.read_bytes()[:900])
        case "text":
            path.write_text("not an image\n")
        case "dot":
            PIL.Image.fromarray(grey[:1, :1]).save(path)
        case "postscript":
            path.write_text("%!PS\n{} loop\n")
        case "ghost":
            PIL.Image.fromarray(np.dstack([grey, 0 * grey])).save(path)
        case "bomb":
            from tests.test_images import png_of_one_colour

            path.write_bytes(png_of_one_colour(20_000))
    return path


BAD = {
    "missing": "no such file",
    "empty": "empty",
    "truncated": "cut off",
    "text": "not an image",
    "dot": "1 x 1",
    "postscript": "is PostScript",
    "ghost": "transparent",
    "bomb": "pixels",
}


class TestBadInput:
    @pytest.mark.parametrize("kind", ["missing", "text", "postscript", "output", "head", "address", "-"])
    def test_what_names_and_headers_tell_is_told_before_anything_heavy_is_imported(
        self, tmp_path: Path, photo: Path, out: Path, kind: str
    ) -> None:
        image = {"address": "https://example.org/cat.png", "-": "-"}.get(kind) or bad(tmp_path, kind, photo)
        if kind in ("output", "head"):
            image = photo
        if kind == "output":
            out.write_text("a file")
        arguments = [
            "segspectral",
            "segment",
            str(image),
            "-o",
            str(out),
            "--head",
            "no" if kind == "head" else "exact",
        ]
        code = (
            f"import sys; sys.argv = {arguments!r}\n"
            "from segspectral.cli import main\n"
            "try: main()\n"
            "except SystemExit as end: assert end.code in (2, 3), end.code\n"
            "print('imported:', sorted({'torch', 'timm', 'sklearn', 'skimage', 'cv2', 'pandas'} & set(sys.modules)))"
        )
        done = python("-c", code)
        assert "imported: []" in done.stdout, done.stdout + done.stderr
        assert done.stderr.startswith("error: "), done.stderr

    def test_addresses_and_standard_input_are_told(self, photo: Path, out: Path) -> None:
        for command in ("segment", "batch", "fit"):
            result = run(command, "https://example.org/a/cat.png", "-o", out)
            assert result.exit_code == 2
            assert "https://example.org/a/cat.png: is an address, and nothing is downloaded" in one_error(result)
            if command != "segment":
                assert "standard input" in one_error(run(command, photo, "-", "-o", out))

    def test_an_image_is_read_from_standard_input_and_kept(self, photo: Path, out: Path) -> None:
        arguments = [sys.executable, "-m", "segspectral", "segment", "-", "-o", out, "-k", "2", *FAST]
        done = subprocess.run([str(a) for a in arguments], input=photo.read_bytes(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (out / f"stdin{photo.suffix}").read_bytes() == photo.read_bytes()
        assert json.loads((out / "stdin.json").read_text())["source"] == f"stdin{photo.suffix}"
        done = subprocess.run([str(a) for a in arguments], input=b"", capture_output=True, check=False)
        assert done.returncode == 2
        assert b"error: standard input: has no data" in done.stderr

    @pytest.mark.parametrize("kind", BAD)
    def test_a_bad_image_alone_ends_with_3_and_one_sentence(
        self, tmp_path: Path, photo: Path, out: Path, kind: str
    ) -> None:
        path = bad(tmp_path, kind, photo)
        result = run("segment", path, "-o", out, "-k", 2, *FAST)
        assert result.exit_code == 3
        message = one_error(result)
        assert BAD[kind] in message
        assert message.startswith(f"error: {path}: ")
        assert message.count(path.name) == 1
        assert len(message.replace(str(path), "")) < 200
        assert files(out) == []

    def test_the_other_images_of_the_call_still_come_out(self, tmp_path: Path, photo: Path, out: Path) -> None:
        last = photo.with_name("last.png")
        last.write_bytes(photo.read_bytes())
        spoilt = [bad(tmp_path, kind, photo) for kind in BAD]
        result = run("segment", photo, *spoilt, last, "-o", out, "-k", 2, *FAST)
        assert result.exit_code == 1
        assert files(out) == expected("cat", "last")
        assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == len(BAD)
        assert f"{len(BAD)} of {len(BAD) + 2} images failed" in result.stderr

    def test_more_segments_than_superpixels_fail_that_image(self, photo: Path, out: Path) -> None:
        # Twelve valid pixels are twelve superpixels at most.
        small, opacity = photo.with_name("small.png"), np.zeros((72, 96), np.uint8)
        opacity[30:33, 40:44] = 255
        PIL.Image.fromarray(np.dstack([np.asarray(PIL.Image.open(photo)), opacity])).save(small)
        result = run("segment", photo, small, "-o", out, "-k", 20, *FAST)
        assert result.exit_code == 1
        assert f"{small}: 20 segments are more than the image's" in one_error(result)
        assert files(out) == expected("cat")
        result = run("segment", photo, "-o", out, "-k", 5000, *FAST)
        assert result.exit_code == 3
        assert "5000 segments are more than the image's" in one_error(result)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (("--head", "exakt"), "exact"),
            (("--refine", "guidd"), "guided"),
            (("--backbone", "resnet81"), "did you mean"),
            (("--set", "refine.iteratons=5"), "did you mean refine.iterations?"),
            (("--set", "refine.iterations"), "NAME=VALUE"),
            (("--set", "superpixels.count=0"), "superpixels.count"),
            (("--config", "nowhere.yaml"), "no such settings file"),
            (("-k", "0"), "segments"),
            (("-k", "many"), "auto"),
            (("--seed", "-1"), "seed"),
        ],
    )
    def test_a_setting_that_is_wrong_ends_with_2_before_anything_is_written(
        self, photo: Path, out: Path, options: Sequence[str], says: str
    ) -> None:
        result = run("segment", photo, "-o", out, *options)
        assert result.exit_code == 2
        assert says in one_error(result)
        assert not re.search(r"--(\w+): \1: ", result.stderr)
        assert files(out.parent) == ["cat.png"]

    def test_a_backbone_whose_weights_are_out_of_reach_ends_with_2_and_advice(self, photo: Path, out: Path) -> None:
        result = run("segment", photo, "-o", out, "--backbone", "resnet18.a1_in1k")
        assert result.exit_code == 2
        assert "features.cnn.weights=" in one_error(result)

    @pytest.mark.parametrize("deeper", [(), ("below",), ("below", "further")])
    def test_an_output_folder_that_cannot_be_ends_with_2(self, photo: Path, out: Path, deeper: Sequence[str]) -> None:
        out.write_text("a file")
        result = run("segment", photo, "-o", out.joinpath(*deeper), *FAST)
        assert result.exit_code == 2
        assert "cannot be written" in one_error(result)
        assert f"{out} is a file" in one_error(result)
        assert ".segspectral" not in result.stderr
        assert out.read_text() == "a file"

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="no folder that refuses everyone")
    def test_a_folder_in_which_nothing_can_be_made_ends_with_2(self, photo: Path) -> None:
        result = run("segment", photo, "-o", "/proc/results", *FAST)
        assert result.exit_code == 2
        assert one_error(result).startswith("error: /proc/results: cannot be written to (")

    def test_a_folder_without_images_ends_with_2(self, tmp_path: Path, out: Path) -> None:
        (tmp_path / "nothing").mkdir()
        result = run("segment", tmp_path / "nothing", "-o", out)
        assert result.exit_code == 2
        assert "no images" in one_error(result)

    def test_debug_shows_where_it_happened(self, tmp_path: Path, photo: Path, out: Path) -> None:
        from segspectral.errors import ImageError

        with pytest.raises(ImageError):
            run("segment", bad(tmp_path, "text", photo), "-o", out, "--debug", *FAST)

    def test_a_fault_of_our_own_is_told_and_does_not_stop_the_others(
        self, photo: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        last = photo.with_name("last.png")
        last.write_bytes(photo.read_bytes())
        solve = Pipeline.partition

        def faulty(self: Pipeline, *inputs: object) -> object:
            if not files(out):
                raise MemoryError("no room\nfor this")
            return solve(self, *inputs)

        (out / "before").parent.mkdir()
        monkeypatch.setattr(Pipeline, "partition", faulty)
        result = run("segment", photo, "-o", out, "-k", 2, *FAST)
        assert result.exit_code == 3
        assert "MemoryError no room for this" in one_error(result)
        assert "--debug" in one_error(result)
        (out / "something").touch()
        assert run("segment", photo, last, "-o", out, "-k", 2, *FAST).exit_code == 0

    def test_an_interruption_ends_with_130_and_leaves_no_half_files(self, photo: Path, out: Path) -> None:
        other = photo.with_name("other.png")
        other.write_bytes(photo.read_bytes())
        arguments = ("segment", str(photo), str(other), "-o", str(out), "-k", "3", "--set", "head.steps=100000")
        arguments += ("--names", "1=cat")  # a note about them is the last thing that is said before the work
        process = subprocess.Popen(
            [sys.executable, "-m", "segspectral", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        assert process.stderr.readline().startswith("note: --names")
        time.sleep(3)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert files(out) == []


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
        assert "fsat: there is no such preset; there are fast, quality, " in one_error(
            run("config", "show", "--preset", "fsat")
        )

    def test_what_is_more_special_wins(self, tmp_path: Path) -> None:
        """Preset, file, named option, --set: each changes what the ones before have set."""
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


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path) -> Callable[[], None]:
    yield
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob(".segspectral"))
