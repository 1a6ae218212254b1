"""``segspectral segment`` with inputs and settings that cannot be used."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from segspectral.pipeline import Pipeline
from tests.cli.conftest import FAST, ROOT, expected, files, one_error, python, run


def bad(tmp_path: Path, kind: str, photo: Path) -> Path:
    """Make one of the bad inputs that users have."""
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


TELLS = """
import sys, time
from segspectral.heads.neuncut import NeuNcut

def tell(step, scalars):
    if step == 0:
        print("it trains", file=sys.stderr, flush=True)
    time.sleep(0.1)

class Tells(NeuNcut):
    def _solve(self, X, affinity, progress):
        return super()._solve(X, affinity, tell)
"""
"""A head that tells when it has begun to train, and then trains for long."""


class TestBadInput:
    def test_a_picture_that_claims_too_many_pixels_is_reported_alike_in_every_place(
        self, photo: Path, out: Path
    ) -> None:
        huge = bad(photo.parent, "bomb", photo)
        for arguments in (
            ("segment", huge, "-o", out),
            ("segment", photo, "-o", out, "--seeds", huge, *FAST),
            ("segment", photo, "-o", out, "--edges", huge, *FAST),
            ("convert", huge, "--to", "coco", "-o", out),
        ):
            result = run(*arguments)
            assert result.exit_code == 3
            assert "has more than 150,000,000 pixels; scale it down or cut it into tiles" in one_error(result)

    @pytest.mark.parametrize("head", ["neuncut", "spectralnet", "deepkmeans"])
    def test_a_network_that_no_memory_holds_is_refused_before_the_work(self, photo: Path, out: Path, head: str) -> None:
        for hidden in ("[1000000000]", "[0]", str([4] * 99)):
            result = run("segment", photo, "-o", out, "--head", head, "--set", f"head.hidden={hidden}")
            assert result.exit_code == 2
            assert one_error(result).startswith("error: --set: head.hidden")
        assert not out.exists()

    def test_memory_that_runs_out_is_reported(
        self, photo: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise MemoryError("Unable to allocate 343. GiB")

        monkeypatch.setattr(Pipeline, "solve", full)
        result = run("segment", photo, "-o", out, *FAST)
        assert result.exit_code == 3
        assert "does not fit into memory; scale it down, or ask for less" in result.stderr

    def test_bad_names_and_headers_are_reported_before_anything_heavy_is_imported(
        self, tmp_path: Path, photo: Path, out: Path
    ) -> None:
        images = {kind: bad(tmp_path, kind, photo) for kind in ("missing", "text", "postscript")}
        images |= {"output": photo, "address": "https://example.org/cat.png"}
        (tmp_path / "file").write_text("not a folder")
        commands = {}
        for kind, image in images.items():
            target = tmp_path / "file" if kind == "output" else out
            commands[kind] = ["segspectral", "segment", str(image), "-o", str(target), "--head", "exact"]
        for option in ("--head", "--refine", "--preset", "--format", "--backbone", "--config", "-k"):
            commands[option] = ["segspectral", "segment", str(photo), "-o", str(out), option, "typo"]
        code = f"""
import contextlib, io, sys
from segspectral.cli import main

for kind, sys.argv in {commands!r}.items():
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try: main()
        except SystemExit as end: assert end.code in (2, 3), (kind, end.code)
    heavy = {{'torch', 'timm', 'sklearn', 'skimage', 'scipy', 'cv2', 'pandas'}} & set(sys.modules)
    print(kind, said.getvalue()[:7], sorted(heavy))
"""
        done = python("-c", code)
        assert done.stdout.splitlines() == [f"{kind} error:  []" for kind in commands], done.stdout + done.stderr

    def test_addresses_and_standard_input_are_reported(self, photo: Path, out: Path) -> None:
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

    def test_a_bug_of_our_own_is_reported_and_does_not_stop_the_others(
        self, photo: Path, out: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        last = photo.with_name("last.png")
        last.write_bytes(photo.read_bytes())
        solve = Pipeline.partition

        def faulty(self: Pipeline, *inputs: object) -> object:
            if not files(out):
                raise LookupError("no room\nfor this")
            return solve(self, *inputs)

        (out / "before").parent.mkdir()
        monkeypatch.setattr(Pipeline, "partition", faulty)
        result = run("segment", photo, "-o", out, "-k", 2, *FAST)
        assert result.exit_code == 3
        assert "LookupError no room for this" in one_error(result)
        assert "--debug" in one_error(result)
        (out / "something").touch()
        assert run("segment", photo, last, "-o", out, "-k", 2, *FAST).exit_code == 0

    def test_an_interruption_ends_with_130_and_leaves_no_half_files(self, photo: Path, out: Path) -> None:
        other = photo.with_name("other.png")
        other.write_bytes(photo.read_bytes())
        head = photo.with_name("tells.py")
        head.write_text(TELLS, encoding="utf-8")
        arguments = ("segment", str(photo), str(other), "-o", str(out), "-k", "3", "--set", "features.cnn=null")
        arguments += ("--head", f"{head}:Tells", "--set", "head.steps=100000")
        process = subprocess.Popen(
            [sys.executable, "-m", "segspectral", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "it trains\n"
            assert process.poll() is None
            os.kill(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert files(out) == []
