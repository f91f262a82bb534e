"""The three terms of HETA, as functions of a traced sequence."""

from captum_heta.terms.curvature import CurvatureOptions, check_second_derivatives, curvature
from captum_heta.terms.information import information
from captum_heta.terms.semantic_flow import semantic_flow

__all__ = ["CurvatureOptions", "check_second_derivatives", "curvature", "information", "semantic_flow"]
