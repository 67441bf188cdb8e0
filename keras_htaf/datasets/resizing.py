"""Images of other sizes, brought to one."""

from __future__ import annotations

import numpy as np

from keras_htaf.datasets.extras import require


def fitted(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The largest centred cut with the wanted aspect ratio, resized with antialiasing.

    Args:
        image: uint8, `(H, W, C)` with 1, 3 or 4 channels.
        size: `(H, W)` that is wanted.

    Returns:
        uint8, of that size; the image itself if it has it.
    """
    if image.shape[:2] == tuple(size):
        return image
    require("PIL", "Resizing images")
    from PIL import Image, ImageOps

    grey = image.shape[-1] == 1
    picture = Image.fromarray(image[..., 0] if grey else image)
    height, width = size
    found = np.asarray(ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR))
    return found[..., None] if grey else found


def check_size(size) -> tuple[int, int] | None:
    """`(H, W)`, of positive integers, or None; a ValueError for anything else."""
    if size is None:
        return None
    try:
        height, width = (int(n) for n in size)
        fine = height > 0 and width > 0 and (height, width) == tuple(size)
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise ValueError(f"image_size is {size!r}; expected (height, width) in pixels.")
    return height, width
