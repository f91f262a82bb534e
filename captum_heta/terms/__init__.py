"""The three terms of HETA, and attention as others read it, as functions of a traced sequence."""

from captum_heta.terms.curvature import MODES as CURVATURE_MODES
from captum_heta.terms.curvature import CurvatureOptions, check_gradients, check_second_derivatives, curvature
from captum_heta.terms.information import information
from captum_heta.terms.semantic_flow import attention_rollout, last_attention, semantic_flow

__all__ = [
    "CURVATURE_MODES",
    "CurvatureOptions",
    "attention_rollout",
    "check_gradients",
    "check_second_derivatives",
    "curvature",
    "information",
    "last_attention",
    "semantic_flow",
]
