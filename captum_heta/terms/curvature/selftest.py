"""Whether a model's kernels have derivatives, and right ones: quantized ones are written for inference."""

import torch

from captum_heta.models import CausalLM, trace_of
from captum_heta.terms.curvature.function import Varying
from captum_heta.terms.curvature.operators import hessian

# Right products agree to 0.99 and 3% in bfloat16, 5% of int8 kernels in it; a kernel without a second derivative in
# each MLP cost 0.1 of both.
_AGREEMENT, _SIZE = 0.95, 0.9
_STEP = 0.1  # of the embeddings' size
_SMALL_STEP = 0.03
_ADVICE = "Load the model without quantization, or in another format."
_SLOPE = 0.9  # right gradients agree to 4%, also of int8 kernels in bfloat16


def check_gradients(lm: CausalLM) -> None:
    """Compare the size of a gradient on two tokens with the change along it. Call within `CausalLM.ready`.

    Raises:
        TypeError: if they differ. bitsandbytes' 4-bit layers lose their gradients on processors with AVX512-BF16.
    """
    ids = torch.arange(2, device=lm.device)  # two alike hid a wrong one
    embeds = lm.embed(ids)
    trace = trace_of(lm, embeds, 1, per_layer=lm.per_layer(ids))
    function = Varying(trace, torch.arange(2, device=lm.device), range(1))
    target = int(trace.log_probs[0].argmax())
    with torch.enable_grad():
        x = embeds.detach().clone().requires_grad_()
        try:
            gradient = torch.autograd.grad(function.log_probs(x)[0, target], x)[0].float()
        except RuntimeError as error:
            raise TypeError(f"{type(lm.model).__name__} cannot be differentiated: {error}. {_ADVICE}") from error
    step = gradient * (_SMALL_STEP * embeds.float().norm() / gradient.norm())
    with torch.no_grad():
        ahead, behind = (function.log_probs((embeds + s * step).to(embeds))[0, target].float() for s in (1, -1))
    ratio = ((ahead - behind) / 2 / (gradient * step).sum()).item()
    if not _SLOPE < ratio < 1 / _SLOPE:
        raise TypeError(
            f"The gradients of {type(lm.model).__name__} are wrong: along one, the log-probability changes by "
            f"{ratio:.2f} of what it says. {_ADVICE}"
        )


def check_second_derivatives(lm: CausalLM) -> None:
    """Compare a Hessian product on two tokens with the difference of two gradients. Call within `CausalLM.ready`.

    Raises:
        TypeError: if the product cannot be computed, or points elsewhere.
    """
    name = type(lm.model).__name__
    ids = torch.zeros(2, dtype=torch.long, device=lm.device)
    embeds = lm.embed(ids)
    trace = trace_of(lm, embeds, 1, per_layer=lm.per_layer(ids))
    function = Varying(trace, torch.arange(2, device=lm.device), range(1))
    direction = _direction(embeds)
    direction = direction * _STEP * embeds.norm() / direction.norm()
    target = int(trace.log_probs[0].argmax())
    with torch.enable_grad():
        try:
            x = function.point()
            product = hessian(function.log_probs(x)[0, target], x)(direction[None])[0].float()
            gradients = []
            for sign in (1, -1):
                x = (embeds + sign * direction).detach().requires_grad_()
                gradients.append(torch.autograd.grad(function.log_probs(x)[0, target], x)[0].float())
        except RuntimeError as error:
            raise TypeError(f"{name} cannot be differentiated twice: {error}. {_ADVICE}") from error
    difference = (gradients[0] - gradients[1]) / 2
    agreement = torch.nn.functional.cosine_similarity(product.flatten(), difference.flatten(), dim=0)
    size = product.norm() / difference.norm().clamp(min=torch.finfo(torch.float32).tiny)
    if not (agreement > _AGREEMENT and _SIZE < size < 1 / _SIZE):
        raise TypeError(
            f"The second derivatives of {name} are wrong: a Hessian product and the difference of two gradients have a "
            f"cosine of {agreement.item():.2f} and a ratio of {size.item():.2f}, where 1 and 1 are right. {_ADVICE}"
        )


def _direction(embeds: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator(device="cpu").manual_seed(0)
    return torch.randn(embeds.shape, generator=generator, dtype=torch.float32, device="cpu").to(embeds)
