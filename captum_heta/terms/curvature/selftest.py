"""Whether a model's kernels have second derivatives, and right ones."""

import torch

from captum_heta.models import CausalLM
from captum_heta.terms.curvature.function import Varying
from captum_heta.terms.curvature.operators import hessian

# Right products agree to 0.99 and 3% in bfloat16; a kernel without a second derivative in each MLP cost 0.1 of both.
_AGREEMENT = 0.95
_STEP = 0.1  # of the embeddings' size


def check_second_derivatives(lm: CausalLM) -> None:
    """Compare a Hessian product on two tokens with the difference of two gradients. Call within `CausalLM.ready`.

    Raises:
        TypeError: if the product cannot be computed, or points elsewhere.
    """
    name = type(lm.model).__name__
    advice = "Load the model without quantization, or in another format, for second derivatives."
    embeds = lm.embed(torch.zeros(2, dtype=torch.long, device=lm.device))
    trace = lm.trace(embeds, torch.arange(2, device=lm.device), 1)
    function = Varying(trace, torch.arange(2, device=lm.device), range(1))
    direction = torch.randn(embeds.shape, generator=torch.Generator().manual_seed(0)).to(embeds)
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
            raise TypeError(f"{name} cannot be differentiated twice: {error}. {advice}") from error
    difference = (gradients[0] - gradients[1]) / 2
    agreement = torch.nn.functional.cosine_similarity(product.flatten(), difference.flatten(), dim=0)
    size = product.norm() / difference.norm().clamp(min=torch.finfo(torch.float32).tiny)
    if not (agreement > _AGREEMENT and _AGREEMENT < size < 1 / _AGREEMENT):
        raise TypeError(
            f"The second derivatives of {name} are wrong: a Hessian product and the difference of two gradients have a "
            f"cosine of {agreement.item():.2f} and a ratio of {size.item():.2f}, where 1 and 1 are right. {advice}"
        )
