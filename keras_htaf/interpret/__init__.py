"""What the bits of a concept model mean, computed exactly from the bits and the head.

codes.py          the bits of a data set and the linear head that reads them
collection.py     a model, run over images once
analysis.py       `analyze`, the face of the rest
"""

from keras_htaf.interpret.analysis import ConceptAnalysis, analyze
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.collection import collect

__all__ = ["Codes", "ConceptAnalysis", "analyze", "collect"]
