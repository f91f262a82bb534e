"""The three terms of HETA, as functions of a traced sequence."""

from captum_heta.terms.curvature import CurvatureOptions, curvature
from captum_heta.terms.information import information
from captum_heta.terms.semantic_flow import semantic_flow

__all__ = ["CurvatureOptions", "curvature", "information", "semantic_flow"]
