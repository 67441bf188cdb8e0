"""What the bits of a concept model mean, computed exactly from the bits and the head.

analysis.py       `analyze`, the face of the rest
codes.py          the bits of a data set and the linear head that reads them
collection.py     a model, run over images once
results.py        what all results can do
packages.py       optional packages, missed in words that help
summary.py        an analysis as a few lines

health.py         whether each bit carries something of its own
code.py           what the code as a whole holds of the classes
certified.py      where smooth and exact bits provably decide alike
classes.py        what each bit says about the classes and does to them
stability.py      changed images, repeated training
purity.py         bits against known attributes
correlation.py    counts and correlations of bits

explanations.py   why one sample is decided as it is
sufficient.py     the fewest bits that force a decision
flips.py          the fewest flips that change it
neighbours.py     the samples with the nearest codes
errors.py         wrong decisions by responsible bit
maps.py           where on images bits are seen

rules.py          when the head decides for a class, as rules on bits
minimize.py       the shortest OR of ANDs that is a boolean function
scorecards.py     a head as small integers
heads.py          heads fitted on exact bits
sparse.py         heads with few weights, and what each weight buys
interventions.py  decisions with other bits
names.py          names of bits, in a file
editing.py        models whose concepts were renamed, merged or removed
retrieval.py      how good it is to find images by their bits
monitor.py        a watch on inputs whose bits no class has
"""

from keras_htaf.interpret.analysis import ConceptAnalysis, analyze
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.collection import collect
from keras_htaf.interpret.editing import edit_concepts
from keras_htaf.interpret.monitor import Monitor
from keras_htaf.interpret.sparse import random_bits

__all__ = [
    "Codes",
    "ConceptAnalysis",
    "Monitor",
    "analyze",
    "collect",
    "edit_concepts",
    "random_bits",
]
