"""The order of the house: who may import whom, and what `import keras_htaf` loads."""

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_htaf

ROOT = Path(keras_htaf.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
PACKED = sorted((ROOT.parent / "keras_htaf_packed").rglob("*.py"))
COMMAND = sorted((ROOT.parent / "keras_htaf_cli").rglob("*.py"))

ORDER = [
    {"files", "samples"},
    {"backend"},
    {"surrogates"},
    {"ops", "constraints"},
    {"quantizers", "initializers", "neurons"},
    {"layers"},
    {"hardening", "regularizers", "losses", "metrics", "datasets", "optimizers"},
    {"callbacks", "calibration", "costs", "distillation", "distribution", "models", "pictures"}
    | {"saving"},
    {"training"},
    {"diagnosis"},
    {"interpret"},
    {"exchange", "jobs", "packed"},
    {"export"},
    {"serving"},
    {"cli"},
]
"""A room imports rooms of the lines above its own only."""

FRAMEWORKS = {"tensorflow", "jax", "torch"}
LAZY = {
    *("matplotlib", "numba", "tensorflow_datasets", "sklearn", "scipy", "typer", "rich", "onnx"),
    *("tonic", "nir", "snntorch", "jinja2", "PIL", "llvmlite", "safetensors", "threadpoolctl"),
    *("kserve", "fastapi", "uvicorn", "orjson", "grain", "ray", "pyarrow"),
    *("onnxruntime", "onnxscript", "tf2onnx", "openvino", "ai_edge_litert"),
}
COMMANDS = {"cli", "serving"}
"""Rooms that commands load, and nothing else."""


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def level(name: str) -> int:
    (found,) = [i for i, rooms in enumerate(ORDER) if name in rooms] or [None]
    assert found is not None, f"the room {name!r} is not in ORDER"
    return found


def imported(tree):
    """All modules that the nodes import, as dotted names; of `from a import b` also a.b."""
    for node in tree:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def everywhere(path):
    return list(imported(ast.walk(ast.parse(path.read_text("utf-8")))))


def at_module_level(path):
    """What is imported when the module is: not in functions, nor for type checkers only."""
    pending, nodes = [ast.parse(path.read_text("utf-8"))], []
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or (
            isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ):
            continue
        nodes.append(node)
        pending.extend(ast.iter_child_nodes(node))
    return list(imported(nodes))


every_file = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))


@every_file
def test_nothing_imports_up(path):
    if path.parent == ROOT and path.name == "__init__.py":
        return
    own = room(path)
    for name in everywhere(path):
        parts = name.split(".")
        if parts[0] == "keras_htaf" and len(parts) > 1:
            target = parts[1]
            public = own == "cli" and not any(target in rooms for rooms in ORDER)
            assert public or target == own or level(target) < level(own), f"imports {name}"
        assert parts[0] != "keras_htaf_cli" or own in COMMANDS, f"imports {name}"


@every_file
def test_frameworks_only_in_backend(path):
    allowed = {path.stem} if ROOT / "backend" in path.parents else set()
    top = {name.split(".")[0] for name in at_module_level(path)}
    assert top & FRAMEWORKS <= allowed
    if room(path) not in COMMANDS:
        assert not top & LAZY


@pytest.mark.parametrize("path", PACKED, ids=lambda p: str(p.relative_to(ROOT.parent)))
def test_packed_networks_know_no_keras(path):
    top = {name.split(".")[0] for name in everywhere(path)}
    assert not top & {"keras", "keras_htaf", *FRAMEWORKS}
    top = {name.split(".")[0] for name in at_module_level(path)}
    if path.parent.name != "kernels":
        assert not top & LAZY
    assert len(path.read_text("utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", COMMAND, ids=lambda p: p.name)
def test_options_know_no_keras(path):
    top = {name.split(".")[0] for name in at_module_level(path)}
    assert not top & {"keras", "keras_htaf", "numpy", *FRAMEWORKS}
    assert len(path.read_text("utf-8").splitlines()) <= 400


@every_file
def test_nobody_imports_private_keras(path):
    assert not [name for name in everywhere(path) if name.startswith("keras.src")]


@every_file
def test_no_file_is_long(path):
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_every_room_has_its_place():
    assert {room(path) for path in FILES} - {"__init__"} == set().union(*ORDER)


def fresh(script: str):
    """What a process of its own prints last, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def imported_by_package():
    return fresh("""
import json, sys
import keras  # which loads frameworks of its own accord
before = set(sys.modules)
import keras_htaf
names = set(keras.saving.get_custom_objects())
print(json.dumps([sorted(before), sorted(sys.modules), sorted(names)]))
""")


def test_import_loads_no_more_than_it_needs(imported_by_package):
    before, after, _ = imported_by_package
    fresh = {name.split(".")[0] for name in set(after) - set(before)}
    assert not fresh & (FRAMEWORKS - {keras.config.backend()} | LAZY)
    assert "sklearn.datasets" not in after
    rooms = {name.split(".")[1] for name in after if name.startswith("keras_htaf.")}
    assert not rooms & {*keras_htaf._ROOMS, "cli"}


def test_import_registers_all_classes(imported_by_package):
    """So that `keras.saving.load_model` needs no more than `import keras_htaf`."""
    *_, names = imported_by_package
    for module in pkgutil.walk_packages(keras_htaf.__path__, "keras_htaf."):
        if not module.name.startswith(("keras_htaf.backend.", "keras_htaf.cli.contender")):
            importlib.import_module(module.name)
    ours = {
        name
        for name, thing in keras.saving.get_custom_objects().items()
        if name.startswith("keras_htaf>") and thing.__module__.startswith("keras_htaf.")
    }
    assert len(ours) > 60
    assert ours <= set(names)


def test_rooms_are_attributes():
    assert {"costs", "models", "summary"} <= set(dir(keras_htaf))
    assert all(hasattr(keras_htaf, name) for name in dir(keras_htaf))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = keras_htaf.nothing


def test_help_loads_no_keras():
    modules = fresh("""
import json, sys
from keras_htaf_cli import main
sys.argv = ["keras-htaf", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
print(json.dumps(sorted(sys.modules)))
""")
    assert "typer" in modules
    assert not {name.split(".")[0] for name in modules} & {"keras", "keras_htaf", "numpy"}
