"""Units made by a cluster: the same bytes as here, also when an actor is killed or a machine is lost."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fakes import fail, fail_badly, film_of_text, make_here, open_tools

from avgan.curation import engines as engine
from avgan.curation.engines import Work, make_in_processes
from avgan.curation.pipeline import Choice, curate
from avgan.curation.record import Video, save_plan
from avgan.curation.unit import MAX_DEATHS, Report, Settings
from avgan.errors import AvganError

ray = pytest.importorskip("ray")


def built(videos: Sequence[Video], out: Path, engine: Any, open_tools: Any = open_tools) -> dict[str, bytes]:
    curate(videos, out, settings=Settings(), choice=Choice(), open_tools=open_tools, engine=engine)
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith("work")}


def films(folder: Path, *, wait: float) -> list[Video]:
    """Their clips are the same, however long they wait."""
    return [film_of_text(folder, f"film{n:02}", clips=3, noise=n, wait=wait, label="abc"[n % 3]) for n in range(40)]


def answer_of(work: Work) -> Report:
    """What an actor makes of the one unit there is."""
    answer = engine.Actor(work)({"number": [0]})
    return engine.report_of(answer["kind"][0], answer["text"][0])


def test_what_an_actor_says_becomes_what_it_means(tmp_path: Path) -> None:
    save_plan(tmp_path / "plan.parquet", [[film_of_text(tmp_path, "one", clips=2)]], "")
    assert answer_of(Work(tmp_path, "run", open_tools)).num_clips == 2
    with pytest.raises(AvganError, match=r"^no weights here; get them$"):
        answer_of(Work(tmp_path, "run", fail))
    with pytest.raises(RuntimeError, match="what nobody thought of"):
        answer_of(Work(tmp_path, "run", fail_badly))


def test_where_a_stream_breaks_another_makes_what_is_left(tmp_path: Path) -> None:
    streams: list[tuple[str, list[int]]] = []

    def two_at_a_time(work: Work, numbers: Sequence[int]) -> Any:
        streams.append((work.run, list(numbers)))
        yield from map(Report, numbers[:2])
        if len(numbers) > 2:
            raise ray.exceptions.RayActorError

    work = Work(tmp_path, "run", open_tools)
    reports = engine.make_despite_losses(two_at_a_time, work, [7, 8, 9, 10, 11])
    assert [report.number for report in reports] == [7, 8, 9, 10, 11]
    assert [numbers for _, numbers in streams] == [[7, 8, 9, 10, 11], [9, 10, 11], [11]]
    assert len({run for run, _ in streams}) == 3  # whoever ended with one did not die of a video


def test_a_cluster_that_only_breaks_is_given_up(tmp_path: Path) -> None:
    def breaking(work: Work, numbers: Sequence[int]) -> Any:
        raise ray.exceptions.ObjectLostError("", "", "")
        yield

    with pytest.raises(AvganError, match=r"broke off 5 times in a row \(ObjectLostError\)"):
        list(engine.make_despite_losses(breaking, Work(tmp_path, "run", open_tools), [0, 1]))


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the dying close nothing
@pytest.mark.parametrize(("num_lost", "num_clips"), [(0, 0), (1, 2)])
def test_deaths_before_a_machine_was_lost_are_no_videos_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_lost: int, num_clips: int
) -> None:
    def leave(video: Video) -> Any:
        raise SystemExit

    def open_deadly_tools() -> Any:
        return open_tools(cut=leave)

    save_plan(tmp_path / "plan.parquet", [[film_of_text(tmp_path, "one", clips=2)]], "")
    for _ in range(MAX_DEATHS):
        with pytest.raises(SystemExit):
            engine.Actor(Work(tmp_path, "run", open_deadly_tools))({"number": [0]})
    monkeypatch.setattr(engine, "num_lost", lambda: num_lost)
    assert answer_of(Work(tmp_path, "run", open_tools)).num_clips == num_clips


def test_no_cluster_where_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("nobody there\nmany lines")

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(AvganError, match=r"no Ray cluster at 127.0.0.1:1 \(nobody there\)"):
        list(engine.make_on_cluster(Work(tmp_path, "run", open_tools), [0], num_jobs=1))


def test_nothing_to_do_starts_no_cluster(tmp_path: Path) -> None:
    assert list(engine.make_on_cluster(Work(tmp_path, "run", open_tools), [], num_jobs=1)) == []
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_also_when_an_actor_is_killed(tmp_path: Path, fakes_are_found: None) -> None:
    videos = films(tmp_path / "videos", wait=0.05)
    here = built(videos, tmp_path / "here", partial(make_in_processes, num_jobs=2))
    for number in (3, 20):  # the first who cuts it is killed
        path = Path(videos[number].path)
        path.write_text(f"{path.read_text()} once={tmp_path}/killed{number}")
    there = built(videos, tmp_path / "there", partial(engine.make_on_cluster, num_jobs=2))
    assert len(list(tmp_path.glob("killed*"))) == 2
    assert there == here
    assert not ray.is_initialized()


@pytest.fixture
def fakes_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ray's processes, which start with an import path of their own.

    And with a niceness of 15, unless told otherwise: beside other work, they would hardly run at all.
    """
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture
def two_machines(fakes_are_found: None) -> Iterator[Any]:
    """A cluster of two machines of two cores, both of them processes here."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    ray.init(cluster.address)  # what Ray says is seen where the test fails
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_a_machine_that_is_lost_takes_nothing_along(tmp_path: Path, two_machines: Any) -> None:
    (other,) = [node for node in two_machines.list_all_nodes() if not node.head]

    def open_and_tell() -> Any:
        (tmp_path / ray.get_runtime_context().get_node_id()).touch()
        return open_tools()

    def losing(work: Work, numbers: Sequence[int]) -> Any:
        is_there = True
        for place, report in enumerate(engine.make_on_cluster(work, numbers, num_jobs=4)):
            is_at_work = (tmp_path / other.node_id).exists()
            if is_there and (is_at_work or place == 30):  # a slow machine may never come to work
                two_machines.remove_node(other, allow_graceful=False)
                is_there = False
            yield report

    videos = films(tmp_path / "videos", wait=0.3)
    there = built(videos, tmp_path / "there", losing, open_and_tell)
    assert there["losses.json"] == b"[]\n"
    videos = films(tmp_path / "videos", wait=0)
    assert there == built(videos, tmp_path / "here", make_here)
