import os

from tallystick.control.housekeeping import SETTLED_AFTER_S, UNUSED_AFTER_S, remove_unused


def test_what_nothing_refers_to_goes_and_the_rest_stays(tmp_path):
    logs, models = tmp_path / "logs", tmp_path / "models"
    for folder in (logs, models / "used", models / "old", models / "new"):
        folder.mkdir(parents=True)
    for name in ("a.build.log", "a-0.log", "a-1.log.1", "b.build.log", "b-0.log"):
        (logs / name).touch()
    for name in ("used", "old"):
        os.utime(models / name, (0, os.stat(tmp_path).st_mtime - UNUSED_AFTER_S - 60))
    run = tmp_path / "run"
    (run / "specs").mkdir(parents=True)
    for name in ("w-a-0.board", "w-b-0.board", "specs/a-0.json", "specs/b-0.json", "control.sock"):
        (run / name).touch()
    for path in tmp_path.rglob("*.*"):
        os.utime(path, (0, path.stat().st_mtime - SETTLED_AFTER_S - 60))
    (logs / "c-0.log").touch()
    for name in ("e1", "e2", "e3"):
        (tmp_path / "parity" / name / "incidents").mkdir(parents=True)
    for name in ("e1", "e2"):
        os.utime(tmp_path / "parity" / name, (0, os.stat(tmp_path).st_mtime - SETTLED_AFTER_S - 60))
    removed = remove_unused(tmp_path, run, {"a"}, {"used"}, {"e1"})
    assert sorted(path.name for path in removed) == [
        "b-0.json",
        "b-0.log",
        "b.build.log",
        "e2",
        "old",
        "w-b-0.board",
    ]
    assert sorted(path.name for path in logs.iterdir()) == ["a-0.log", "a-1.log.1", "a.build.log", "c-0.log"]
    assert sorted(path.name for path in models.iterdir()) == ["new", "used"]
    assert sorted(path.name for path in (tmp_path / "parity").iterdir()) == ["e1", "e3"]


def test_what_is_known_of_environments_goes_with_the_model(tmp_path):
    folder = tmp_path / "parity" / "ablations"
    (folder / "building").mkdir(parents=True)
    for name in ("used-1.json", "gone-1.json", "gone-2.json.tmp", "new-1.json"):
        (folder / name).touch()
    for path in (folder, *folder.glob("[ug]*-*")):
        os.utime(path, (0, path.stat().st_mtime - SETTLED_AFTER_S - 60))
    removed = remove_unused(tmp_path, tmp_path / "run", set(), {"used"}, set())
    assert sorted(path.name for path in removed) == ["gone-1.json", "gone-2.json.tmp"]
    assert sorted(path.name for path in folder.iterdir()) == ["building", "new-1.json", "used-1.json"]


def test_a_server_that_never_served_has_nothing_to_remove(tmp_path):
    assert remove_unused(tmp_path, tmp_path / "run", set(), set(), set()) == []
