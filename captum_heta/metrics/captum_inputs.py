"""What `captum.metrics` needs to measure attributions of token ids, which cannot themselves be moved a little."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_heta.metrics.inputs import batch_of, language_model
from captum_heta.metrics.noise import noisy_embeddings
from captum_heta.metrics.stability import Explain, explained
from captum_heta.prompts import check_ids, check_length


def gated_log_probs(model: Any, perturbations_per_eval: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """The model as a function of one gate a token, which multiplies its embedding: the ``forward_func`` of infidelity.

    Gates have the shape of token attributions, (B, n); a gate of 1 leaves a token, one of 0 masks it. Infidelity then
    asks whether the attributions of the tokens that a perturbation masks sum to what the target's log-probability
    falls. HETA's have a scale of their own, so let Captum find it::

        @infidelity_perturb_func_decorator(multiply_by_inputs=False)
        def mask_some(gates):
            return torch.bernoulli(0.8 * gates)

        infidelity(gated_log_probs(model), mask_some, torch.ones(ids.shape), scores,
                   additional_forward_args=ids, target=token_id, normalize=True)

    Args:
        model: a causal language model of Hugging Face transformers.
        perturbations_per_eval: texts in one pass; None fits them to a memory budget.

    Returns:
        From gates (B, n) and token ids (B, n), without padding, to next-token log-probabilities (B, V). It raises
        ValueError if they do not fit.

    Raises:
        TypeError: if the model does not predict the next token.
    """
    lm = language_model(model)

    def forward(gates: Tensor, ids: Tensor) -> Tensor:
        check_ids(lm, ids)
        check_length(lm, ids.shape[1])
        if gates.shape != ids.shape:
            raise ValueError(f"There must be one gate a token, {tuple(ids.shape)}, got {tuple(gates.shape)}.")

        def log_probs(rows: Tensor) -> Tensor:
            embeds = lm.embed(ids[rows])
            return lm.log_probs(embeds * gates[rows, :, None].to(embeds))[:, 0]

        with lm.lock, lm.restored(), lm.evaluating():
            rows = torch.arange(len(ids), device=ids.device)
            return torch.cat(batch_of(lm, ids.shape[1], perturbations_per_eval).run(rows, log_probs))

    return forward


def explained_under_noise(explain: Explain, model: Any, inputs: Tensor) -> Callable[[Any], Any]:
    """Attributions as a function of what is added to a prompt's embeddings: the ``explanation_func`` of sensitivity.

    ::

        moved = explained_under_noise(lambda ids: heta.attribute(ids, target=token_id), model, ids)
        sensitivity_max(moved, torch.zeros(1, ids.shape[1], width), perturb_radius=0.02)

    Captum draws the noise, from torch's global random state. `gaussian_sensitivity` has a seed, a scale that follows
    the embeddings, and a mean in place of the maximum.

    Args:
        explain: token ids (1, n) to attributions (1, n), of ``model``.
        model: a model of Hugging Face transformers.
        inputs: (1, n) token ids, one prompt without padding.

    Returns:
        From noise (R, n, d) to attributions (R, n). Noise as a tuple of one tensor, Captum's form, is answered with a
        tuple. As in `noisy_embeddings`, a token that occurs again has the noise of its first occurrence. It raises
        ValueError if the noise does not fit.

    Raises:
        ValueError: if ``inputs`` is not one prompt.
    """
    lm = language_model(model)
    check_ids(lm, inputs)
    if len(inputs) != 1:
        raise ValueError(f"inputs must be one prompt, (1, n), got {len(inputs)}: call once for each.")
    shape = lm.embed(inputs).shape[1:]

    def moved(noise: Any) -> Any:
        given = noise[0] if isinstance(noise, tuple) else noise
        if given.shape[1:] != shape:
            raise ValueError(
                f"noise must have the shape of the embeddings, (R, {shape[0]}, {shape[1]}), got {tuple(given.shape)}."
            )
        found = []
        for row in given:
            with noisy_embeddings(model, inputs[0], row):
                found.append(explained(explain, inputs))
        scores = torch.cat(found)
        return (scores,) if isinstance(noise, tuple) else scores

    return moved
