"""Methods of other packages on the same prompt, output and features, a package a file.

None of the packages is imported before one of its methods attributes. Each is an extra of this one.
"""

from captum_heta.peers.base import PeerAttribution
from captum_heta.peers.context_cite import ContextCitePackage
from captum_heta.peers.flashtrace import FlashTrace
from captum_heta.peers.inseq import InseqSaliency
from captum_heta.peers.interpreto import (
    InterpretoIntegratedGradients,
    InterpretoKernelShap,
    InterpretoLime,
    InterpretoOcclusion,
    InterpretoSaliency,
    InterpretoSmoothGrad,
)
from captum_heta.peers.shap import ShapText

__all__ = [
    "ContextCitePackage",
    "FlashTrace",
    "InseqSaliency",
    "InterpretoIntegratedGradients",
    "InterpretoKernelShap",
    "InterpretoLime",
    "InterpretoOcclusion",
    "InterpretoSaliency",
    "InterpretoSmoothGrad",
    "PeerAttribution",
    "ShapText",
]
