"""Settings: files are read back equal, and misspelt settings get clear messages."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from segspectral.config import dump, load, make_pipeline, merge_assignments, parse_assignment, preset, presets
from segspectral.errors import SettingsError
from segspectral.heads import HEADS
from segspectral.pipeline import Pipeline
from segspectral.refine import REFINERS
from segspectral.settings import with_settings

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
PAPERS = sorted((Path(__file__).parents[1] / "configs").glob("papers/*.yaml"))

PIPELINES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "a number": {"segments": 7, "seed": 3},
    "no CNN": {"features": {"cnn": None}},
    "other numbers": {
        "features": {"texture": {"scales": [1.5]}, "cnn": {"strides": [8]}},
        "affinity": {"bandwidth": 2},
    },
    **{f"head {name}": {"head": name} for name in HEADS},
    **{f"refiner {name}": {"refine": name} for name in REFINERS},
}


def complaint(data: dict[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        make_pipeline(data)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    return message


@pytest.mark.parametrize("data", PIPELINES.values(), ids=PIPELINES)
def test_written_settings_are_read_back_equal(data: dict[str, Any], tmp_path: Path) -> None:
    pipeline = make_pipeline(data)
    path = tmp_path / "settings.yaml"
    path.write_text(dump(pipeline), encoding="utf-8")
    assert load(path) == pipeline
    assert load(path, base=Pipeline(segments=3, refine="none", head="exact")) == pipeline
    assert make_pipeline(pipeline.model_dump(mode="json")) == pipeline


def test_pipelines_with_other_settings_are_not_equal() -> None:
    pipelines = [
        make_pipeline(data) for data in PIPELINES.values() if data not in ({"head": "neuncut"}, {"refine": "crf"})
    ]
    assert all((a == b) == (a is b) for a in pipelines for b in pipelines)
    assert Pipeline() != "a pipeline"


def test_a_file_changes_only_the_settings_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("superpixels: {count: 77}\n", encoding="utf-8")
    base = Pipeline(segments=4, head="exact")
    expected = base.model_dump() | {"superpixels": base.superpixels.model_dump() | {"count": 77}}
    assert load(path, base).model_dump() == expected


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("# nothing\n", encoding="utf-8")
    assert load(path) == Pipeline()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"segments: [3", "is not YAML"),
        (b"- segments\n- 3\n", "mapping"),
        (b"segments", "mapping"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"segmants: 3", "did you mean segments"),
        (b"!!python/object/apply:os.system ['true']", "is not YAML"),
        (b"3: 4", "3"),
        (b"a: &a [1]\nb: [*a, *a]", "anchors and aliases"),
        (b"a: &a {x: 1}\nb: &b {<<: [*a, *a]}", "anchors and aliases"),
        (b"segments: 3\nseed: 1\nsegments: 4", "line 3 gives segments a second time"),
        (b"head:\n  name: exact\n  name: kmeans", "line 3 gives name a second time"),
        (b"[" * 5000, "more than 10 levels"),
        (b"{a: " * 3000, "more than 10 levels"),
        (b"segments: 2020-99-99", "is not YAML with plain values"),
        (b"segments: " + b"9" * 5000, "is not YAML with plain values"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=re.escape(says)) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(SettingsError, match=re.escape(str(path))):
            load(path)


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        ({"segmants": 3}, "segments"),
        ({"superpixels": {"cout": 100}}, "superpixels.count"),
        ({"features": {"color": {}}}, "features.colour"),
        ({"features": {"cnn": {"stride": [4]}}}, "features.cnn.strides"),
        ({"affinity": {"neighbours": 4}}, "affinity.neighbors"),
        ({"head": {"name": "neuncut", "learning_rat": 4}}, "head.learning_rate"),
        ({"refine": {"name": "crf", "iteration": 4}}, "refine.iterations"),
        ({"refine": {"name": "guided", "radios": 4}}, "refine.radius"),
    ],
)
def test_a_misspelt_setting_gets_a_suggestion(data: dict[str, Any], meant: str) -> None:
    assert f"did you mean {meant}?" in complaint(data)


def test_an_unknown_setting_gets_a_list_of_known_ones() -> None:
    message = complaint({"refine": {"name": "guided", "zzz": 4}})
    assert "refine.zzz" in message
    assert "known here: radius, epsilon" in message


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"segments": 0}, "segments"),
        ({"segments": "many"}, "segments"),
        ({"segments": 2.5}, "segments"),
        ({"max_segments": 1}, "max_segments"),
        ({"seed": -1}, "seed"),
        ({"superpixels": {"count": 1}}, "superpixels.count"),
        ({"superpixels": {"compactness": 0}}, "superpixels.compactness"),
        ({"superpixels": {"sigma": float("nan")}}, "superpixels.sigma"),
        ({"superpixels": {"count": "lots"}}, "superpixels.count"),
        ({"features": {"cnn": {"weight": 0}}}, "features.cnn.weight"),
        ({"features": {"cnn": {"strides": []}}}, "features.cnn.strides"),
        ({"features": {"cnn": {"strides": [4, 0]}}}, "features.cnn.strides.1"),
        ({"features": {"cnn": {"device": "toaster"}}}, "features.cnn.device"),
        ({"features": {"texture": {"scales": [-1]}}}, "features.texture.scales"),
        ({"features": {"colour": None, "texture": None, "position": None, "cnn": None}}, "features"),
        ({"affinity": {"neighbors": 0}}, "affinity.neighbors"),
        ({"affinity": {"bandwidth": 0}}, "affinity.bandwidth"),
        ({"affinity": {"bandwidth": -2.5}}, "affinity.bandwidth"),
        ({"affinity": {"bandwidth": "medain"}}, "affinity.bandwidth"),
        ({"affinity": {"symmetrize": "min"}}, "affinity.symmetrize"),
        ({"head": {"name": "neuncut", "steps": -1}}, "head.steps: "),
        ({"head": {"name": "exact", "n_init": "x"}}, "head.n_init: "),
        ({"refine": {"name": "crf", "iterations": 0}}, "refine.iterations"),
        ({"refine": {"name": "guided", "epsilon": 0}}, "refine.epsilon"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_name_of_its_setting(data: dict[str, Any], place: str) -> None:
    assert place in complaint(data)


@pytest.mark.parametrize(("data", "names"), [({"head": "exakt"}, HEADS), ({"refine": "guidd"}, REFINERS)])
def test_an_unknown_strategy_gets_a_list_of_known_ones(data: dict[str, Any], names: dict[str, Any]) -> None:
    message = complaint(data)
    assert str(next(iter(data.values()))) in message
    assert all(name in message for name in names)


def test_several_faults_are_reported_together() -> None:
    message = complaint({"seed": -1, "superpixels": {"count": 0}})
    assert "seed" in message
    assert "superpixels.count" in message


class TestKinds:
    """A head or a refiner is given by its name, by some of its settings, or by both."""

    def test_a_name_alone_means_the_defaults(self) -> None:
        assert (
            with_settings(Pipeline(), {"head": "exact"}).head.get_params() == Pipeline(head="exact").head.get_params()
        )
        assert with_settings(Pipeline(), {"refine": "guided"}) == Pipeline(refine="guided")

    def test_settings_alone_keep_the_strategy(self) -> None:
        changed = with_settings(Pipeline(refine={"name": "guided", "epsilon": 0.5}), {"refine": {"radius": 9}})
        assert changed.refine.model_dump() == {"name": "guided", "radius": 9, "epsilon": 0.5}
        assert with_settings(Pipeline(head="exact"), {"head": {"n_init": 9}}).head.get_params()["n_init"] == 9

    def test_another_strategy_drops_the_settings_of_the_first(self) -> None:
        tuned = Pipeline(head={"name": "neuncut", "steps": 5})
        switched = with_settings(tuned, {"head": {"name": "exact", "n_init": 2}})
        assert switched == Pipeline(head={"name": "exact", "n_init": 2})
        assert with_settings(switched, {"head": "neuncut"}) == Pipeline(head="neuncut")

    def test_the_same_strategy_by_name_keeps_its_settings(self) -> None:
        tuned = Pipeline(head={"name": "neuncut", "steps": 5})
        assert with_settings(tuned, {"head": "neuncut"}) == tuned

    def test_settings_of_another_strategy_are_refused(self) -> None:
        with pytest.raises(SettingsError, match="steps"):
            with_settings(Pipeline(head="exact"), {"head": {"steps": 5}})

    def test_an_extractor_can_be_left_out_and_put_back(self) -> None:
        without = with_settings(Pipeline(), {"features": {"cnn": None}})
        assert without.features.cnn is None
        assert with_settings(without, {"features": {"cnn": {}}}) == Pipeline()

    def test_with_settings_does_not_change_the_pipeline(self) -> None:
        pipeline = Pipeline()
        before = dump(pipeline)
        with_settings(pipeline, {"head": {"steps": 3}, "refine": {"iterations": 2}, "features": {"cnn": None}})
        assert dump(pipeline) == before


class TestAssignments:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("segments=5", {"segments": 5}),
            ("segments=auto", {"segments": "auto"}),
            (" refine . iterations = 5", {"refine": {"iterations": 5}}),
            ("features.cnn=null", {"features": {"cnn": None}}),
            ("features.cnn.strides=[8, 16]", {"features": {"cnn": {"strides": [8, 16]}}}),
            ("features.cnn.weights=/a=b.safetensors", {"features": {"cnn": {"weights": "/a=b.safetensors"}}}),
            ("refine={name: guided, radius: 3}", {"refine": {"name": "guided", "radius": 3}}),
        ],
    )
    def test_an_assignment_becomes_nested_data(self, text: str, expected: dict[str, Any]) -> None:
        assert parse_assignment(text) == expected

    @pytest.mark.parametrize("text", ["refine.iterations", "=5", "", "refine..iterations=5", ".a=1", "a=[1"])
    def test_a_text_that_is_not_an_assignment_is_refused_with_an_example(self, text: str) -> None:
        with pytest.raises(SettingsError, match=r"NAME=VALUE|not YAML") as caught:
            parse_assignment(text)
        assert f"--set {text}" in str(caught.value)

    def test_later_assignments_override_and_other_earlier_ones_stay(self) -> None:
        merged = merge_assignments(["refine.iterations=5", "refine.smooth_weight=2", "refine.iterations=7"])
        assert merged == {"refine": {"iterations": 7, "smooth_weight": 2}}

    def test_a_strategy_and_then_its_settings_can_be_assigned(self) -> None:
        changes = merge_assignments(["head=exact", "head.n_init=3", "refine=guided", "refine.radius=2"])
        assert with_settings(Pipeline(), changes) == Pipeline(
            head={"name": "exact", "n_init": 3}, refine={"name": "guided", "radius": 2}
        )


def test_the_schema_names_every_head_with_its_settings_and_every_refiner() -> None:
    schema = Pipeline.model_json_schema()
    variants = {v["properties"]["name"]["const"]: v for v in schema["$defs"]["Head"]["anyOf"] if "properties" in v}
    assert set(variants) == set(HEADS)
    for name, variant in variants.items():
        own = Pipeline(head=name).model_dump()["head"]
        assert set(variant["properties"]) == set(own)
        assert variant["additionalProperties"] is False
    text = str(schema["$defs"])
    assert all(f"'const': '{name}'" in text for name in REFINERS)
    assert set(re.findall(r"#/\$defs/(\w+)", str(schema))) <= set(schema["$defs"])


def test_every_setting_has_a_description() -> None:
    for name, definition in Pipeline.model_json_schema()["$defs"].items():
        for setting, about in definition.get("properties", {}).items():
            if name != "Head" and setting != "name" and "$ref" not in str(about):
                assert about.get("description"), f"{name}.{setting} has no description"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_the_settings_files_of_the_repository_load_and_name_their_command(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    pipeline = load(path)
    assert pipeline != Pipeline()
    assert yaml.safe_load(text)
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert f"--preset {path.stem}\n" in header


def test_presets_are_found_by_name_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert list(presets())[:3] == ["cells", "fast", "quality"]
    assert all(name.startswith("papers/") for name in list(presets())[3:])
    for name in presets():
        if name != "papers/communities":
            assert load(name) == load(f"configs/{name}.yaml") == load(preset(name))
    (tmp_path / "fast").write_text("segments: 3\n", encoding="utf-8")  # a file of one's own comes first
    assert load("fast").segments == 3
    with pytest.raises(
        SettingsError, match=r"^fsat: .*no such settings file, and no such preset \(cells, fast, quality, "
    ):
        load("fsat")
    with pytest.raises(SettingsError, match=r"^fsat: there is no such preset; there are cells, fast, quality, "):
        preset("fsat")


def test_the_wheel_has_the_presets_and_the_sample_images(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel")
    (wheel,) = builder.WheelBuilder(str(Path(__file__).parents[1])).build(
        directory=str(tmp_path), versions=["standard"]
    )
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"segspectral/configs/{path.name}" for path in CONFIGS} <= names
    assert {f"segspectral/configs/papers/{path.name}" for path in PAPERS} <= names
    assert {"segspectral/sample_images/cat.jpg", "segspectral/features/weights/segspectral_lite0.onnx"} <= names


def test_no_setting_that_costs_time_is_without_a_limit() -> None:
    """A model from somebody else, or a client of the page, could ask for steps without end."""
    unlimited: set[str] = set()

    def look(schema: Any, name: str) -> None:
        if isinstance(schema, list):
            schema = dict(enumerate(schema))
        if not isinstance(schema, dict):
            return
        if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum"} & schema.keys():
            unlimited.add(name)
        for key, part in schema.items():
            for inner, one in part.items() if key == "properties" else [(name, part)]:
                look(one, inner)

    look(Pipeline.model_json_schema(), "")
    # What the size of the image or of the graph limits, however large the number is.
    by_image = {"strides", "pixels", "bands", "page", "channels", "neighbors", "components", "working_pixels"}
    assert unlimited <= by_image | {"batch_size", "patience", "subsample", "exact_below"}
    with pytest.raises(ValueError, match="steps"):
        make_pipeline({"features": {"contours": {"steps": [4, 10**9]}}})
