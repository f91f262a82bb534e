"""S, the second-order sensitivity of the target's log-probability to each token."""

from captum_heta.terms.curvature.term import check_mode, curvature

__all__ = ["check_mode", "curvature"]
