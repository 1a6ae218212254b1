"""Every head of ``HEADS`` survives the way through a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segspectral.errors import OutputError, SettingsError
from segspectral.heads import HEADS
from segspectral.heads.exact import Exact
from segspectral.heads.neuncut import NeuNcut
from segspectral.heads.storage import load
from tests.contracts.head_laws import planted
from tests.contracts.test_heads import barely_trained


@pytest.mark.parametrize("name", HEADS)
def test_a_loaded_head_is_the_saved_one(name: str, tmp_path: Path) -> None:
    X, _ = planted()
    head = barely_trained(name).set_params(n_clusters=3, random_state=4).fit(X)
    head.save(tmp_path / "head.safetensors")
    back = load(tmp_path / "head.safetensors")
    assert type(back) is type(head)
    assert back.get_params() == head.get_params()
    assert np.array_equal(back.labels_, head.labels_)
    assert back.ncut_ == head.ncut_
    assert back.outcome_ is head.outcome_
    assert (back.affinity_.weights != head.affinity_.weights).nnz == 0
    unseen = planted(seed=3)[0]
    assert back.predict_proba(unseen).tobytes() == head.predict_proba(unseen).tobytes()


def test_what_is_not_a_head_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load(tmp_path / "absent")
    (tmp_path / "text").write_text("not a head")
    with pytest.raises(SettingsError, match="is not a head"):
        load(tmp_path / "text")
    X, _ = planted()
    Exact(3).fit(X).save(tmp_path / "exact")
    with pytest.raises(SettingsError, match="of class Exact, not NeuNcut"):
        NeuNcut.load(tmp_path / "exact")
    with pytest.raises(OutputError, match="cannot be written"):
        Exact(3).fit(X).save(tmp_path / "exact" / "inside")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise RuntimeError('opened')",))

    (tmp_path / "bomb").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SettingsError, match="is not a head"):
        load(tmp_path / "bomb")
