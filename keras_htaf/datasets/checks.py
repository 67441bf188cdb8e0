"""The one place where images and labels that a user brings are checked."""

from __future__ import annotations

from typing import Any

import numpy as np

_ROWS_AT_ONCE = 1024


def check_images(
    x: Any, image_shape: tuple[int, int, int] | None = None, name: str = "x"
) -> np.ndarray:
    """Returns images as a `(N, H, W, C)` array of uint8 or float32, or says what is wrong.

    Booleans and integers in 0..255 become uint8, floating-point images float32. Images of shape
    `(N, H, W)` get a channel axis.

    Args:
        x: Array-like of shape `(N, H, W, C)` or `(N, H, W)`.
        image_shape: `(H, W, C)` that the images must have; None (default) takes any.
        name: What to call the array in an error message.

    Returns:
        The images, not copied where they already are as wanted.

    Raises:
        ValueError: If the array is empty, has another shape, holds anything but numbers, NaN or
            infinite values, or integers outside 0..255.

    Example:

    >>> check_images(np.zeros((5, 8, 8), dtype=bool)).shape
    (5, 8, 8, 1)
    """
    x = _as_numbers(x, name)
    wanted = "(N, H, W, C)" if image_shape is None else "(N, {}, {}, {})".format(*image_shape)
    if x.ndim not in (3, 4):
        raise ValueError(
            f"{name} has shape {x.shape}; expected images of shape {wanted}, or (N, H, W) for one "
            "channel. Reshape it; a single image needs a batch axis: x[None]."
        )
    if x.size == 0:
        raise ValueError(f"{name} is empty (shape {x.shape}); expected at least one image.")
    received = x.shape
    if x.ndim == 3:
        x = x[..., None]
    if image_shape is not None and x.shape[1:] != tuple(image_shape):
        raise ValueError(
            f"{name} has shape {received}; expected {wanted}. Resize the images or convert their "
            "channels to that shape, channels last; a single image needs a batch axis: x[None]."
        )
    if image_shape is None and x.shape[1] in (1, 3, 4) and x.shape[3] > 4:
        raise ValueError(
            f"{name} has shape {received}, which looks like channels first; expected {wanted}. "
            "Move the channels to the end: np.moveaxis(x, 1, -1)."
        )
    return _as_pixels(x, name)


def check_labels(y: Any, num_classes: int | None = None, name: str = "y") -> np.ndarray:
    """Returns labels as an `(N,)` int32 array, or says what is wrong.

    Args:
        y: Array-like of N integers, shape `(N,)` or `(N, 1)`. Whole floating-point numbers count
            as integers.
        num_classes: The labels must be below this; None (default) sets no upper bound.
        name: What to call the array in an error message.

    Returns:
        The labels, int32.

    Raises:
        ValueError: If the array is empty, has another shape, or holds a label that is not an
            integer, is negative, or is not below `num_classes`.

    Example:

    >>> check_labels([[3.0], [1.0]], num_classes=10)
    array([3, 1], dtype=int32)
    """
    y = _as_numbers(y, name)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"{name} has shape {y.shape}; expected one integer label for each image, shape (N,). "
            "If it is one-hot, use y.argmax(axis=-1)."
        )
    if y.size == 0:
        raise ValueError(f"{name} is empty; expected at least one label.")
    # NaN is not equal to its floor, so that this also finds it; infinity fails the bounds.
    whole = y == np.floor(y) if y.dtype.kind == "f" else np.ones(len(y), dtype=bool)
    upper = np.iinfo(np.int32).max if num_classes is None else num_classes - 1
    wrong = np.flatnonzero(~(whole & (y >= 0) & (y <= upper)))
    if wrong.size:
        first = int(wrong[0])
        wanted = "integers from 0" if num_classes is None else f"integers in 0..{num_classes - 1}"
        raise ValueError(
            f"{name}[{first}] is {y[first]} ({wrong.size} of {len(y)} labels are wrong); expected "
            f"{wanted}. Number the classes from 0 and leave unlabelled images out."
        )
    return y.astype(np.int32)


def check_same_length(x: np.ndarray, y: np.ndarray, x_name: str = "x", y_name: str = "y") -> None:
    """Raises ValueError unless there are as many images as labels."""
    if len(x) != len(y):
        raise ValueError(
            f"{x_name} holds {len(x)} images, but {y_name} holds {len(y)} labels; expected one "
            "label for each image, in the same order."
        )


def _as_numbers(values: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        # numpy refuses nested lists of unequal lengths.
        raise ValueError(f"{name} is not one array ({error}); expected equal shapes.") from error
    if array.dtype.kind not in "buif":
        raise ValueError(
            f"{name} has dtype {array.dtype}; expected booleans, integers or floating-point "
            "numbers. Convert it to a plain numeric array, all rows of one shape."
        )
    return array


def _as_pixels(x: np.ndarray, name: str) -> np.ndarray:
    if x.dtype.kind == "b":
        return x.astype(np.uint8)
    if x.dtype.kind in "ui":
        if x.dtype != np.uint8 and (x.min() < 0 or x.max() > 255):
            raise ValueError(
                f"{name} has dtype {x.dtype} and values in {x.min()}..{x.max()}; expected integer "
                "images in 0..255. Convert it to uint8, or to float32 scaled to [0, 1]."
            )
        return x.astype(np.uint8, copy=False)
    with np.errstate(over="ignore"):
        # A float64 beyond float32's range turns infinite here and is reported below.
        pixels = x.astype(np.float32, copy=False)
    for start in range(0, len(pixels), _ROWS_AT_ONCE):
        finite = np.isfinite(pixels[start : start + _ROWS_AT_ONCE]).all(axis=(1, 2, 3))
        if not finite.all():
            first = start + int(np.argmin(finite))
            raise ValueError(
                f"{name}[{first}] holds NaN or infinite values; expected finite float32 images. "
                f"Leave such images out: x[np.isfinite(x).all(axis=(1, 2, 3))]."
            )
    return pixels
