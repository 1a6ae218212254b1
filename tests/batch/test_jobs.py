"""Which images a batch has, and their names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from segspectral.batch import Job, Shard, find_jobs
from segspectral.errors import ImageError, SettingsError

Put = Callable[..., Path]


def names(*inputs: Path, **options: object) -> list[str]:
    return [job.name for job in find_jobs(inputs, **options)]


def test_a_folder_means_its_images_and_with_recursive_those_below(put: Put):
    folder = put("a.jpg", "a.png", "x/a.jpg", "x/y/B.PNG")
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_bytes(b"")
    (folder / "x" / "._a.jpg").write_bytes(b"")
    assert names(folder) == ["a.jpg", "a.png"]
    assert names(folder, recursive=True) == ["a.jpg", "a.png", "x/a.jpg", "x/y/B.PNG"]
    assert names(folder, recursive=True, extensions=["png"]) == ["a.png", "x/y/B.PNG"]


def test_the_output_folder_is_not_an_input(put: Put):
    folder = put("a.jpg", "out/a.jpg_overlay.png")
    assert names(folder, recursive=True, output=folder / "out") == ["a.jpg"]


def test_several_inputs_are_named_below_the_folder_that_they_share(put: Put):
    folder = put("p/a.jpg", "q/a.jpg")
    assert names(folder / "p", folder / "q") == ["p/a.jpg", "q/a.jpg"]
    assert names(folder / "p" / "a.jpg") == ["a.jpg"]
    assert names(folder / "*" / "a.jpg") == ["p/a.jpg", "q/a.jpg"]
    assert names(folder / "p", folder / "p" / "a.jpg") == ["a.jpg"]


def test_a_missing_file_is_a_job_too(put: Put):
    (job,) = find_jobs([put("a.jpg") / "b.jpg"])
    assert (job.name, job.size, job.mtime_ns) == ("b.jpg", -1, -1)


@pytest.mark.parametrize("pattern", ["", "*.webp"])
def test_no_images_at_all_is_an_error(put: Put, pattern: str):
    folder = put("x/a.jpg")
    with pytest.raises(ImageError, match=r"no images were found|no file matches this pattern"):
        find_jobs([folder / pattern])


def test_an_input_without_images_is_reported_and_the_rest_goes_on(put: Put):
    folder, told = put("p/a.jpg", "q/deep/a.jpg"), []
    found = find_jobs([folder / "p", folder / "q", folder / "*.webp"], complain=told.append)
    assert [job.name for job in found] == ["p/a.jpg"]
    assert told[0].startswith(f"{folder / 'q'}: no images were found")
    assert "--recursive" in told[0]
    assert told[1:] == [f"{folder / '*.webp'}: no file matches this pattern"]


def test_a_folder_that_cannot_be_read_is_reported(put: Put, monkeypatch: pytest.MonkeyPatch):
    folder, told, real = put("p/a.jpg", "q/a.jpg"), [], os.scandir

    def scandir(path):
        if str(path).endswith("q"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_jobs([folder], recursive=True, complain=told.append)
    assert [job.name for job in found] == ["p/a.jpg"]
    assert told == [f"{folder / 'q'}: the folder cannot be read (Permission denied)"]


def test_results_among_the_images_are_refused(put: Put):
    folder = put("a.jpg")
    with pytest.raises(SettingsError, match="cannot be the output too"):
        find_jobs([folder], output=folder / "." / "x" / "..")


def test_an_empty_extension_is_refused(put: Put):
    with pytest.raises(SettingsError, match="--ext"):
        find_jobs([put("a.jpg")], extensions=["jpg", ""])


def test_shards_are_a_partition():
    jobs = [Job("/", f"{i}.jpg") for i in range(500)]
    parts = [[job for job in jobs if job in Shard.parse(f"{i}/7")] for i in range(1, 8)]
    assert sorted((job for part in parts for job in part), key=lambda j: j.name) == sorted(jobs, key=lambda j: j.name)
    assert min(map(len, parts)) > 40


@pytest.mark.parametrize("text", ["3", "9/8", "-1/8", "a/b", "0/0", "1/", "/2"])
def test_an_impossible_shard_is_refused(text: str):
    with pytest.raises(SettingsError, match="--shard"):
        Shard.parse(text)
