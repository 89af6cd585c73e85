"""What a cluster's answers become here; `tests/test_cli_archive.py` runs a real one."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from avgan.archive import engines as engine
from avgan.archive.engines import Classification, Options, classify_in_turn
from avgan.archive.sources import Recording
from avgan.errors import AudioError, BundleError
from avgan.runtime import Model, Prediction, WindowPrediction

ray = pytest.importorskip("ray")

Taken = Callable[[Classification], tuple[list[WindowPrediction], Prediction]]
LETHAL = "lethal.wav"


class Refs:
    """Stands for Ray: a task is run when its answer is asked for, and a worker dies of one recording."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_tasks = 0
        monkeypatch.setattr(ray, "get", self.get)
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
        monkeypatch.setattr(ray, "remote", lambda **_: lambda function: self)

    def remote(self, *arguments: Any) -> tuple[Any, ...]:
        self.num_tasks += 1
        return arguments

    def get(self, arguments: tuple[Any, ...]) -> list[engine.RemoteClassification]:
        if any(recording.name == LETHAL for recording in arguments[3]):
            raise ray.exceptions.WorkerCrashedError
        classified: list[engine.RemoteClassification] = pickle.loads(pickle.dumps(engine._classify_group(*arguments)))
        return classified


def answers(model: Model, recordings: Sequence[Recording], taken: Taken) -> list[str]:
    found = []
    for answer in engine.classify_on_cluster(model, Options(0.5), recordings, num_jobs=None):
        try:
            windows, prediction = taken(answer)
            found.append(f"{prediction.path}: {len(windows)}")
        except Exception as error:
            found.append(f"{type(error).__name__} {error}")
    return found


def test_a_recording_that_kills_its_worker_costs_no_other(
    model: Model, taken: Taken, tone_wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = Refs(monkeypatch)
    names = [f"{number}.wav" for number in range(60)]
    names[20] = LETHAL
    found = answers(model, [Recording(name, str(tone_wav)) for name in names], taken)
    assert refs.num_tasks < len(names)
    assert found[20].startswith(f"AvganError {LETHAL}: its worker died (WorkerCrashedError)")
    assert [one for number, one in enumerate(found) if number != 20] == [
        f"{name}: 3" for name in names if name != LETHAL
    ]


def test_pictures_and_what_went_wrong_are_as_here(
    model: Model, taken: Taken, tone_wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Refs(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("text.wav").write_text("text")
    recordings = [Recording("tone.wav", "tone.wav"), Recording("text.wav", "text.wav")]
    there = list(engine.classify_on_cluster(model, Options(checksum=True), recordings, num_jobs=1))
    here = list(classify_in_turn(model, Options(checksum=True), recordings))
    (windows, remote), (expected_windows, local) = taken(there[0]), taken(here[0])
    assert windows == expected_windows
    assert remote.to_dict() == local.to_dict()
    assert (remote.picture == local.picture).all()
    with pytest.raises(AudioError) as expected:
        list(here[1])
    with pytest.raises(Exception, match="not a sound file") as error:
        list(there[1])
    assert str(error.value) == str(expected.value)


def test_another_model_is_refused(model: Model, tone_wav: Path) -> None:
    with pytest.raises(BundleError, match="another model"):
        engine._classify_group(str(model.bundle.path), "0" * 64, Options(), [Recording("a", str(tone_wav))])
