"""Devices of PyTorch: a process each, a rank, which meet in sums.

`DistributedDataParallel` averages the gradients; `fit` of Keras runs the epochs, with the step
below in place of its own, which would let the ranks drift apart.
"""

from __future__ import annotations

import inspect
import os
import zlib

import keras
import numpy as np
import torch
import torch.distributed as dist
from keras import tree

from keras_htaf.backend.replicas import checks, share
from keras_htaf.backend.replicas.share import ModelReplicas  # noqa: F401


class _Sum(torch.autograd.Function):
    """The sum over the ranks. Each of them has a loss, so gradients are summed likewise."""

    @staticmethod
    def forward(ctx, x):
        total = x.to(torch.promote_types(x.dtype, torch.float32), copy=True).contiguous()
        dist.all_reduce(total)
        return total.to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return _Sum.apply(gradient)


class Replicas(share.Replicas):
    def __init__(self, devices: int | None = None):
        self.count = self.processes = int(os.environ.get("WORLD_SIZE", 1))
        self._rank = int(os.environ.get("RANK", 0))
        self.chief = self._rank == 0
        if devices not in (None, self.count):
            raise ValueError(
                f"Received devices={devices!r}, but {self.count} process(es) take part, one for "
                "each device. Start as many by keras_htaf.distribution.launch(function, "
                f"processes={devices}) or torchrun --nproc-per-node={devices}."
            )
        if self.count > 1 and not dist.is_initialized():
            gpu = torch.cuda.is_available()
            if gpu:
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", self._rank)))
            dist.init_process_group("nccl" if gpu else "gloo")

    def fit(self, model, data, **options):
        if self.count == 1:
            return super().fit(model, data, **options)
        if type(model).train_step is not keras.Model.train_step:
            raise ValueError(
                f"Model {model.name!r} has a train_step of its own, whose gradients would not be "
                "averaged over the ranks. Put what it does into compute_loss."
            )
        if not model.optimizer.built:  # with the weights that the first rank has
            model.optimizer.build(model.trainable_variables)
        step = _Step(model, self._rank, self.count, self._agree)
        self._send(model.optimizer.variables)
        with share.steps(model, train_step=step):
            history = model.fit(data, shuffle=False, **options)
        if spread := self.spread(model):
            raise RuntimeError(
                f"The weights of the ranks differ by up to {spread:g} after the training: a layer "
                "or a callback did something else on each. Their random numbers must be seeded "
                "alike, by keras.utils.set_random_seed."
            )
        return history

    def _send(self, variables):
        """The values of the first rank, to all."""
        with torch.no_grad():
            for variable in variables:
                dist.broadcast(variable.value.data, 0)

    def _agree(self, data):
        """Raises unless all ranks were handed the same batch."""
        arrays = [np.ascontiguousarray(keras.ops.convert_to_numpy(x)) for x in tree.flatten(data)]
        checksum = torch.tensor([zlib.crc32(b"".join(x.tobytes() for x in arrays))])
        low, high = self._range(checksum)
        if not torch.equal(low, high):
            raise ValueError(
                "The ranks were handed different batches. Expected the same on each, of which it "
                "takes its share: no shard of the data, and no order that is not seeded."
            )

    def _range(self, x):
        low, high = (x.to(keras.ops.zeros(()).device, copy=True) for _ in range(2))
        dist.all_reduce(low, dist.ReduceOp.MIN)
        dist.all_reduce(high, dist.ReduceOp.MAX)
        return low, high

    def spread(self, model):
        if self.count == 1:
            return 0.0
        largest = 0.0
        for variable in model.variables:
            low, high = self._range(variable.value.detach().double())
            if high.numel():
                largest = max(largest, float((high - low).max()))
        return largest

    def barrier(self):
        if self.count > 1:
            dist.barrier()

    def gather(self, numbers):
        if self.count == 1:
            return super().gather(numbers)
        own = torch.tensor(numbers, device=keras.ops.zeros(()).device)
        found = [torch.zeros_like(own) for _ in range(self.count)]
        dist.all_gather(found, own)
        return [each.tolist() for each in found]


class _Loss(torch.nn.Module):
    """What `DistributedDataParallel` wraps: a module that is called once a step."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        told = "training" in inspect.signature(model.call).parameters
        self._options = {"training": True} if told else {}

    def forward(self, x, y, sample_weight):
        y_pred = self.model(x, **self._options)
        loss = self.model.compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
        )
        return loss, y_pred


class _Step:
    """Keras's own training step on a share, but for what is summed over the ranks."""

    def __init__(self, model, rank, count, agree):
        self._model, self._rank, self._count, self._agree = model, rank, count, agree
        # Static: a variable without a gradient has none in any step. Construction sends all
        # weights of the first rank to the others.
        self._parallel = torch.nn.parallel.DistributedDataParallel(_Loss(model), static_graph=True)

    def __call__(self, data):
        if self._agree is not None:
            self._agree(data)
            self._agree = None
            checks.check(self._model, data)
        n = next(x for x in tree.flatten(data) if x is not None).shape[0]
        divides = n % self._count == 0
        if divides:
            size = n // self._count
            begin = self._rank * size
            data = tree.map_structure(lambda x: x[begin : begin + size], data)
        part = share.Share(_Sum.apply, self._rank, self._count, not divides)
        before = [v.value.detach().clone() for v in self._model.metrics_variables]
        with share.sharing(part):
            self._train(*keras.utils.unpack_x_y_sample_weight(data))
        self._count_all(before, divides or self._rank == 0)
        return self._model.get_metrics_result()

    def _train(self, x, y, sample_weight):
        model = self._model
        model.zero_grad()
        loss, y_pred = self._parallel(x, y, sample_weight)
        tracker = next(metric for metric in model.metrics if metric.name == "loss")
        n = next(a for a in tree.flatten(x) if a is not None).shape[0]
        tracker.update_state(loss.detach(), sample_weight=n)
        model.optimizer.scale_loss(loss).backward()
        variables = model.trainable_variables
        with torch.no_grad():
            model.optimizer.apply([v.value.grad for v in variables], variables)
            model.compute_metrics(x, y, y_pred, sample_weight)

    def _count_all(self, before, counts):
        """What this step added to the metrics' sums, on all ranks; a batch that all have, once."""
        variables = self._model.metrics_variables
        with torch.no_grad():
            added = [v.value - old for v, old in zip(variables, before, strict=True)]
            flat = torch.cat([a.reshape(-1).double() for a in added])
            flat = flat if counts else torch.zeros_like(flat)
            dist.all_reduce(flat)
            parts = flat.split([a.numel() for a in added])
            for variable, old, part in zip(variables, before, parts, strict=True):
                variable.assign(old + part.reshape(old.shape).to(old.dtype))


def available() -> int:
    return max(torch.cuda.device_count(), 1)


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
