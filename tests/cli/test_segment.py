"""``segspectral segment``: what it writes, what it says, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from click.testing import Result
from numpy.typing import NDArray

from segspectral.export import colour_table
from segspectral.pipeline import STAGES, Pipeline
from tests.cli.conftest import FAST, expected, files, one_error, python, run


class TestOutputs:
    @pytest.fixture(scope="class")
    @staticmethod
    def result(cat: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
        """Run the whole pipeline with its defaults on an image with void."""
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
        for name in ("a.mp4", "b.mp4", "c.xcf", "README"):
            photo.with_name(name).write_bytes(b"something")
        options = ("-o", out, "-k", 2, *FAST, *(("-j", 0, "--progress", "none") if command == "batch" else ()))
        result = run(command, photo.parent, *options)
        assert result.exit_code == 0
        assert "note: 4 files left out: 1 without a suffix, 2 .mp4, 1 .xcf (folders are" in result.stderr
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

    def test_options_that_the_hierarchy_leaves_unused_are_reported(self, photo: Path, out: Path) -> None:
        options = ("--hierarchy", "--set", "superpixels.count=80", "--set", "features.cnn=null")
        result = run("segment", photo, "-o", out, *options, "--head", "exact", "--refine", "none")
        assert result.exit_code == 0
        assert "note: --head and --refine are not used" in result.stderr
        assert (
            "note: --segments is not used" in run("segment", photo, "-o", out, *options, "--level", 0.3, "-k", 4).stderr
        )
        assert run("segment", photo, "-o", out, *options).stderr == ""

    def test_an_outcome_with_fewer_segments_is_reported(self, photo: Path, out: Path) -> None:
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


@pytest.mark.skipif(sys.platform == "win32", reason="such names do not exist there")
def test_a_file_name_cannot_control_the_terminal(cat: NDArray[np.uint8], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    PIL.Image.fromarray(cat).save(tmp_path / "in" / "red\x1b[31m\nall images -> elsewhere.png")
    (tmp_path / "in" / "bad\x1b[31m\nerror: another.png").write_bytes(b"no image")
    done = run("segment", tmp_path / "in", "-o", tmp_path / "out", *FAST)
    assert "red\\x1b[31m\\nall images -> elsewhere.png: " in done.stdout
    assert "bad\\x1b[31m\\nerror: another.png" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 2  # the error, and how many failed
