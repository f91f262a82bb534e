"""The attribution methods by short names, as the command line knows them."""

from collections.abc import Callable, Sequence
from typing import Any

from captum.attr import (
    FeatureAblation,
    KernelShap,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    Lime,
    ShapleyValueSampling,
)

from captum_heta.attr import (
    HETA,
    TDD,
    AttentionRollout,
    ContextCite,
    LastAttention,
    NormXLogit,
    Peering,
    ProgressiveInference,
    ReAGent,
)


def _of_embeddings(method: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    return lambda model: method(model, model.get_input_embeddings())


# The name in tables, and what makes the method of a model.
METHODS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "heta": ("HETA", HETA),
    "ig": ("Integrated Gradients", _of_embeddings(LayerIntegratedGradients)),
    "gxa": ("Gradient x Activation", _of_embeddings(LayerGradientXActivation)),
    "ablation": ("Feature Ablation", FeatureAblation),
    "shapley": ("Shapley Value Sampling", ShapleyValueSampling),
    "lime": ("LIME", Lime),
    "kernel_shap": ("Kernel SHAP", KernelShap),
    "rollout": ("Attention Rollout", AttentionRollout),
    "attention": ("Last Attention", LastAttention),
    "normxlogit": ("NormXLogit", NormXLogit),
    "tdd": ("TDD", TDD),
    "progressive": ("Progressive Inference", ProgressiveInference),
    "reagent": ("ReAGent", ReAGent),
    "contextcite": ("ContextCite", ContextCite),
    "peering": ("Peering", Peering),
}


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError if a name is not among `METHODS`."""
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ValueError(f"There is no method {unknown[0]!r}; there are {', '.join(METHODS)}.")


def named_methods(names: Sequence[str], model: Any) -> dict[str, Any]:
    """The methods of these short names on a model, by their names in tables.

    Raises:
        ValueError: if a name is not among `METHODS`.
    """
    check_names(names)
    return {METHODS[name][0]: METHODS[name][1](model) for name in names}
