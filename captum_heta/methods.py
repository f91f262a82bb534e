"""The attribution methods by short names, as `captum_heta.compare`, the benchmark and the command line know them.

Importing this module imports none of them: the command line names them in its help.
"""

from collections import ChainMap
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple


class Method(NamedTuple):
    """A method and where it is.

    Attributes:
        title: its name in tables.
        module: where its class is.
        name: of its class.
        of_embeddings: whether it is made with the layer of input embeddings too.
        of_tokenizer: whether it is made with the model's tokenizer too.
    """

    title: str
    module: str
    name: str
    of_embeddings: bool = False
    of_tokenizer: bool = False

    @property
    def type(self) -> type[Any]:
        """The class."""
        return getattr(import_module(self.module), self.name)

    def make(self, model: Any, tokenizer: Any = None) -> Any:
        """The method for a model; one that is made with the tokenizer refuses to be without."""
        if self.of_tokenizer:
            return self.type(model, tokenizer)
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


# Methods of other packages, which are extras and are imported when one of their methods attributes.
PEERS = {
    "inseq_saliency": Method("Inseq, saliency", "captum_heta.peers.inseq", "InseqSaliency"),
    "interpreto_saliency": Method("Interpreto, saliency", "captum_heta.peers.interpreto", "InterpretoSaliency"),
    "interpreto_ig": Method(
        "Interpreto, integrated gradients", "captum_heta.peers.interpreto", "InterpretoIntegratedGradients"
    ),
    "interpreto_smooth_grad": Method("Interpreto, SmoothGrad", "captum_heta.peers.interpreto", "InterpretoSmoothGrad"),
    "interpreto_occlusion": Method("Interpreto, occlusion", "captum_heta.peers.interpreto", "InterpretoOcclusion"),
    "interpreto_lime": Method("Interpreto, LIME", "captum_heta.peers.interpreto", "InterpretoLime"),
    "interpreto_kernel_shap": Method("Interpreto, Kernel SHAP", "captum_heta.peers.interpreto", "InterpretoKernelShap"),
    "flashtrace": Method("FlashTrace", "captum_heta.peers.flashtrace", "FlashTrace", of_tokenizer=True),
    "context_cite_package": Method("ContextCite, package", "captum_heta.peers.context_cite", "ContextCitePackage"),
    "shap_text": Method("SHAP, text", "captum_heta.peers.shap", "ShapText", of_tokenizer=True),
}

# All of both, in that order, and what is added to them later.
NAMED: Mapping[str, Method] = ChainMap(PEERS, METHODS)


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError if a name is neither among `METHODS` nor among `PEERS`."""
    unknown = [name for name in names if name not in NAMED]
    if unknown:
        raise ValueError(
            f"There is no method {unknown[0]!r}; there are {', '.join(METHODS)}; and of other packages "
            f"{', '.join(PEERS)}."
        )


def named_methods(names: Sequence[str], model: Any, tokenizer: Any = None) -> dict[str, Any]:
    """The methods of these short names on a model, by their names in tables.

    Args:
        names: of `METHODS` and `PEERS`.
        model: a causal language model.
        tokenizer: of the model; for some of other packages.

    Raises:
        ValueError: if a name is among neither.
        TypeError: if a method needs the tokenizer, and there is none.
    """
    check_names(names)
    methods = [NAMED[name] for name in dict.fromkeys(names)]
    return {method.title: method.make(model, tokenizer) for method in methods}
