"""How good attributions are: a number for each example, from attributions alone or from a model's predictions."""

from typing import TYPE_CHECKING

from captum_heta._lazy import lazy

if TYPE_CHECKING:
    from captum_heta.metrics.agreement import spearman, top_k_overlap
    from captum_heta.metrics.alignment import alignment_f1, dsa, mass_on
    from captum_heta.metrics.captum_inputs import explained_under_noise, gated_log_probs
    from captum_heta.metrics.curves import deletion, insertion
    from captum_heta.metrics.decoding import decoding_stability
    from captum_heta.metrics.hard_faithfulness import comprehensiveness, sufficiency
    from captum_heta.metrics.leave_one_out import loo_agreement
    from captum_heta.metrics.noise import noisy_embeddings
    from captum_heta.metrics.paraphrase import aligned_words, paraphrase_consistency, word_scores
    from captum_heta.metrics.ranking import average_precision, recall_at, top1_hit
    from captum_heta.metrics.soft_faithfulness import hellinger, soft_nc, soft_ns
    from captum_heta.metrics.stability import gaussian_sensitivity

__all__ = [
    "aligned_words",
    "alignment_f1",
    "average_precision",
    "comprehensiveness",
    "decoding_stability",
    "deletion",
    "dsa",
    "explained_under_noise",
    "gated_log_probs",
    "gaussian_sensitivity",
    "hellinger",
    "insertion",
    "loo_agreement",
    "mass_on",
    "noisy_embeddings",
    "paraphrase_consistency",
    "recall_at",
    "soft_nc",
    "soft_ns",
    "spearman",
    "sufficiency",
    "top1_hit",
    "top_k_overlap",
    "word_scores",
]

# the benchmark's table of metrics names them without computing one
__getattr__, __dir__ = lazy(
    __name__,
    {
        **dict.fromkeys(("spearman", "top_k_overlap"), "captum_heta.metrics.agreement"),
        **dict.fromkeys(("alignment_f1", "dsa", "mass_on"), "captum_heta.metrics.alignment"),
        **dict.fromkeys(("explained_under_noise", "gated_log_probs"), "captum_heta.metrics.captum_inputs"),
        **dict.fromkeys(("deletion", "insertion"), "captum_heta.metrics.curves"),
        "decoding_stability": "captum_heta.metrics.decoding",
        **dict.fromkeys(("comprehensiveness", "sufficiency"), "captum_heta.metrics.hard_faithfulness"),
        "loo_agreement": "captum_heta.metrics.leave_one_out",
        "noisy_embeddings": "captum_heta.metrics.noise",
        **dict.fromkeys(("aligned_words", "paraphrase_consistency", "word_scores"), "captum_heta.metrics.paraphrase"),
        **dict.fromkeys(("average_precision", "recall_at", "top1_hit"), "captum_heta.metrics.ranking"),
        **dict.fromkeys(("hellinger", "soft_nc", "soft_ns"), "captum_heta.metrics.soft_faithfulness"),
        "gaussian_sensitivity": "captum_heta.metrics.stability",
    },
)
