"""S, the second-order sensitivity of the target's log-probability to each token."""

from captum_heta.terms.curvature.selftest import check_gradients, check_second_derivatives
from captum_heta.terms.curvature.term import Curvature, Sensitivity, curvature

__all__ = ["Curvature", "Sensitivity", "check_gradients", "check_second_derivatives", "curvature"]
