"""What the bits of a concept model mean, computed exactly from the bits and the head.

analysis.py       `analyze`, the face of the rest
codes.py          the bits of a data set and the linear head that reads them
collection.py     a model, run over images once
results.py        what all results can do
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
"""

from keras_htaf.interpret.analysis import ConceptAnalysis, analyze
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.collection import collect

__all__ = ["Codes", "ConceptAnalysis", "analyze", "collect"]
