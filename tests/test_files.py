"""Writing files: all of it or nothing."""

import json
import os
import subprocess
import sys

import pytest

from keras_htaf import files
from keras_htaf.files import check_writable, replacing, sweep, write_json

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_file_is_replaced(tmp_path):
    path = tmp_path / "new" / "deeper" / "data.npz"
    for text in ("one", "two"):
        with replacing(path) as temporary:
            assert temporary.suffix == ".npz"
            assert temporary.parent == path.parent
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert listing(path.parent) == ["data.npz"]


def test_folder_is_replaced(tmp_path):
    path = tmp_path / "saved.model"
    for name in ("one", "two"):
        with replacing(path) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
        assert listing(tmp_path) == ["saved.model", f"saved.model/{name}"]


@pytest.mark.parametrize("kind", ["file", "folder", "nothing"])
@pytest.mark.parametrize("written", ["file", "folder", "nothing"])
def test_error_leaves_the_old(tmp_path, kind, written):
    path = tmp_path / "thing"
    if kind == "file":
        path.write_text("old")
    elif kind == "folder":
        path.mkdir()
        (path / "old").write_text("old")
    before = listing(tmp_path)
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:  # noqa: PT012
        if written == "file":
            temporary.write_text("new")
        elif written == "folder":
            temporary.mkdir()
            (temporary / "new").write_text("new")
        raise KeyboardInterrupt
    assert listing(tmp_path) == before
    if kind != "nothing":
        assert (path / "old" if kind == "folder" else path).read_text() == "old"


@pytest.mark.parametrize("old", ["file", "folder"])
def test_kinds_can_change(tmp_path, old):
    path = tmp_path / "thing"
    if old == "file":
        path.write_text("old")
        with replacing(path) as temporary:
            temporary.mkdir()
        assert path.is_dir()
    else:
        path.mkdir()
        with replacing(path) as temporary:
            temporary.write_text("new")
        assert path.read_text() == "new"
    assert listing(tmp_path) == ["thing"]


def test_a_block_that_writes_nothing(tmp_path):
    (tmp_path / "thing").write_text("old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "thing"):
        pass
    assert (tmp_path / "thing").read_text() == "old"


def test_failed_rename_restores_the_old_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)  # as where it is not known
    path = tmp_path / "thing"
    path.mkdir()
    (path / "old").write_text("old")
    rename = os.replace

    def failing(source, target):
        if target == path and not str(source).endswith(".old"):
            raise OSError("disk full")
        rename(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="disk full"), replacing(path) as temporary:
        temporary.mkdir()
    assert listing(tmp_path) == ["thing", "thing/old"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there are two steps")
def test_a_folder_is_there_at_any_moment(tmp_path, monkeypatch):
    path = tmp_path / "thing"
    path.mkdir()
    (path / "old").write_text("old")
    rename = os.replace
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("two steps"))
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    monkeypatch.setattr(os, "replace", rename)
    assert listing(tmp_path) == ["thing", "thing/new"]


def test_all_is_on_the_disk_before_the_renaming_and_the_name_after(tmp_path, monkeypatch):
    calls, flush, rename = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("flush"), flush(fd))[1])
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("rename"), rename(*a))[1])
    write_json(tmp_path / "values.json", 1)
    assert calls == ["flush", "rename", "flush"]


def test_what_a_killed_process_left_is_swept(tmp_path):
    script = (
        "import os, runpy, sys; replacing = runpy.run_path(sys.argv[2])['replacing']\n"
        "with replacing(sys.argv[1]) as t: t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "a.b.json"
    subprocess.run(
        [sys.executable, "-c", script, str(path), files.__file__], check=False, timeout=120
    )
    (left,) = listing(tmp_path)
    (tmp_path / ".a.b.old.json").write_text("of somebody else")
    (tmp_path / f".a.b.{os.getppid()}.json").write_text("of a process that is running")
    sweep(path)
    assert len(listing(tmp_path)) == 2
    assert left not in listing(tmp_path)


def test_write_json(tmp_path):
    path = tmp_path / "values.json"
    write_json(path, {"b": 1, "a": [1.5, None]})
    assert json.loads(path.read_text()) == {"a": [1.5, None], "b": 1}
    assert path.read_text().endswith("}\n")
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text())["b"] == 1
    assert listing(tmp_path) == ["values.json"]


def test_check_writable(tmp_path):
    assert check_writable(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert listing(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match=r"Cannot write into .*Choose another"):
        check_writable(tmp_path / "file")
    with pytest.raises(PermissionError, match="Cannot write into"):
        check_writable(tmp_path / "file" / "below")


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_check_unwritable(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="Cannot write into"):
        check_writable(tmp_path)
    with pytest.raises(PermissionError):
        write_json(tmp_path / "values.json", {})
