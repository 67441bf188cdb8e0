"""load_model: good files load; broken and hostile ones are refused before anything runs."""

import contextlib
import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_htaf import layers, load_model

X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def make_model():
    inputs = keras.Input((3,))
    x = layers.HTAF(name="bits")(keras.layers.Dense(2, name="dense")(inputs))
    return keras.Model(inputs, x)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.keras"
    model = make_model()
    model.compile("adam", "mse", metrics=["mae"])
    model.save(path)
    return path


@pytest.fixture
def tampered(good):
    """Writes a copy of a good file with other members: bytes, or None to leave one out."""

    def write(compression=zipfile.ZIP_STORED, **changes):
        path = good.with_name("tampered.keras")
        with zipfile.ZipFile(good) as source:
            members = {name: source.read(name) for name in source.namelist()}
        for name, content in changes.items():
            members[{"config": "config.json", "weights": "model.weights.h5"}.get(name, name)] = (
                content
            )
        with zipfile.ZipFile(path, "w", compression) as target:
            for name, content in members.items():
                if content is not None:
                    target.writestr(name, content)
        return path

    return write


@pytest.fixture
def with_config(good, tampered):
    """Writes a copy of a good file whose config was given to a function to change."""

    def write(change):
        with zipfile.ZipFile(good) as source:
            config = json.loads(source.read("config.json"))
        config = change(config) or config
        return tampered(config=json.dumps(config).encode())

    return write


def dense_of(config):
    return next(e for e in config["config"]["layers"] if e["class_name"] == "Dense")


# Good files


def test_good_file(good):
    model = load_model(good)
    assert model.compiled
    assert load_model(str(good)).layers[-1].forward_mode == "smooth"


def test_every_usual_kind_of_object(tmp_path):
    """Operations, functions, losses, schedules, wrappers, custom layers: nothing is refused."""
    inputs = keras.Input((4, 3), name="x")
    x = keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True))(inputs)
    x = keras.layers.TimeDistributed(keras.layers.Dense(3, kernel_regularizer="l2"))(x)
    x = keras.ops.relu(x) * 2 + keras.ops.sum(inputs, axis=1, keepdims=True)
    x = Doubled(activation=keras.ops.tanh)(x[:, 1:])
    x = keras.layers.Dense(3, activation=my_activation, kernel_constraint="max_norm")(x)
    x = layers.Sign("ste")(
        keras.layers.Dense(2, dtype="mixed_bfloat16", activation=layers.HTAF())(x)
    )
    model = keras.Model(inputs, {"a": x, "b": keras.layers.Flatten()(x)})
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(
        keras.optimizers.AdamW(schedule),
        {"a": keras.losses.MeanSquaredError(), "b": keras.losses.mean_absolute_error},
        metrics={"a": [my_activation], "b": ["mae", keras.metrics.RootMeanSquaredError()]},
    )
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    np.testing.assert_allclose(
        again.predict(x, verbose=0)["b"], model.predict(x, verbose=0)["b"], atol=1e-5
    )


@keras.saving.register_keras_serializable("test_saving")
def my_activation(x, y=0.0):
    return x + y


@keras.saving.register_keras_serializable("test_saving")
class Doubled(keras.layers.Layer):
    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)

    def call(self, x):
        return self.activation(2 * x)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}


# Broken files


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no model file"):
        load_model(tmp_path / "none.keras")
    with pytest.raises(FileNotFoundError, match="There is no model file"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip file", b"\x89HDF\r\n\x1a\n" * 100])
def test_no_zip(tmp_path, content):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a readable \.keras file"):
        load_model(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(good, share):
    content = good.read_bytes()
    good.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match="not a readable"):
        load_model(good)


@pytest.mark.parametrize("at", [0.2, 0.5, 0.7])
def test_flipped_bytes(good, at):
    content = bytearray(good.read_bytes())
    begin = int(len(content) * at)
    content[begin : begin + 8] = bytes(255 - b for b in content[begin : begin + 8])
    good.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a readable|cannot be loaded"):
        load_model(good)


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
def test_missing_member(tampered, member):
    with pytest.raises(ValueError, match=f"it lacks .*{member}"):
        load_model(tampered(**{member: None}))


@pytest.mark.parametrize(
    "config",
    [b"", b"{", b"\xff\xfe", b'{"a": NaN', b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000],
    ids=["empty", "open", "bytes", "nan", "lists", "dicts", "digits"],
)
def test_damaged_json(tampered, config):
    with pytest.raises(ValueError, match=r"not a readable|cannot be loaded"):
        load_model(tampered(config=config))


@pytest.mark.parametrize("depth", [300, 900, 990])
def test_deep_nesting(with_config, depth):
    def nest(config):
        inner = {"class_name": "eval", "module": "builtins", "config": {}}
        for i in range(depth // 2):
            inner = [inner] if i % 2 else {"a": inner}
        dense_of(config)["config"]["extra"] = inner

    with pytest.raises(ValueError, match=r"not a readable|could run code"):
        load_model(with_config(nest))


@pytest.mark.parametrize(
    "config",
    ["[]", "3", '"relu"', "null", "{}", '{"class_name": 3, "config": {}}', '{"config": {}}'],
)
def test_config_is_no_model(tampered, config):
    with pytest.raises(ValueError, match=r"cannot be loaded|could run code|Expected a keras.Model"):
        load_model(tampered(config=config.encode()))


def test_file_of_a_layer(tampered):
    config = keras.saving.serialize_keras_object(keras.layers.Dense(3))
    with pytest.raises(ValueError, match=r"cannot be loaded|Expected a keras\.Model"):
        load_model(tampered(config=json.dumps(config).encode()))


def test_damaged_weights(tampered):
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(tampered(weights=b"no h5"))


@pytest.mark.parametrize("damage", ["shape", "absent", "mode"])
def test_wrong_weights(good, tampered, damage):
    with zipfile.ZipFile(good) as source:
        file = io.BytesIO(source.read("model.weights.h5"))
    with h5py.File(file, "r+") as weights:
        found = weights["layers/dense/vars"]
        if damage == "mode":
            weights["layers/htaf/vars"]["forward"] = np.array(7)
        else:
            del found["0"]
            if damage == "shape":
                found["0"] = np.zeros((3, 7), "float32")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(tampered(weights=file.getvalue()))


def test_decompression_bomb(tampered):
    path = tampered(zipfile.ZIP_DEFLATED, **{"assets/zeros": bytes(20_000_000)})
    with pytest.raises(ValueError, match="100 times its size"):
        load_model(path)


def test_unknown_compression_and_encryption(good):
    content = good.read_bytes()
    for offset, value in ((6, 1), (8, 99)):  # general purpose flag: encrypted; method: unknown
        damaged = bytearray(content)
        central = content.index(b"PK\x01\x02")
        for begin, shift in ((0, 0), (central, 2)):
            damaged[begin + shift + offset] = value
        good.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a readable"):
            load_model(good)


# Hostile files


def function(name, module="builtins", registered="function"):
    return {
        "class_name": "function",
        "config": name,
        "module": module,
        "registered_name": registered,
    }


def instance(class_name, module, registered=None, **config):
    return {
        "class_name": class_name,
        "config": config,
        "module": module,
        "registered_name": registered,
    }


def lambda_code():
    return {"class_name": "__lambda__", "config": {"value": {"code": "4wEAAAA="}}}


HOSTILE = {
    "os.system": function("system", "os"),
    "os.system posing as registered": function("system", "os", "keras_htaf>HTAF"),
    "posix class": instance("system", "posix"),
    "subprocess": instance("Popen", "subprocess", args=["true"]),
    "eval": instance("eval", "builtins"),
    "eval as function": function("eval", "builtins.eval"),
    "unregistered class": instance("Mine", "their_module", "their_package>Mine"),
    "no module": {"class_name": "Mine", "config": {}},
    "odd module": {"class_name": "Mine", "config": {}, "module": ["os"]},
    "odd name": {"class_name": ["Lambda"], "config": {}, "module": "keras.layers"},
    "odd registered name": instance("Mine", "os", ["keras_htaf>HTAF"]),
    "package that begins like keras": instance("Dense", "keras_evil.layers"),
    "keras_hub": instance("Dense", "keras_hub.layers"),
    "Lambda": instance("Lambda", "keras.layers", function=lambda_code()),
    "Lambda from its file": instance("Lambda", "keras.src.layers.core.lambda_layer"),
    "Lambda by a dotted name": instance("layers.Lambda", "keras", function=lambda_code()),
    "Lambda without module": {"class_name": "Lambda", "config": {"function": lambda_code()}},
    "code": lambda_code(),
    "code posing as registered": {**lambda_code(), "registered_name": "keras_htaf>HTAF"},
    "saved model": instance("TFSMLayer", "keras.layers", filepath="elsewhere"),
    "torch pickle": instance("TorchModuleWrapper", "keras.layers"),
    "type spec": {**instance("__typespec__", "keras.utils"), "spec_name": "get_file"},
    "download": function("get_file", "keras.utils"),
    "download as class": instance("get_file", "keras.utils"),
    "data set": function("load_data", "keras.datasets.mnist"),
    "setting": function("set_epsilon", "keras.config"),
    "unsafe mode": function("enable_unsafe_deserialization", "keras.config"),
    "unsafe mode from its file": function(
        "enable_unsafe_deserialization", "keras.src.saving.serialization_lib"
    ),
    "application": function("MobileNet", "keras.applications.mobilenet"),
    "callback": instance("BackupAndRestore", "keras.callbacks", backup_dir="elsewhere"),
    "export archive": instance("ExportArchive", "keras.export"),
    "file editor": function("KerasFileEditor", "keras.saving"),
    "constructor as function": function("TFSMLayer", "keras.layers"),
}
PLACES = {
    "activation": lambda config, bad: dense_of(config)["config"].update(activation=bad),
    "initializer": lambda config, bad: dense_of(config)["config"].update(kernel_initializer=bad),
    "argument": lambda config, bad: dense_of(config)["inbound_nodes"][0]["kwargs"].update(a=[bad]),
    "loss": lambda config, bad: config["compile_config"].update(loss=[[{"a": bad}]]),
    "layer": lambda config, bad: config["config"]["layers"].append({"name": "bad", **bad}),
    "all": lambda config, bad: bad,
}


@pytest.mark.parametrize("bad", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_hostile_config(with_config, monkeypatch, bad, place):
    def unreached(*args, **kwargs):
        raise AssertionError("Keras was asked to build it")

    monkeypatch.setattr(keras.saving, "load_model", unreached)
    with pytest.raises(ValueError, match="could run code of the file's author"):
        load_model(with_config(lambda config: place(config, bad)))


def test_functions_called_while_a_graph_is_rebuilt(with_config, tmp_path):
    """Keras calls the branches of an operation when it rebuilds the graph around it.

    Its own safe mode lets any function of its API be one, with arguments that the file chooses.
    """

    def attack(config):
        tensor = dense_of(config)["inbound_nodes"][0]["args"][0]
        node = {
            "args": [tensor, [function("set_epsilon", "keras.config", None)], 0.5],
            "kwargs": {},
        }
        switch = instance("Switch", "keras.src.ops.core", "Switch", name="switch")
        config["config"]["layers"].append({**switch, "name": "switch", "inbound_nodes": [node]})

    before = keras.config.epsilon()
    with pytest.raises(ValueError, match=r"set_epsilon.*could run code"):
        load_model(with_config(attack))
    assert keras.config.epsilon() == before


def test_reading_a_file_into_a_vocabulary(with_config, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    lookup = instance("StringLookup", "keras.layers", vocabulary=str(secret), name="lookup")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(with_config(lambda c: {**lookup, "name": "lookup"}))


def test_other_suffixes_are_not_another_format(good, tmp_path):
    """A file may be HDF5 (which Keras reads by its suffix) and a harmless zip file at once."""
    for suffix in (".h5", ".hdf5", ".zip", ""):
        with pytest.raises(ValueError, match=r"name ends in \.keras"):
            load_model(good.rename(tmp_path / f"model{suffix}"))
        good = tmp_path / f"model{suffix}"


def test_members_stay_in_their_folder(tampered, tmp_path):
    outside = ["../escaped.txt", "assets/../../escaped.txt", str(tmp_path / "escaped.txt")]
    path = tampered(**dict.fromkeys(outside, b"x"))
    with contextlib.suppress(ValueError):  # whether the rest of it loads is Keras's to decide
        load_model(path)
    assert not [*tmp_path.rglob("escaped*"), *tmp_path.parent.glob("escaped*")]


def test_external_links_in_the_weights(good, tampered, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.ones((3, 2), "float32")
    with zipfile.ZipFile(good) as source:
        content = io.BytesIO(source.read("model.weights.h5"))
    with h5py.File(content, "r+") as weights:
        found = weights["layers/dense/vars"]
        del found["0"]
        found["0"] = h5py.ExternalLink(str(other), "secret")
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(tampered(weights=content.getvalue()))
