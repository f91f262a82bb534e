"""How good attributions are, as functions of tensors."""

from captum_heta.metrics.agreement import spearman, top_k_overlap
from captum_heta.metrics.alignment import alignment_f1, dsa, top1_hit

__all__ = ["alignment_f1", "dsa", "spearman", "top1_hit", "top_k_overlap"]
