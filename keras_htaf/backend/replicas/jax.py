"""Devices of JAX, through `keras.distribution`: one program over all of them.

XLA divides the program, so that batch statistics, penalties and metrics are those of the whole
batch. What is left to do is the batch that the devices do not divide, on which Keras raises: here
all devices get all of a batch, and the step asks for it to be divided where it can be.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from keras import distribution as _distribution
from keras import tree

from keras_htaf.backend.replicas import share


def _devices(devices: int | None) -> list:
    """The first of the devices; virtual ones on a CPU that has too few and has not begun."""
    if devices is not None:
        with_cpu = jax.config.jax_platforms in (None, "", "cpu")
        try:
            if with_cpu and jax.config.jax_num_cpu_devices < devices:
                jax.config.update("jax_num_cpu_devices", devices)
        except RuntimeError:  # JAX runs already: what it has now is counted below
            pass
    found = _distribution.list_devices()
    if devices is not None and not 1 <= devices <= len(found):
        raise ValueError(
            f"Received devices={devices!r}, but JAX has {len(found)}. Expected at most that many; "
            "more on a CPU by the environment variable "
            f"XLA_FLAGS=--xla_force_host_platform_device_count={devices}, or by asking before "
            "anything has been computed."
        )
    return found[:devices]


class _Whole:
    """Each device gets all of a batch."""

    def get_data_layout(self, data_shape):
        return _distribution.TensorLayout([None] * len(data_shape), self.device_mesh)


class _Data(_Whole, _distribution.DataParallel):
    pass


class _Model(_Whole, _distribution.ModelParallel):
    """Kernels without a layout of their own are divided by output channels, if these divide."""

    divides_kernels = False

    def get_variable_layout(self, variable):
        layout = super().get_variable_layout(variable)
        shape = variable.shape
        if not (self.divides_kernels and variable.name.endswith("kernel") and len(shape) > 1):
            return layout
        if any(axis is not None for axis in layout.axes) or shape[-1] % self.device_mesh.shape[1]:
            return layout
        axes = [*[None] * (len(shape) - 1), "model"]
        return _distribution.TensorLayout(axes, self.device_mesh)


class Replicas(share.Replicas):
    def __init__(self, devices: int | None = None):
        self._take(_Data(devices=_devices(devices), auto_shard_dataset=False))

    def _take(self, distribution):
        self._distribution = distribution
        self.count = distribution.num_model_replicas
        self.processes = jax.process_count()
        self.chief = jax.process_index() == 0

    def scope(self):
        return self._distribution.scope()

    def check(self, model):
        devices = self._distribution.device_mesh.devices.size
        for variable in model.variables:
            if len(variable.value.sharding.device_set) != devices:
                raise ValueError(
                    f"Model {model.name!r} was not made for these {devices} devices. Make, load "
                    "and compile it in `with across.scope():`."
                )

    def _divided(self, data):
        mesh, name = self._distribution.device_mesh, self._distribution.batch_dim_name

        def divided(x):
            if x is None:
                return None
            first = name if x.shape[0] % self.count == 0 else None
            layout = _distribution.TensorLayout([first, *[None] * (len(x.shape) - 1)], mesh)
            return jax.lax.with_sharding_constraint(x, layout.backend_layout)

        return tree.map_structure(divided, data)

    def fit(self, model, data, **options):
        def on_shares(step, state, data):
            return step(state, self._divided(data))

        replaced = {
            name: partial(on_shares, getattr(model, name)) for name in ("train_step", "test_step")
        }
        with self.scope(), share.steps(model, **replaced):
            return model.fit(data, shuffle=False, **options)

    def spread(self, model):
        largest = 0.0
        for variable in model.variables:
            first = {}
            for shard in variable.value.addressable_shards:
                value = np.asarray(shard.data, "float64")
                before = first.setdefault(str(shard.index), value)
                largest = max(largest, float(np.max(np.abs(value - before), initial=0.0)))
        return largest

    def barrier(self):
        if self.processes > 1:
            from jax.experimental import multihost_utils

            multihost_utils.sync_global_devices("keras_htaf")

    def gather(self, numbers):
        from jax.experimental import multihost_utils

        found = np.asarray(multihost_utils.process_allgather(np.asarray(numbers, "int32")))
        return found.reshape(self.processes, -1).tolist()


class ModelReplicas(Replicas):
    def __init__(self, layout=None, devices=None, batch=1):
        found = _devices(devices)
        if batch < 1 or len(found) % batch:
            raise ValueError(
                f"Received batch={batch!r} with {len(found)} devices. Expected a divisor of these."
            )
        shape = (batch, len(found) // batch)
        mesh = _distribution.DeviceMesh(shape, ("batch", "model"), found)
        layouts = _distribution.LayoutMap(mesh)
        for path, axes in (layout or {}).items():
            layouts[path] = tuple(axes)
        distribution = _Model(layout_map=layouts, batch_dim_name="batch", auto_shard_dataset=False)
        distribution.divides_kernels = layout is None
        self._take(distribution)


def available() -> int:
    return len(_distribution.list_devices())


def leave() -> None:
    pass
