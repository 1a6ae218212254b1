"""Arrays, names and JSON from somebody else: claims are checked before they are believed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest

from segspectral.errors import ImageError, OutputError
from segspectral.export import LabelMap, label_png, read_label_map
from segspectral.files import (
    check_folder,
    check_inside,
    is_npy,
    parse_json,
    read_file,
    read_npy,
    read_npz,
    scratch_folder,
)


def header(shape: str, descr: str = "'<f8'") -> bytes:
    """The header of an .npy file that claims this."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text


class TestArrays:
    @pytest.mark.parametrize(
        "array",
        [
            np.arange(12, dtype=np.int16).reshape(3, 4),
            np.asfortranarray(np.arange(12.0).reshape(3, 4)),
            np.array("text"),
            np.zeros((0, 3)),
            np.array(3.5),
            np.array([True, False]),
            np.arange(100_000.0),
            np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        ],
    )
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_arrays_of_numpy_are_read(self, tmp_path: Path, array: np.ndarray, save: object) -> None:
        save(tmp_path / "a.npz", one=array, two=array)  # type: ignore[operator]
        np.save(tmp_path / "a.npy", array)
        found = read_npz(tmp_path / "a.npz")
        assert set(found) == {"one", "two"}
        assert set(read_npz(tmp_path / "a.npz", names=("two",))) == {"two"}
        for read in (*found.values(), read_npy(tmp_path / "a.npy")):
            assert read.dtype == array.dtype
            np.testing.assert_array_equal(read, array)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (header("(10000000000,)"), "more than"),
            (header("(99999999999, 99999999999, 99999999999)"), "more than"),
            (header("(1000,)"), "cut off"),
            (header("(-5,)"), "impossible|damaged"),
            (header("(10**9,)"), "has a header that cannot be read"),
            (header("(2,)", "'|O'"), "Python objects"),
            (header("(" * 3000), "damaged|parse|nested|header"),
            (header("(2, 'a')"), "has a header that cannot be read"),
            (b"\x93NUMPY\x07\0", "version"),
            (b"", "magic|EOF"),
            (b"Dear reader", "magic"),
        ],
    )
    def test_false_claims_are_refused_in_one_sentence(self, tmp_path: Path, content: bytes, says: str) -> None:
        (tmp_path / "a.npy").write_bytes(content)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("labels.npy", content)
        for read in (lambda: read_npy(tmp_path / "a.npy"), lambda: read_npz(tmp_path / "a.npz")):
            with pytest.raises(ValueError, match=says):
                read()
        with pytest.raises(ImageError) as caught:
            read_label_map(tmp_path / "a.npz")
        assert str(caught.value).startswith(str(tmp_path / "a.npz"))

    def test_zeros_that_are_compressed_a_thousand_to_one_are_not_unpacked(self, tmp_path: Path) -> None:
        np.savez_compressed(tmp_path / "a.npz", a=np.zeros(2_000_000), b=np.zeros(2_000_000))
        assert (tmp_path / "a.npz").stat().st_size < 100_000
        with pytest.raises(ValueError, match="'a'"):
            read_npz(tmp_path / "a.npz", max_bytes=10_000_000)
        with pytest.raises(ValueError, match="'b'"):
            read_npz(tmp_path / "a.npz", max_bytes=20_000_000)
        assert len(read_npz(tmp_path / "a.npz", max_bytes=32_000_000)) == 2

    def test_a_file_that_is_not_an_archive_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 and no more")
        with pytest.raises(ValueError, match="npz"):
            read_npz(tmp_path / "a.npz")


def test_json_that_is_nested_deep_is_a_value_error() -> None:
    assert parse_json('{"a": [1]}') == {"a": [1]}
    for text in ("[" * 100_000, '{"a":' * 100_000, "[" * 5000 + "]" * 5000):
        with pytest.raises(ValueError, match=r"."):
            parse_json(text)


@pytest.mark.parametrize("name", ["a.jpg", "day 1/a.jpg", "..a/b..", "a..b", "ünï", "\udcff.png"])
def test_names_below_a_folder_are_kept(name: str) -> None:
    assert check_inside(name) == name


@pytest.mark.parametrize(
    "name", ["", "/etc/hosts", "../a", "a/../../b", "a\\..\\b", "C:\\a", "C:a", "\\\\host\\a", "a\0b", 5, None, ["a"]]
)
def test_names_that_lead_elsewhere_are_refused(name: object) -> None:
    with pytest.raises(ValueError, match="name"):
        check_inside(name)


class TestLabelMaps:
    labels = np.array([[0, 1, 2, 2]] * 9, np.int32)

    TEXTS = (
        ({"colours": {"3000000000": [1, 2, 3]}}, "65535"),
        ({"names": {"3000000000": "sky"}}, "65535"),
        ({"names": {"-1": "sky"}}, "65535"),
        ({"colours": {"1": [300, 0, 0]}}, "255"),
        ({"colours": {"1": [-1, 0, 0]}}, "255"),
        ({"colours": {"1": [1, 2]}}, "names and colours"),
        ({"colours": {"1": 7}}, "names and colours"),
        ({"colours": {"1": [1e400, 2, 3]}}, "names and colours"),
        ({"colours": [1]}, "names and colours"),
        ({"names": {"one": "sky"}}, "names and colours"),
        ({"names": {"1": ["sky"]}}, "text"),
        ({"names": 5}, "names and colours"),
        ([], "names and colours"),
        ("[" * 5000, "nested too deep"),
        ("no json", "names and colours"),
    )

    @pytest.mark.parametrize(("text", "says"), TEXTS)
    @pytest.mark.parametrize("kind", ["png", "npz"])
    def test_impossible_names_and_colours_are_refused_in_one_sentence(
        self, tmp_path: Path, text: object, says: str, kind: str
    ) -> None:
        path, content = tmp_path / f"cat_labels.{kind}", text if isinstance(text, str) else json.dumps(text)
        if kind == "npz":
            np.savez(path, labels=self.labels, text=content)
        else:
            info = PIL.PngImagePlugin.PngInfo()
            info.add_itxt("segspectral", content)
            PIL.Image.fromarray(self.labels.astype(np.uint8)).save(path, pnginfo=info)
        with pytest.raises(ImageError, match=says) as caught:
            read_label_map(path)
        message = str(caught.value)
        assert message.startswith(str(path))
        assert len(message) < 300
        assert "\n" not in message

    @pytest.mark.parametrize("name", ["/etc/hosts", "../../secret.jpg", "C:\\secret.jpg"])
    def test_the_photograph_must_lie_in_its_folder(self, tmp_path: Path, name: str) -> None:
        np.savez(tmp_path / "a.npz", labels=self.labels, image=name)
        (tmp_path / "b_labels.png").write_bytes(label_png(self.labels))
        (tmp_path / "b.json").write_text(json.dumps({"image": name}))
        for path in (tmp_path / "a.npz", tmp_path / "b_labels.png"):
            with pytest.raises(ImageError, match="the name"):
                read_label_map(path)

    @pytest.mark.parametrize("text", ["[" * 5000, "[1]", "5", "{}", '{"images": []}'])
    def test_a_file_beside_that_is_not_a_summary_is_ignored(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "b_labels.png").write_bytes(label_png(self.labels))
        (tmp_path / "b.json").write_text(text)
        assert read_label_map(tmp_path / "b_labels.png").image == "b"

    def test_the_content_decides_the_format_of_a_label_map(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", labels=self.labels)
        (tmp_path / "a.npz").rename(tmp_path / "a.png")
        (tmp_path / "b.npz").write_bytes(label_png(self.labels))
        for name in ("a.png", "b.npz"):
            np.testing.assert_array_equal(read_label_map(tmp_path / name).labels, self.labels)

    def test_a_photograph_is_refused_as_a_label_map(self, tmp_path: Path) -> None:
        buffer = io.BytesIO()
        PIL.Image.fromarray(self.labels.astype(np.uint8)).save(buffer, "JPEG")
        (tmp_path / "a.png").write_bytes(buffer.getvalue())
        with pytest.raises(ImageError, match=r"is JPEG, but only PNG and TIFF can be read here"):
            read_label_map(tmp_path / "a.png")

    @pytest.mark.parametrize("more", [{"names": {70000: "a"}}, {"colours": {1: (0, 0, 256)}}, {"names": {1: 5}}])
    def test_label_maps_made_in_python_keep_the_same_law(self, more: dict[str, object]) -> None:
        with pytest.raises(ImageError):
            LabelMap(self.labels, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [read_npy, read_npz, read_file, is_npy])
def test_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(OSError, match="a device or a pipe, not a file"):
            read(path)


def test_a_folder_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "kept").mkdir()
    check_folder(tmp_path / "kept")
    assert (tmp_path / "kept").is_dir()


def test_a_scratch_folder_is_gone_at_the_end_also_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch_folder() as first, scratch_folder() as second:
        (first / "a").write_bytes(b"a")
        assert first != second
        assert (first / "a").exists(), "the second sweeps, and leaves what has an owner"
    with pytest.raises(FileExistsError), scratch_folder() as third:
        third.mkdir()
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_for_temporary_files_a_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(OutputError, match="set TMPDIR to a folder that can be written to"), scratch_folder():
        pass


def test_what_killed_processes_left_is_removed_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = """
import os
from segspectral.files import scratch_folder
with scratch_folder() as folder:
    (folder / "a").write_bytes(b"a")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)})
    (left,) = tmp_path.iterdir()
    assert (left / "a").exists()
    (tmp_path / "segspectral-of-somebody").mkdir()
    (tmp_path / f"{left.name}-link").symlink_to(tmp_path / "segspectral-of-somebody")
    with scratch_folder():
        assert not left.exists()
    assert (tmp_path / "segspectral-of-somebody").exists()
