"""Binary networks that learn from a float teacher, and the way from one step to the next."""

from __future__ import annotations

import math

import keras
from keras import ops

from keras_htaf.layers import BinaryLayer
from keras_htaf.surrogates.base import positive

_register = keras.saving.register_keras_serializable(package="keras_htaf")


@_register
class TeacherDivergence(keras.losses.Loss):
    """How far a student's class distribution is from its teacher's, given both logits.

        loss = T^2 sum_k p_k (log p_k - log q_k)   with p = softmax(teacher / T)
                                                        q = softmax(student / T)

    the Kullback-Leibler divergence KL(p || q): 0 where the two agree. The factor T^2 keeps the size
    of the gradients when the temperature T is changed.

    Args:
        temperature: Positive float T; above 1 it lets small probabilities count for more.
            Default 1.
        **kwargs: Of `keras.losses.Loss` (`reduction`, `name`, `dtype`).

    Call arguments:
        y_true: The teacher's logits, shape (batch, ..., classes).
        y_pred: The student's logits, of the same shape.

    Raises:
        ValueError: If the temperature is not a positive finite number.

    Example:

    >>> loss = TeacherDivergence()
    >>> float(loss(np.array([[0.0, 2.0]]), np.array([[1.0, 3.0]])))
    0.0

    Reference: Hinton et al. (2015), arXiv:1503.02531.
    """

    def __init__(self, temperature: float = 1.0, **kwargs):
        super().__init__(**{"name": "teacher_divergence", **kwargs})
        self.temperature = positive("temperature", temperature)

    def call(self, y_true, y_pred):
        teacher, student = (ops.log_softmax(z / self.temperature) for z in (y_true, y_pred))
        return self.temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@_register
class Distiller(keras.Model):
    """Trains a student to give the class distribution of a teacher.

        loss = weight * TeacherDivergence(teacher(x), student(x)) + the compiled loss, if any
               + the student's own losses (regularizers, penalties)

    Compiled without a loss, it needs no labels: the teacher's distribution takes their place, as in
    ReActNet. The teacher is called as in inference. Both see the same x, so augmentation belongs
    into the data (`keras_htaf.datasets`), where it changes what both see; a random layer within the
    student would show it another image than the one that the teacher describes.

    Binary networks are distilled in two steps. The first student has binary activations and float
    kernels (`kernel_quantizer=None`), the second, its twin, binary kernels too; `transfer_weights`
    takes the weights from one to the other, and the first, once trained, can be the second's
    teacher (as in Real-to-Binary) in place of the float network (as in ReActNet).

    Logs the divergence, without the weight, as `divergence`, in evaluation too. Use the student
    itself for everything else: it is trained in place. (To evaluate it, compile it.)

    Args:
        student: A built model whose outputs are logits.
        teacher: A built model whose outputs are logits of the same classes. It is frozen
            (`trainable = False`), so that `callbacks.AnnealSharpness` leaves its steps alone too.
        weight: Positive float, of the divergence. Default 1.
        temperature: Positive float. Default 1.
        **kwargs: Of `keras.Model` (`name`).

    Raises:
        ValueError: If a model is not built, ends in a softmax or sigmoid, or the two are one or
            differ in their outputs; if a number is not positive and finite.

    Example:

    >>> teacher = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> student = keras.Sequential([keras.Input((4,)), keras_htaf.layers.BinaryDense(3)])
    >>> distiller = Distiller(student, teacher)
    >>> distiller.compile("adam")
    >>> sorted(distiller.fit(np.eye(4), verbose=0).history)
    ['divergence', 'loss']

    Reference: Martinez et al. (2020), arXiv:2003.11535; Liu et al. (2020), arXiv:2003.03488; for
    the same augmented image to both, Beyer et al. (2022), arXiv:2106.05237.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        weight: float = 1.0,
        temperature: float = 1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_pair(student, teacher)
        self.student = student
        self.teacher = teacher
        self.teacher.trainable = False
        self.weight = positive("weight", weight)
        self.divergence = TeacherDivergence(temperature)
        self.divergence_tracker = keras.metrics.Mean(name="divergence")

    def build(self, input_shape):
        """Nothing is left to build: both models are."""

    def call(self, inputs, training=None):
        return self.student(inputs, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        divergence = self.divergence(self.teacher(x, training=False), y_pred, sample_weight)
        self.divergence_tracker.update_state(divergence, ops.shape(y_pred)[0])
        loss = self.weight * divergence
        if self.loss is not None or self.losses:  # without both, Keras finds no loss to compute
            others = super().compute_loss(x, y, y_pred, sample_weight, training)
            loss = loss + ops.cast(others, loss.dtype)
        return loss

    def get_config(self):
        return {
            **super().get_config(),
            "student": keras.saving.serialize_keras_object(self.student),
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "weight": self.weight,
            "temperature": self.divergence.temperature,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        models = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
            for key in ("student", "teacher")
        }
        return cls(**{**config, **models})


def transfer_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives a network the weights of its twin with other kernel quantizers.

    Kernel quantizers have weights of their own (sharpness and scale), which keep their values and
    which the twin may lack; all others are copied, in order. Then each weight's constraint is
    applied: a latent weight beyond the reach of the new quantizer's slope is clipped to it and
    keeps its sign.

    The sharpness and the scale of the input quantizers are copied too, as the first step left them:
    one that was annealed is to be annealed anew, from the start, by the second step's callback.

    Args:
        source: The built model of the first step, say with `kernel_quantizer=None`.
        target: A built model of the same layers, whose weights are overwritten.

    Raises:
        ValueError: If the two differ in more than the weights of their kernel quantizers.

    Example:

    >>> source, target = (
    ...     keras.Sequential([keras.Input((4,)), keras_htaf.layers.BinaryDense(3, **kernels)])
    ...     for kernels in ({}, {"kernel_quantizer": "sign"}))
    >>> transfer_weights(source, target)
    >>> bool(np.all(source.get_weights()[0] == target.get_weights()[0]))
    True
    """
    ours, theirs = _transferable(source), _transferable(target)
    for i in range(max(len(ours), len(theirs))):
        pair = [(v[i].name, tuple(v[i].shape)) if i < len(v) else None for v in (ours, theirs)]
        if pair[0] != pair[1]:
            path = (ours if i < len(ours) else theirs)[i].path
            raise ValueError(
                f"Models {source.name!r} and {target.name!r} differ at weight {i}, {path!r}: "
                f"received {pair[0]} for {pair[1]}. Expected two built models of the same layers "
                "that differ in their kernel quantizers only."
            )
    for new, old in zip(theirs, ours, strict=True):
        new.assign(old)
        if new.constraint is not None:
            new.assign(new.constraint(new))


def _transferable(model):
    """The weights of a model, but for those of its kernels' quantizers."""
    quantizers = [
        quantizer
        for layer in model._flatten_layers()
        if isinstance(layer, BinaryLayer)
        for quantizer in layer.kernel_quantizers.values()
        if quantizer is not None
    ]
    own = {id(variable) for quantizer in quantizers for variable in quantizer.variables}
    return [variable for variable in model.weights if id(variable) not in own]


def _check_pair(student, teacher):
    if student is teacher:
        raise ValueError(
            "Received one model as student and as teacher. Expected two: the teacher is frozen. "
            "Take a copy (keras.models.clone_model, then set_weights) to learn from itself."
        )
    for role, model in (("student", student), ("teacher", teacher)):
        if not (isinstance(model, keras.Model) and model.built):
            raise ValueError(
                f"Received {role}={model!r}. Expected a built keras.Model: give it an Input, or "
                "call it on a batch of data first."
            )
        last = model.layers[-1] if model.layers else None
        squashing = (keras.activations.softmax, keras.activations.sigmoid)
        if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) in squashing:
            raise ValueError(
                f"The {role} {model.name!r} ends in probabilities, of layer {last.name!r}. "
                "Expected logits: leave the activation out."
            )
    shapes = [getattr(model, "output_shape", None) for model in (student, teacher)]
    if None not in shapes and shapes[0] != shapes[1]:
        raise ValueError(
            f"Received a student with outputs of shape {shapes[0]} and a teacher with outputs of "
            f"shape {shapes[1]}. Expected the same classes, at least 2."
        )
    if shapes[0] is not None and not math.prod(shapes[0][-1:]) > 1:
        raise ValueError(f"Received outputs of shape {shapes[0]}. Expected at least 2 classes.")
