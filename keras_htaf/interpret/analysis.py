"""What a concept model's bits mean: the public face of this room."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from keras_htaf.interpret.certified import Certified, certify
from keras_htaf.interpret.classes import ClassView, class_view
from keras_htaf.interpret.code import CodeQuality, code_quality
from keras_htaf.interpret.codes import Codes, check_positive, check_same_head, names_of
from keras_htaf.interpret.collection import Collector, needed
from keras_htaf.interpret.editing import edit_concepts
from keras_htaf.interpret.errors import Errors, errors
from keras_htaf.interpret.explanations import Explanation, explain, sample_number
from keras_htaf.interpret.flips import flip_radii
from keras_htaf.interpret.health import Health, health
from keras_htaf.interpret.interventions import Curves, Intervention, curves, intervene
from keras_htaf.interpret.maps import ConceptMaps, Locator, MapScores, score_maps
from keras_htaf.interpret.minimize import MOST_VARIABLES
from keras_htaf.interpret.monitor import Monitor, fit_monitor
from keras_htaf.interpret.names import read_names
from keras_htaf.interpret.purity import Purity, as_attributes, purity
from keras_htaf.interpret.retrieval import mean_average_precision
from keras_htaf.interpret.rules import RuleSet, attribute_rules, find_rules, used_bits
from keras_htaf.interpret.scorecards import Scorecard, scorecard
from keras_htaf.interpret.sparse import NECS, SparseHeads, random_bits, sparse_heads
from keras_htaf.interpret.stability import Change, Match, Stability, change_of, compare, match
from keras_htaf.interpret.summary import text


def analyze(
    model: keras.Model,
    x,
    y,
    concept_names: Sequence[str] | str | os.PathLike | None = None,
    attributes=None,
    *,
    attribute_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    concepts: str = "concepts",
    head: str = "head",
    batch_size: int = 256,
) -> ConceptAnalysis:
    """Looks at what the bits of a concept model do on labelled images.

    The model is run once; all else is exact arithmetic on the bits it gave, done when asked for.

    Args:
        model: A model whose features are bits, read by a linear head: see
            `keras_htaf.interpret.collect`. Smooth or hardened makes no difference.
        x: Images, an array whose first axis is the batch; best those that the model was not
            trained on.
        y: Labels, integers (n,) or one-hot.
        concept_names: Names, or the path of a JSON file of names that a report saved. Default:
            those that `edit_concepts` saved with the model, else "bit 0", "bit 1", ...
        attributes: What is known to be on the images, (n, a) of 0 and 1, to compare the bits with.
        attribute_names, class_names: Default "attribute 0", ... and "0", "1", ...
        concepts, head: Names of the step layer and the head. Default `"concepts"`, `"head"`.
        batch_size: Default 256.

    Returns:
        A `ConceptAnalysis`.

    Raises:
        ValueError: If the model has no concept layer or linear head, or what is given does not fit.

    Example:

    >>> model = keras_htaf.models.icbm(num_concepts=6, num_classes=3, input_shape=(8, 8, 1))
    >>> x = np.random.default_rng(0).normal(size=(20, 8, 8, 1))
    >>> analysis = analyze(model, x, np.arange(20) % 3)
    >>> analysis.health.usage.shape, analysis.code.samples
    ((6,), 20)
    >>> np.allclose(analysis.explain(4).contributions.sum(axis=0) + analysis.explain(4).expected,
    ...     analysis.codes.logits[4])
    True
    """
    if y is None:
        raise ValueError("Received y=None. Expected labels: an analysis is about the classes.")
    x = np.asarray(x)
    if attributes is not None:
        attributes = as_attributes(attributes, len(x))
    elif attribute_names is not None:
        raise ValueError("Received attribute_names without attributes. Give both or neither.")
    file = None
    if isinstance(concept_names, (str, os.PathLike)):
        file, concept_names = concept_names, None
    names = {"class_names": class_names, "concept_names": concept_names}
    run = Collector(model, concepts=concepts, head=head, batch_size=batch_size, **names)
    if file is not None:
        run.name_concepts(lambda default: read_names(file, run.weights, run.bias, default))
    return ConceptAnalysis(run(x, y), model, x, attributes, attribute_names, run)


@dataclass(frozen=True, eq=False)
class ConceptAnalysis:
    """The bits of a data set, and what can be said of them; `analyze` makes it.

    With codes from anywhere, `ConceptAnalysis(codes)` does all that needs no model.

    Args: as `analyze`, but for `codes`, with labels, and `run`, from images to codes.

    Example:

    >>> codes = Codes([[1, 0], [0, 1]], weights=np.eye(2), bias=[0, 0], labels=[0, 1])
    >>> ConceptAnalysis(codes).flip_radii  # a tie goes to the first class
    array([2., 1.])
    """

    codes: Codes
    model: keras.Model | None = None
    x: np.ndarray | None = None
    attributes: np.ndarray | None = None
    attribute_names: Sequence[str] | None = None
    run: Collector | None = field(default=None, repr=False)

    def __post_init__(self):
        self.codes.needed("labels")
        if self.attributes is not None:
            count = self.attributes.shape[1]
            names = names_of("attribute_names", self.attribute_names, "attribute ", count)
            object.__setattr__(self, "attribute_names", names)

    @cached_property
    def health(self) -> Health:
        """Use, ambiguity and redundancy of each bit."""
        return health(self.codes)

    @cached_property
    def code(self) -> CodeQuality:
        """What the code as a whole holds of the classes."""
        return code_quality(self.codes)

    @cached_property
    def certified(self) -> Certified:
        """Where smooth and exact bits provably decide alike."""
        return certify(self.codes)

    @cached_property
    def classes(self) -> ClassView:
        """What each bit says about the classes and does to them."""
        return class_view(self.codes)

    @cached_property
    def flip_radii(self) -> np.ndarray:
        """The fewest bit flips that change each decision, (n,); infinite where none can."""
        return flip_radii(self.codes)

    @cached_property
    def errors(self) -> Errors:
        """Wrong decisions by the bit that pushed most towards each."""
        return errors(self.codes)

    @cached_property
    def purity(self) -> Purity:
        """Bits against the known attributes.

        Raises:
            ValueError: If no attributes were given.
        """
        if self.attributes is None:
            raise ValueError("No attributes are known. Give them: analyze(..., attributes=...).")
        return purity(
            self.codes.bits, self.attributes, self.attribute_names, self.codes.concept_names
        )

    def completeness(self, reference: float) -> float | None:
        """How much of what a reference of that accuracy, such as a dense twin, knows beyond chance
        the bits keep; None if it is no better than chance. See `CodeQuality.completeness`."""
        return code_quality(self.codes, reference).completeness

    def stability(
        self, change: float | str | Change, samples: int | None = None, seed: int = 0
    ) -> Stability:
        """What a change to the images does to bits and decisions.

        Args:
            change: A number: noise of that standard deviation. Or `"shift"`, `"shift_flip"`, or a
                function of images and a numpy Generator.
            samples: Look at that many, drawn at random. Default: all.
            seed: Of the draw and the change. Default 0.
        """
        x, run = needed(self.x, "changing images"), needed(self.run, "changing images")
        change, rng = change_of(change), np.random.default_rng(seed)
        rows = np.arange(len(self.codes))
        if samples is not None:
            check_positive(samples=samples)
            rows = np.sort(rng.permutation(len(rows))[:samples])
        images = x[rows].astype("float32")
        if np.shape(changed := change(images, rng)) != images.shape:
            raise ValueError(
                f"The change made images of shape {np.shape(changed)} from {images.shape}. "
                "Expected the same shape."
            )
        return compare(self.codes.rows(rows), run(changed))

    def match(self, other: ConceptAnalysis) -> Match:
        """Pairs these bits with those of another model, analysed on the same images."""
        return match(self.codes.bits, other.codes.bits)

    def explain(self, image: int | np.ndarray, **options) -> Explanation:
        """The exact explanation of one decision.

        Args:
            image: The number of an analysed image, or an image, (h, w, c) or (1, h, w, c).
            label: Number or name of its right class. Default: of an analysed image as it is known.
            neighbours: How many similar samples. Default 5.
            nodes: Of the search for a smallest sufficient set. Default 2000.
        """
        if np.ndim(image) == 0:
            return explain(self.codes, sample_number(self.codes, image), **options)
        what = "explaining an image rather than a number"
        x, run = needed(self.x, what), needed(self.run, what)
        image = np.asarray(image)
        image = image[None] if image.ndim == x.ndim - 1 else image
        if image.shape != (1, *x.shape[1:]):
            raise ValueError(
                f"Received an image of shape {image.shape}. Expected one of shape {x.shape[1:]}, "
                "or the number of an analysed one."
            )
        return explain(self.codes, run(image).bits[0], **options)

    @cached_property
    def locator(self) -> Locator:
        """Finds where on images concepts are seen; has Eigen-CAM too."""
        run = needed(self.run, "finding places on images")
        return Locator(run.hard or run.soft, run.concepts, run.batch_size)

    def maps(self, images, bits: Sequence[int] | None = None, **options) -> ConceptMaps:
        """Where on images bits are seen: `Locator.maps` takes the options.

        Args:
            images: Numbers of analysed images, (n,), or images, (n, h, w, c).
            bits: Numbers of the bits. Default all.
        """
        locator = self.locator
        if np.ndim(images) < 2:
            numbers = [sample_number(self.codes, i) for i in np.atleast_1d(images)]
            images = needed(self.x, "finding images by their numbers")[numbers]
        return locator.maps(images, bits, **options)

    def map_scores(self, **options) -> MapScores:
        """Whether bits go, and come back, with the pixels that their maps point to: `score_maps`
        takes the options."""
        locator, x = self.locator, needed(self.x, "painting over images")
        return score_maps(locator, x, self.codes.bits, **options)

    def rules(self, train: ConceptAnalysis | None = None, **options) -> RuleSet:
        """The rules by which the head decides: `find_rules` takes the options.

        Args:
            train: An analysis of other images of the same model to fit trees on, where the head
                uses too many bits for a truth table. Default: a random half of these images; the
                rules are measured on the rest.
        """
        few = len(used_bits(self.codes)) <= options.get("max_bits", MOST_VARIABLES)
        if few and train is None:
            return find_rules(self.codes, **options)
        fit, held_out, _ = self._parts(train)
        return find_rules(fit, held_out=held_out, **options)

    def attribute_rules(self, train: ConceptAnalysis | None = None, **options) -> RuleSet:
        """What the decisions amount to in the known attributes, as rules: on data whose labels
        follow a logic, whether the model found it. `rules.attribute_rules` takes the options;
        `train` as in `rules`, with attributes too."""
        if self.attributes is None or (train is not None and train.attributes is None):
            raise ValueError("No attributes are known. Give them: analyze(..., attributes=...).")
        fit, held_out, _ = self._parts(train)
        if train is None:
            known, others = (self.attributes[half] for half in self._halves())
        else:
            known, others = train.attributes, self.attributes
        return attribute_rules(
            fit, known, self.attribute_names, held_out=(held_out, others), **options
        )

    def scorecard(self, train: ConceptAnalysis | None = None, max_points: int = 10) -> Scorecard:
        """The head in small integers; `train` as in `rules`."""
        return scorecard(*self._parts(train)[:2], max_points=max_points)

    def sparse_heads(
        self, train: ConceptAnalysis | None = None, necs: Sequence[int] = NECS, seed: int = 0
    ) -> SparseHeads:
        """Heads with few weights, fitted on exact bits, beside as many random bits of the pixels.

        Args:
            train: As in `rules`; best the training images.
            necs: Numbers of effective concepts per class. Default 5, 10, ..., 30.
            seed: Of the random bits. Default 0.
        """
        fit, held_out, images = self._parts(train)
        random = None if images is None else random_bits(*images, self.codes.num_bits, seed)
        return sparse_heads(fit, held_out, necs=necs, random=random)

    def intervene(self, pin: Mapping | None = None, flip: Iterable = ()) -> Intervention:
        """What would be decided with bits pinned or flipped, by number or name."""
        return intervene(self.codes, pin=pin, flip=flip)

    def curves(self, seed: int = 0) -> Curves:
        """How decisions go and come back as their most important bits are deleted and inserted."""
        return curves(self.codes, seed=seed)

    def edit(self, **changes) -> keras.Model:
        """The model with concepts renamed, merged or removed: `edit_concepts` takes the changes.

        Averages, and `refit=True`, are taken over these images: analyse the training part for it.
        """
        what = "editing its concepts"
        model, run = needed(self.model, what), needed(self.run, what)
        return edit_concepts(model, self.codes, concepts=run.concepts, head=run.head, **changes)

    def retrieval(self, database: ConceptAnalysis | None = None, k: int = 100) -> float:
        """mAP@k of finding images of the same class by Hamming distance.

        Args:
            database: Analysis of the images to search among. Default: these, without the query.
            k: Ranks that count. Default 100.
        """
        others = None if database is None else database.codes
        return mean_average_precision(self.codes, others, k=k)

    def monitor(self, train: ConceptAnalysis | None = None, **options) -> Monitor:
        """A monitor that flags inputs far from every class's pattern of bits.

        Patterns come from `train` (as in `rules`), the threshold from the other images;
        `fit_monitor` takes the options.
        """
        return fit_monitor(*self._parts(train)[:2], **options)

    def _parts(
        self, train: ConceptAnalysis | None
    ) -> tuple[Codes, Codes, tuple[np.ndarray, np.ndarray] | None]:
        """Codes to fit on and codes to measure on, and the images of both where they are known."""
        if train is not None:
            check_same_head(self.codes, train.codes, "train")
            images = None if train.x is None or self.x is None else (train.x, self.x)
            return train.codes, self.codes, images
        first, second = self._halves()
        images = None if self.x is None else (self.x[first], self.x[second])
        return self.codes.rows(first), self.codes.rows(second), images

    def _halves(self) -> list[np.ndarray]:
        if len(self.codes) < 2:
            raise ValueError("Received one image. Expected at least two, to fit and to measure on.")
        order = np.random.default_rng(0).permutation(len(self.codes))
        return [np.sort(half) for half in np.array_split(order, 2)]

    def report(self, path: str | os.PathLike, **options) -> Path:
        """Writes all of this as one HTML file that needs no network, for readers who need not be
        specialists; names given to bits in it are saved as a file for `analyze`.

        Args:
            path: The .html file.
            title: Default "What the bits mean".
            train: As in `rules`: what rules, scorecard and sparse heads are fitted to.
            history: Of a training with `DiscretizationGap`, for the gap over the epochs.
            pixels: Images to show in place of the analysed ones, as many, (n, h, w[, c]) of any
                range: raw pixels, where the model is fed others.
            samples: How many images get a page, or their numbers. Default 60.
            gallery: Images of each kind that show a bit. Default 12.
            sparse: Whether heads with few weights are fitted, which may take a minute; or
                `SparseHeads`; or a text that says why there are none. Default True.
            maps: "exact", "occlusion" or "none". Default: exact where the model has such maps.
            seed: Of what is drawn at random. Default 0.

        Returns:
            The path.
        """
        from keras_htaf.interpret.report import write_report

        return write_report(self, path, **options)

    def export(self, folder: str | os.PathLike, **options) -> list[Path]:
        """Writes analysis.json, bits.csv, classes.csv, samples.csv, errors.csv (and attributes.csv
        where these are known), bits.png and nec.png into a folder.

        Args:
            folder: Made if it is not there.
            pixels: As in `report`.
            heads: `SparseHeads`, for nec.png. Default none.
            seed: Of the images in bits.png. Default 0.

        Returns:
            The files.
        """
        from keras_htaf.interpret.report import write_exports

        return write_exports(self, folder, **options)

    def summary(self) -> str:
        """A verdict, the numbers it stands on, and warnings, as text."""
        return text(self)
