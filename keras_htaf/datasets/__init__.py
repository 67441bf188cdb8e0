"""Images with labels (embedded digits, TensorFlow Datasets, own arrays), and event recordings."""

from __future__ import annotations

import os

import numpy as np

from keras_htaf.datasets import arrays, digits, folder, synthetic, tfds
from keras_htaf.datasets.batches import Batches
from keras_htaf.datasets.checks import check_images, check_labels
from keras_htaf.datasets.dataset import Dataset
from keras_htaf.datasets.events import load_events
from keras_htaf.datasets.frames import event_frames
from keras_htaf.datasets.preprocessing import Preprocessing
from keras_htaf.datasets.resizing import check_size
from keras_htaf.datasets.split import Split
from keras_htaf.datasets.stream import Stream
from keras_htaf.datasets.synthetic import SHAPE_ATTRIBUTES, SHAPE_RULES, shapes

__all__ = [
    "SHAPE_ATTRIBUTES",
    "SHAPE_RULES",
    "Batches",
    "Dataset",
    "Preprocessing",
    "Split",
    "Stream",
    "check_images",
    "check_labels",
    "event_frames",
    "load",
    "load_events",
    "shapes",
]


def load(
    name: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    *,
    validation: float = 0.1,
    seed: int = 0,
    normalize: str | None = "unit",
    image_size: tuple[int, int] | None = None,
    download: bool = True,
) -> Dataset:
    """Loads images with integer labels, cut into train, validation and test.

    Args:
        name: One of

            - `"digits"`: scikit-learn's 1797 handwritten digits, 8x8 pixels, 16 grey levels. No
              network is needed. A fifth is the test part, the same images whatever the seed.
            - `"shapes"`: 10,000 drawn images of 32x32 pixels with twelve known attributes each and
              labels that follow from them, as `keras_htaf.datasets.shapes` documents; a fifth is
              the test part.
            - the name of an image classification set of TensorFlow Datasets, such as `"mnist"`
              or `"cifar10/plain_text:3.0.2"`. It is read from `data_dir`, without TensorFlow, if
              it was prepared there as array_record; if not it is downloaded and prepared, which
              needs TensorFlow. Its test part is the split "test", else (or if the labels of
              that are withheld, -1) "validation", else a fifth of "train", always the same images.
            - the path of a `.npz` file with `x_train` and `y_train` and, if there are any,
              `x_validation` and `y_validation`, `x_test` and `y_test`; or with `x` and `y` alone,
              of which a fifth becomes the test part. Images have shape `(N, H, W, C)` or
              `(N, H, W)` and are booleans, integers in 0..255 or floating-point numbers; labels
              have shape `(N,)` and count from 0.
            - the path of a folder of image files, read as RGB when they are asked for: one folder
              for each class, in `train` and, if there are any, `validation` (or `val`) and
              `test`; or the classes alone, of which a fifth becomes the test part. What is
              hidden (".git", "._a.png") or in `__MACOSX` is left out. (A name without a
              separator is a folder's only as a `pathlib.Path`.)
        data_dir: Folder of TensorFlow Datasets' prepared data; None (default) for its own.
        validation: Share of the training images that becomes the validation part, from 0 (no
            such part) to below 1. Default 0.1. Not used where a `.npz` file brings its own.
        seed: Moves the cut between train and validation, never the test part. Default 0.
        normalize: `"unit"` (default) maps pixels to [0, 1]; `"standard"` gives each channel zero
            mean and unit variance on the training part; None leaves the raw values. A
            floating-point `.npz` must be in [0, 1] for `"unit"`.
        image_size: `(H, W)` that images of TensorFlow Datasets or a folder are brought to when
            they are decoded: the largest centred cut of that aspect ratio, resized with
            antialiasing. Default: as they are, all of one size.
        download: Whether what is not on disk may be downloaded and prepared. Default True.

    Returns:
        A `Dataset`, whose parts give arrays, batches and single images.

    Raises:
        ValueError: If there is no such data set, it is not one of single images of one size with
            one integer label each, or the user's arrays are not as above.
        ConnectionError: If a data set would have to be downloaded and there is no network.
        FileNotFoundError: If there is no such `.npz` file; or with `download=False`, if the data
            set is not prepared in `data_dir`.
        ImportError: If a package of the extra `keras-htaf[data]` is missing.

    Example:

    >>> data = load("digits", seed=1)
    >>> model = keras_htaf.models.icbm(num_concepts=16, input_shape=data.image_shape)
    >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    >>> history = model.fit(
    ...     data.train.batches(64, shuffle=True, augment="shift"),
    ...     validation_data=data.validation.batches(256),
    ...     verbose=0,
    ... )
    """
    is_folder = os.path.isdir(name) and (isinstance(name, os.PathLike) or os.sep in name)
    name = os.fspath(name)
    image_size = check_size(image_size)
    if not 0 <= validation < 1:
        raise ValueError(
            f"validation is {validation!r}; expected a share of the training images from 0 (no "
            "validation part) to below 1."
        )
    if not isinstance(download, (bool, np.bool_)):
        raise ValueError(
            f"download is {download!r}; expected True (a data set that is not on disk may be "
            "downloaded and prepared) or False (only the disk is looked at)."
        )
    if is_folder:
        return folder.load(name, validation, seed, image_size).normalized(normalize)
    if image_size is not None and (name in ("digits", "shapes") or name.endswith(".npz")):
        raise ValueError(
            f"image_size is given for {name!r}, whose images have one size; expected it with a "
            "data set of TensorFlow Datasets or a folder. Leave it out, or resize the arrays."
        )
    if name == "digits":
        dataset = digits.load(validation, seed)
    elif name == "shapes":
        dataset = synthetic.shapes(validation=validation, split_seed=seed, normalize=None)
    elif name.endswith(".npz"):
        dataset = arrays.load(name, validation, seed)
    else:
        dataset = tfds.load(name, data_dir, validation, seed, image_size, download)
    return dataset.normalized(normalize)
