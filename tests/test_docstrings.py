"""Every public name has a docstring that says what it takes, gives and looks like in use."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import types
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_htaf
import keras_htaf_cli
import keras_htaf_packed

MODULES = [
    module.name
    for package in (keras_htaf, keras_htaf_cli, keras_htaf_packed)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.startswith(("keras_htaf.backend", "keras_htaf.cli"))
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, tmp_path):
    module = importlib.import_module(name)
    names = {"keras": keras, "np": np, "keras_htaf": keras_htaf, "tmp": tmp_path}
    result = doctest.testmod(
        module, extraglobs=names, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert result.failed == 0


def rooms() -> list[types.ModuleType]:
    """What a user may import: the packages themselves and the public rooms of the one."""
    names = [name for name in dir(keras_htaf) if not name.startswith("_")]
    things = [getattr(keras_htaf, name) for name in names]
    found = [thing for thing in things if getattr(thing, "__name__", "").startswith("keras_htaf.")]
    return [keras_htaf_packed, keras_htaf, *(t for t in found if inspect.ismodule(t))]


def names_of(room: types.ModuleType) -> list[str]:
    """`__all__`, or else what the module defines and does not hide."""
    own = [n for n, x in vars(room).items() if getattr(x, "__module__", None) == room.__name__]
    return getattr(room, "__all__", [name for name in own if not name.startswith("_")])


PUBLIC: dict[str, object] = {}
"""Each class and function once, under the first of its public names."""
INTERNAL = {"keras_htaf.backend", "keras_htaf.cli", "keras_htaf.files", "keras_htaf.samples"}
for _room in rooms():
    for _name in names_of(_room) if _room.__name__ not in INTERNAL else []:
        _thing = getattr(_room, _name)
        if callable(_thing) and not any(_thing is known for known in PUBLIC.values()):
            PUBLIC[f"{_room.__name__}.{_name}"] = _thing

every_name = pytest.mark.parametrize("name", PUBLIC)


def docstring(thing) -> str:
    """Its own, not that of a base class."""
    return inspect.cleandoc(
        vars(thing).get("__doc__") or "" if inspect.isclass(thing) else (thing.__doc__ or "")
    )


def section(text: str, *titles: str) -> str | None:
    """The text under one of the titles, up to the next; `None` if there is none of them."""
    pattern = rf"^(?:{'|'.join(titles)}):(.*?)(?=^[A-Z][A-Za-z ]*:|\Z)"
    found = re.search(pattern, text, re.DOTALL | re.MULTILINE)
    return found and found[1]


def parameters(thing) -> list[str]:
    if inspect.isclass(thing) and thing.__init__ is object.__init__:
        return []
    found = inspect.signature(thing).parameters.values()
    return [p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


RESULTS = {"costs", "diagnosis"}
"""Rooms of which users only get objects, whose fields are described where they stand."""


@every_name
def test_arguments_are_described(name):
    thing = PUBLIC[name]
    text = docstring(thing)
    assert text, "no docstring"
    if dataclasses.is_dataclass(thing) or hasattr(thing, "_fields"):
        described = section(text, "Args", "Attributes")
    else:
        described = section(text, "Args")
    taken = parameters(thing)
    options = inspect.isclass(thing) and inspect.signature(thing).parameters
    if name.split(".")[1] in RESULTS or not (taken or options):
        return
    assert described is not None, f"takes {taken}"
    if not re.match(r" *\S", described):  # else it is like another's: "Args: as `LIF`"
        missing = [p for p in taken if not re.search(rf"\b{p}\b", described)]
        assert not missing


def test_lists_of_arguments_are_what_the_pages_can_show(caplog):
    """A line that is not read as `name: description` would be missing there."""
    griffe = pytest.importorskip("griffe", reason="needs the extra docs")
    root = Path(keras_htaf.__file__).parents[1]
    for package in (keras_htaf, keras_htaf_cli, keras_htaf_packed):
        found = griffe.load(package.__name__, search_paths=[root], docstring_parser="google")
        waiting = [found]
        while waiting:
            members = [thing for thing in waiting.pop().members.values() if not thing.is_alias]
            for thing in members:
                _ = thing.docstring and thing.docstring.parsed
            waiting += [thing for thing in members if thing.is_module or thing.is_class]
    assert not [line for line in caplog.messages if "Failed to get" in line]


@every_name
def test_results_are_described(name):
    thing = PUBLIC[name]
    if inspect.isclass(thing):
        return
    gives = inspect.signature(thing).return_annotation
    if gives not in (None, "None"):
        assert section(docstring(thing), "Returns", "Yields"), f"gives {gives}"


@every_name
def test_there_is_an_example(name):
    assert doctest.DocTestParser().get_examples(docstring(PUBLIC[name]))


LITERATURE = {
    *("constraints", "distillation", "exchange", "layers", "losses", "metrics", "models"),
    *("neurons", "ops", "optimizers", "quantizers", "regularizers", "surrogates"),
}
"""Rooms of methods that were published."""

OURS = {
    # Registries, and what tells what a model is made of.
    *("get", "binary_kernels", "BinaryKernel", "binary_weights", "transfer_weights"),
    # Reshaping, carrying and packing.
    *("FoldTime", "RepeatTime", "ReduceTime", "ActivityPenalty", "pack_bits", "unpack_bits"),
    *("scan", "streaming", "initial_state"),
    # This package's own, or what everybody draws.
    *("ConceptGroups", "concept_maps", "small_cnn", "Quantizer"),
}


@every_name
def test_there_is_a_reference(name):
    room, thing = name.split(".")[-2:]
    if room not in LITERATURE or thing in OURS:
        return
    thing = thing.removesuffix("Cell") if thing != "BinaryRNNCell" else thing
    text = docstring(PUBLIC[name.rpartition(".")[0] + "." + thing])
    assert re.search(r"\d{4}\), (arXiv|doi):|\(\d{4}\), [A-Z]", section(text, "Reference") or "")


@every_name
def test_methods_are_described(name):
    thing = PUBLIC[name]
    if not inspect.isclass(thing):
        return
    ours = [base for base in thing.__mro__ if base.__module__.startswith("keras_htaf")]
    foreign = [*(base for base in thing.__mro__ if base not in ours), keras.layers.Layer]
    for method, definition in vars(thing).items():
        if method.startswith("_") or any(hasattr(base, method) for base in foreign):
            continue
        if inspect.isfunction(definition) or isinstance(definition, property):
            assert inspect.getdoc(getattr(thing, method)), method
