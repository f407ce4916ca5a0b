"""Activation families, by name. A new one is a file here, a line in ``FAMILIES`` and a row in the contract test."""

from sparta_hub.activations._dynamic_relu import (
    DynamicRelu,
    dynamic_relu,
    dynamic_relu_b,
    dynamic_relu_c,
    spatial_attention,
)
from sparta_hub.activations._family import Argument, Family
from sparta_hub.activations._feature_denoising import (
    FeatureDenoising,
    dot_means,
    local_means,
    local_medians,
    softmax_means,
)
from sparta_hub.activations._gated_relu import CbamGatedRelu, SeGatedRelu, gated_relu
from sparta_hub.activations._maxout import Maxout, maxout
from sparta_hub.activations._parametric_softplus import ParametricSoftplus, parametric_softplus
from sparta_hub.activations._registry import FAMILIES, build, check_arguments, find_family
from sparta_hub.activations._relu_smooth_backward import ReluSmoothBackward, attacker_pass, relu_smooth_backward
from sparta_hub.activations._smooth_relu import SmoothRelu, smooth_relu
from sparta_hub.activations._sparta import Sparta, dynamic_conv, sparta
from sparta_hub.activations._swish_relu import SwishRelu, swish_relu

__all__ = [
    "FAMILIES",
    "Argument",
    "CbamGatedRelu",
    "DynamicRelu",
    "Family",
    "FeatureDenoising",
    "Maxout",
    "ParametricSoftplus",
    "ReluSmoothBackward",
    "SeGatedRelu",
    "SmoothRelu",
    "Sparta",
    "SwishRelu",
    "attacker_pass",
    "build",
    "check_arguments",
    "dot_means",
    "dynamic_conv",
    "dynamic_relu",
    "dynamic_relu_b",
    "dynamic_relu_c",
    "find_family",
    "gated_relu",
    "local_means",
    "local_medians",
    "maxout",
    "parametric_softplus",
    "relu_smooth_backward",
    "smooth_relu",
    "softmax_means",
    "sparta",
    "spatial_attention",
    "swish_relu",
]
