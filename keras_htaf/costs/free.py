"""What needs no multiply-accumulates."""

from __future__ import annotations

import keras

from keras_htaf.costs.graph import SELECTING_OPERATIONS, keras_operation
from keras_htaf.layers import (
    ActivityPenalty,
    DeltaEncoding,
    FoldTime,
    LatencyEncoding,
    LearnedScale,
    PopulationEncoding,
    RateEncoding,
    ReduceTime,
    RepeatTime,
    RPReLU,
)
from keras_htaf.ops.steps import StepNode
from keras_htaf.quantizers import Quantizer

_OWN = (
    *(Quantizer, StepNode, ActivityPenalty, LearnedScale, RPReLU),
    *(RepeatTime, ReduceTime, DeltaEncoding, LatencyEncoding, PopulationEncoding, RateEncoding),
)
_LAYERS = """
Activation ELU LeakyReLU PReLU ReLU Softmax
BatchNormalization GroupNormalization LayerNormalization Normalization RMSNormalization
UnitNormalization Rescaling
ActivityRegularization AlphaDropout Dropout GaussianDropout GaussianNoise SpatialDropout1D
SpatialDropout2D SpatialDropout3D RandomBrightness RandomContrast RandomFlip RandomRotation
RandomTranslation RandomZoom
Add Average Concatenate Maximum Minimum Multiply Subtract
AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D
AveragePooling1D AveragePooling2D AveragePooling3D MaxPooling1D MaxPooling2D MaxPooling3D
GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D
GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
CenterCrop Cropping1D Cropping2D Cropping3D Embedding Flatten Identity InputLayer Masking
Permute RepeatVector Reshape UpSampling1D UpSampling2D UpSampling3D
ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_OPERATIONS = """
Abs Absolute Add Ceil Clip Cos Cosh Divide Erf Exp Expm1 Floor FloorDivide Log Log10 Log1p Log2
Maximum Minimum Mod Multiply Negative Power Reciprocal Round Rsqrt Sign Sin Sinh Sqrt Square
Subtract Tan Tanh TrueDivide Trunc
Equal Greater GreaterEqual Isfinite Isinf Isnan Less LessEqual LogicalAnd LogicalNot LogicalOr
LogicalXor NotEqual Where
Celu Elu Gelu Glu HardShrink HardSigmoid HardSilu HardTanh LeakyRelu LogSigmoid LogSoftmax Relu
Relu6 Selu Sigmoid Silu SoftShrink Softmax Softplus Softsign SparsePlus SparseSigmoid Sparsemax
Squareplus TanhShrink Threshold
All Amax Amin Any Argmax Argmin CountNonzero Cumsum Logsumexp Max Mean Min Moments Prod Std Sum
Var
AdaptiveAveragePool AdaptiveMaxPool AveragePool MaxPool
BatchNorm LayerNorm Normalize RMSNorm
BroadcastTo Cast Copy DepthToSpace Diagonal FullLike OneHot OnesLike Pad SpaceToDepth
StopGradient Take TakeAlongAxis Tril Triu ZerosLike
"""
"""What treats each element by itself, compares, adds up, scales or moves."""

# By the exact class, since a subclass may compute anything; not all Keras versions have all.
_CLASSES = {getattr(keras.layers, name, None) for name in _LAYERS.split()}
_NAMES = SELECTING_OPERATIONS.union(_OPERATIONS.split())


def is_free(operation: keras.Operation) -> bool:
    """Whether a layer or operation is known to need no multiply-accumulates."""
    if isinstance(operation, FoldTime):
        return is_free(operation.layer)
    known = type(operation) in _CLASSES or keras_operation(operation) in _NAMES
    return known or isinstance(operation, _OWN)
