"""The attribution methods by short names, as `captum_heta.compare`, the benchmark and the command line know them.

Importing this module imports none of them: the command line names them in its help.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple


class Method(NamedTuple):
    """A method and where it is.

    Attributes:
        title: its name in tables.
        module: where its class is.
        name: of its class.
        of_embeddings: whether it is made with the layer of input embeddings too.
    """

    title: str
    module: str
    name: str
    of_embeddings: bool = False

    @property
    def type(self) -> type[Any]:
        """The class."""
        return getattr(import_module(self.module), self.name)

    def make(self, model: Any) -> Any:
        """The method for a model."""
        return self.type(model, model.get_input_embeddings()) if self.of_embeddings else self.type(model)


METHODS = {
    "heta": Method("HETA", "captum_heta.attr.heta", "HETA"),
    "targeted": Method("Targeted HETA", "captum_heta.attr.heta", "TargetedHETA"),
    "gradient_norm": Method("Gradient Norm", "captum_heta.attr.gradient_norm", "GradientNorm"),
    "attnlrp": Method("AttnLRP", "captum_heta.attr.attn_lrp", "AttnLRP"),
    "ig": Method("Integrated Gradients", "captum.attr", "LayerIntegratedGradients", True),
    "gxa": Method("Gradient x Activation", "captum.attr", "LayerGradientXActivation", True),
    "ablation": Method("Feature Ablation", "captum.attr", "FeatureAblation"),
    "shapley": Method("Shapley Value Sampling", "captum.attr", "ShapleyValueSampling"),
    "lime": Method("LIME", "captum.attr", "Lime"),
    "kernel_shap": Method("Kernel SHAP", "captum.attr", "KernelShap"),
    "routes": Method("Information Flow Routes", "captum_heta.attr.flow_routes", "InformationFlowRoutes"),
    "rollout": Method("Attention Rollout", "captum_heta.attr.attention", "AttentionRollout"),
    "attention": Method("Last Attention", "captum_heta.attr.attention", "LastAttention"),
    "normxlogit": Method("NormXLogit", "captum_heta.attr.normxlogit", "NormXLogit"),
    "tdd": Method("TDD", "captum_heta.attr.progressive", "TDD"),
    "progressive": Method("Progressive Inference", "captum_heta.attr.progressive", "ProgressiveInference"),
    "reagent": Method("ReAGent", "captum_heta.attr.reagent", "ReAGent"),
    "contextcite": Method("ContextCite", "captum_heta.attr.context_cite", "ContextCite"),
    "peering": Method("Peering", "captum_heta.attr.peering", "Peering"),
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
    return {METHODS[name].title: METHODS[name].make(model) for name in names}
