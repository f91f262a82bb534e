"""S, the second-order sensitivity of the target's log-probability to each token."""

from captum_heta.terms.curvature.term import CurvatureOptions, curvature

__all__ = ["CurvatureOptions", "curvature"]
