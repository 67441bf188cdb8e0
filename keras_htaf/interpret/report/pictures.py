"""Images in a few large ones, which open faster than thousands of files within a file."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np

_SIDE = 2048
"""Height and width of a large image, at most, in pixels."""


@dataclass(frozen=True)
class Atlas:
    """Pictures of equal size side by side; the page cuts out what it shows."""

    sheets: tuple[str, ...]
    """Large images as data URIs."""
    ids: tuple[int, ...]
    """Numbers of the samples, in the order of their places."""
    height: int
    width: int
    columns: int
    per_sheet: int

    def geometry(self) -> dict:
        """What the page needs to find a picture."""
        names = ("height", "width", "columns", "per_sheet")
        return {"ids": self.ids, **{name: getattr(self, name) for name in names}}


def shown(pixels: np.ndarray) -> np.ndarray:
    """Images as uint8, (n, h, w, 1 or 3), so that the brightest pixel of all is white.

    Black is 0, or the darkest pixel where numbers are negative. Neither one nor three channels
    become their mean.
    """
    pixels = np.asarray(pixels)
    pixels = pixels[..., None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or pixels.dtype.kind not in "fiub":
        raise ValueError(
            f"Received pixels of shape {pixels.shape} and dtype {pixels.dtype}. Expected numbers "
            "of shape (n, height, width, channels)."
        )
    if pixels.shape[-1] not in (1, 3):
        pixels = pixels.mean(axis=-1, keepdims=True)
    low, high = float(min(pixels.min(), 0)), float(pixels.max())
    if pixels.dtype == np.uint8 and high > 127:
        return pixels
    scale = 255 / (high - low) if high > low else 0.0
    result = np.empty(pixels.shape, np.uint8)
    for i, image in enumerate(pixels):
        result[i] = np.clip(np.rint((image.astype("float32") - low) * scale), 0, 255)
    return result


def atlas(pictures: np.ndarray, ids, side: int) -> Atlas:
    """Some pictures as an `Atlas`.

    JPEG where a picture's sides are multiples of 16, so that no block spans two; else PNG.

    Args:
        pictures: uint8 (n, h, w, 1 or 3), all that there are.
        ids: Numbers of those to take.
        side: Larger pictures are made smaller, so that their longer side is at most that.
    """
    from PIL import Image

    height, width = pictures.shape[1:3]
    if max(height, width) > side:
        factor = side / max(height, width)
        height, width = (max(16, round(factor * each / 16) * 16) for each in (height, width))
    columns = max(1, min(_SIDE // width, int(np.ceil(np.sqrt(max(len(ids), 1))))))
    per_sheet = columns * max(1, _SIDE // height)
    sheets = []
    for begin in range(0, len(ids), per_sheet):
        part = ids[begin : begin + per_sheet]
        rows = -(-len(part) // columns)
        mode = "L" if pictures.shape[-1] == 1 else "RGB"
        sheet = Image.new(mode, (columns * width, rows * height))
        for place, number in enumerate(part):
            picture = Image.fromarray(pictures[number].squeeze())
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.LANCZOS)
            sheet.paste(picture, (place % columns * width, place // columns * height))
        sheets.append(_uri(sheet, jpeg=height % 16 == 0 == width % 16))
    return Atlas(tuple(sheets), tuple(map(int, ids)), height, width, columns, per_sheet)


def _uri(image, jpeg: bool) -> str:
    file = io.BytesIO()
    if jpeg:
        image.save(file, "JPEG", quality=85)
    else:
        image.save(file, "PNG", optimize=True)
    kind = "jpeg" if jpeg else "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
