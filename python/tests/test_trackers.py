"""Trackers: what their own readers find after logging, offline."""

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sharpbench
from sharpbench import trackers
from sharpbench.trackers._cells import tracked_cells

# Two settings with two seeds: each tracker takes a while for a run.
CELLS = ["optimizer=sam", "optimizer=ssam-f"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> sharpbench.Run:
    """A run of a few cells with two epochs; incomplete, as one that trains."""
    return sharpbench.run(
        "mnist",
        profile="smoke",
        out=tmp_path_factory.mktemp("trackers") / "run",
        threads=1,
        offline=True,
        quiet=True,
        extra=["--filter", ",".join([*CELLS, "seed=1234"])],
    )


def records(run: sharpbench.Run) -> dict[str, dict[str, Any]]:
    """The records by cell, read without the package."""
    found = {}
    for path in run.folders[0].glob("cells/*.json"):
        record = json.loads(path.read_text())
        found[record["id"]] = record
    return found


def identity(record: dict[str, Any]) -> str:
    finished, fingerprint = (
        record["provenance"]["finished_unix"],
        record["measures"]["fingerprint"],
    )
    return f"{record['id']}-{finished}-{fingerprint[:16]}"


def changed(run: sharpbench.Run, folder: Path, part: str, **values: object) -> sharpbench.Run:
    """A copy of a run with other values in the record of its first cell."""
    shutil.copytree(run.folders[0], folder)
    (path,) = folder.glob(f"cells/*-{run.report['rows'][0]['cells'][0]['id']}.json")
    record = json.loads(path.read_text())
    record[part] |= values
    # Records without a digest are counted.
    del record["digest"]
    path.write_text(json.dumps(record))
    return sharpbench.load(folder)


@pytest.fixture
def again(run: sharpbench.Run, tmp_path: Path) -> sharpbench.Run:
    """The same run, after one of its cells was trained again later, to the same bits."""
    return changed(run, tmp_path / "again", "provenance", finished_unix=2_000_000_000)


def test_identity_is_of_the_record(
    run: sharpbench.Run, again: sharpbench.Run, tmp_path: Path
) -> None:
    # Another machine may finish in the same second.
    elsewhere = changed(run, tmp_path / "elsewhere", "measures", fingerprint="0" * 64)
    loaded_again = sharpbench.load(run.folders[0])
    expected = [cell.record for cell in tracked_cells(run)]
    for other, same in [(loaded_again, True), (again, False), (elsewhere, False)]:
        found = [cell.record for cell in tracked_cells(other)]
        assert found[1:] == expected[1:]
        assert (found[0] == expected[0]) is same


def accuracies(record: dict[str, Any]) -> list[float]:
    return [epoch["test_accuracy"] for epoch in record["measures"]["epochs"]]


def test_cells(run: sharpbench.Run) -> None:
    cells = list(tracked_cells(run))
    assert [cell.name for cell in cells] == [
        "sam, seed 1234",
        "ssam-f .5, seed 1234",
        "ssam-f .9, seed 1234",
    ]
    assert cells[2].config["sparsity"] == 0.9
    assert cells[2].config["seed"] == 1234
    for cell in cells:
        record = records(run)[str(cell.config["cell"])]
        assert cell.config["record"] == cell.record == identity(record)
    # Keys that do not apply are left out.
    assert "sparsity" not in cells[0].config
    assert None not in cells[2].config.values()
    assert [len(cell.epochs) for cell in cells] == [2, 2, 2]


def test_large_seeds_are_text(run: sharpbench.Run) -> None:
    """Trackers show numbers in a browser, which would round this one."""
    cell = run.report["rows"][0]["cells"][0]
    cell["seed"] = 2**64 - 1
    try:
        assert next(tracked_cells(run)).config["seed"] == "18446744073709551615"
    finally:
        cell["seed"] = 1234


def test_record_that_is_gone(copied: Path) -> None:
    loaded = sharpbench.load(copied)
    next(copied.glob("cells/*.json")).unlink()
    with pytest.raises(sharpbench.SharpbenchError, match="load the run again"):
        list(tracked_cells(loaded))


def test_record_damaged_in_the_first_of_two_folders(copied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    copied.rename(other)
    copied.mkdir()
    (copied / "cells").mkdir()
    (copied / "run.json").write_bytes((other / "run.json").read_bytes())
    name = next(other.glob("cells/*.json")).name
    (copied / "cells" / name).write_text("{}")
    with pytest.warns(sharpbench.SharpbenchWarning):
        both = sharpbench.load([copied, other])
    assert len(list(tracked_cells(both))) == 4


def wandb_records(path: Path) -> list[Any]:
    """Records of a .wandb file: LevelDB's log format in blocks of 32 KiB, after 7 bytes."""
    internal = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    content, place, message, found = path.read_bytes(), 7, b"", []
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        # A whole record, or the last part of one.
        if kind in (1, 4):
            found.append(internal.Record.FromString(message))
            message = b""
    return found


def updates(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_wandb(run: sharpbench.Run, again: sharpbench.Run, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    names = trackers.to_wandb(run, "project", dir=tmp_path)
    assert len(names) == 3
    # wandb writes in a process of its own, which may end a file a little later.
    wandb.teardown()
    files = list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    expected, seen = records(run), []
    for file in files:
        found = wandb_records(file)
        (started,) = (each.run for each in found if each.WhichOneof("record_type") == "run")
        config = updates(started.config.update)
        record = expected[config["cell"]]
        seen.append(started.display_name)
        assert started.project == "project"
        assert config["rho"] == 0.05
        assert config["seed"] == record["cell"]["seed"]
        history = [
            updates(each.history.item)
            for each in found
            if each.WhichOneof("record_type") == "history"
        ]
        assert [line["test/accuracy"] for line in history] == accuracies(record)
        assert [line["_step"] for line in history] == [1, 2]
        summary: dict[str, Any] = {}
        for each in found:
            if each.WhichOneof("record_type") == "summary":
                summary |= updates(each.summary.update)
        measures = record["measures"]
        assert summary["test_accuracy_last"] == measures["test_accuracy_last"]
        assert summary["step_seconds_median"] == measures["step_seconds"]["median"]
        assert summary["flops_executed"] == measures["flops_executed"]
        (ended,) = (each.exit for each in found if each.WhichOneof("record_type") == "exit")
        assert ended.exit_code == 0
    assert sorted(seen) == sorted(names)
    # Again: nothing new. Another project: its own runs.
    assert trackers.to_wandb(run, "project", dir=tmp_path) == []
    assert sorted(tmp_path.glob("wandb/offline-run-*/*.wandb")) == sorted(files)
    assert trackers.to_wandb(run, "other", dir=tmp_path) == names
    # A cell trained again.
    assert trackers.to_wandb(again, "project", dir=tmp_path) == names[:1]


def test_wandb_leaves_a_run_of_the_users_active(run: sharpbench.Run, tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    with wandb.init(project="own", mode="offline", dir=str(tmp_path)) as own:
        trackers.to_wandb(run, "project", dir=tmp_path)
        assert wandb.run is own
        own.log({"still": 1})


def test_mlflow(run: sharpbench.Run, again: sharpbench.Run, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    names = trackers.to_mlflow(run, "experiment", tracking_uri=uri)
    client = mlflow.MlflowClient(tracking_uri=uri)
    place = client.get_experiment_by_name("experiment").experiment_id
    found = client.search_runs([place])
    assert sorted(each.info.run_name for each in found) == sorted(names)
    expected = records(run)
    for each in found:
        record = expected[each.data.params["cell"]]
        assert each.data.tags["sharpbench.record"] == identity(record)
        measures = record["measures"]
        assert each.info.status == "FINISHED"
        assert each.info.end_time == 1000 * record["provenance"]["finished_unix"]
        assert each.data.params["seed"] == str(record["cell"]["seed"])
        assert each.data.params["rho"] == "0.05"
        history = client.get_metric_history(each.info.run_id, "test/accuracy")
        assert [point.value for point in history] == accuracies(record)
        assert [point.step for point in history] == [1, 2]
        assert each.data.metrics["test_accuracy_last"] == measures["test_accuracy_last"]
        assert each.data.metrics["step_seconds_median"] == measures["step_seconds"]["median"]
        assert each.data.metrics["flops_executed"] == measures["flops_executed"]
    assert trackers.to_mlflow(run, "experiment", tracking_uri=uri) == []
    # What was not logged to its end is replaced.
    client.update_run(found[0].info.run_id, status="RUNNING")
    replaced = trackers.to_mlflow(run, "experiment", tracking_uri=uri)
    assert replaced == [found[0].info.run_name]
    assert len(client.search_runs([place])) == 3
    # A cell trained again.
    assert trackers.to_mlflow(again, "experiment", tracking_uri=uri) == names[:1]
    assert len(client.search_runs([place])) == 4
    # MLflow keeps a deleted experiment and its name.
    client.delete_experiment(place)
    with pytest.raises(sharpbench.SharpbenchError, match="the experiment experiment is deleted;"):
        trackers.to_mlflow(run, "experiment", tracking_uri=uri)
    client.restore_experiment(place)
    assert trackers.to_mlflow(run, "experiment", tracking_uri=uri) == []


def test_trackio(
    run: sharpbench.Run, again: sharpbench.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trackio")
    # Trackio reads TRACKIO_DIR when it is imported, so it gets a process of its own.
    script = (
        "import json, sys, sharpbench, trackio\n"
        "from trackio.sqlite_storage import SQLiteStorage\n"
        "run, again = map(sharpbench.load, sys.argv[1:])\n"
        "log = lambda run: sharpbench.trackers.to_trackio(run, 'project')\n"
        "names = [log(run), log(run)]\n"
        "runs = [[r.name, r.config, SQLiteStorage.get_logs('project', r.name)]\n"
        "        for r in trackio.Api().runs('project')]\n"
        "names += [log(again), log(again)]\n"
        "later = [[r.name, r.config['record'],\n"
        "          len(SQLiteStorage.get_logs('project', r.name, run_id=r.id))]\n"
        "         for r in trackio.Api().runs('project')]\n"
        "print('\\n' + json.dumps([*names, runs, later]))\n"
    )
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.folders[0]), str(again.folders[0])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second, third, fourth, runs, later = json.loads(done.stdout.splitlines()[-1])
    assert second == []
    # A cell trained again: a run of its own with the same name.
    assert (third, fourth) == (first[:1], [])
    assert sorted(name for name, _, _ in later) == sorted([*first, *third])
    assert {record for _, record, _ in later} == {
        cell.record for each in (run, again) for cell in tracked_cells(each)
    }
    assert {logs for _, _, logs in later} == {2}
    assert sorted(first) == sorted(name for name, _, _ in runs)
    assert len(first) == 3
    expected = records(run)
    for _, config, logs in runs:
        record = expected[config["cell"]]
        measures = record["measures"]
        assert config["rho"] == 0.05
        assert config["seed"] == record["cell"]["seed"]
        logs.sort(key=lambda log: log["step"])
        assert [log["step"] for log in logs] == [1, 2]
        assert [log["test/accuracy"] for log in logs] == accuracies(record)
        assert logs[-1]["test_accuracy_last"] == measures["test_accuracy_last"]
        assert logs[-1]["step_seconds_median"] == measures["step_seconds"]["median"]
        assert logs[-1]["flops_executed"] == measures["flops_executed"]


@pytest.mark.parametrize(
    ("tracker", "package"),
    [
        (trackers.to_wandb, "wandb"),
        (trackers.to_mlflow, "mlflow"),
        (trackers.to_trackio, "trackio"),
    ],
)
def test_missing_tracker(
    run: sharpbench.Run, tracker: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(sharpbench.SharpbenchError, match=f"pip install {package}"):
        tracker(run, "name")
