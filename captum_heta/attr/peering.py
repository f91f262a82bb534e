"""Hidden states of the answer against those of the context (Phukan et al., ACL Findings 2024, arXiv 2405.17980)."""

import torch
from torch import Tensor

from captum_heta.attr.base import OutputAttributions, PromptAttribution
from captum_heta.features import Features


class Peering(PromptAttribution):
    """The cosine of an output token's hidden state and each prompt token's, in [-1, 1].

    Text that a model copies has hidden states like those of its source. The output token is read at its own position,
    after the prompt, in one pass. The paper looks for copied spans with this: it keeps the answer tokens with a high
    cosine, takes the context token most like each as its anchor, and searches around that. What is implemented is the
    similarity itself; a feature has the mean over its tokens, as the paper averages over a span. The paper chooses the
    layer on labelled data and finds middle layers best: the middle one is the default here.

    Args:
        forward_func: a causal language model of Hugging Face transformers.
    """

    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *,
        num_trials: int = 1,
        per_token: bool = True,
        layer: int | None = None,
    ) -> OutputAttributions:
        """As `TokenAttribution.attribute_outputs`; nothing is drawn, so ``num_trials`` changes nothing.

        Args:
            input_ids: (n,).
            outputs: (K,).
            features: groups of prompt tokens.
            num_trials: of no effect.
            per_token: scores of each output, or their sum.
            layer: compare the states after so many layers, 0 for what enters the first; None for half of them.
        """
        self._checked(input_ids, outputs, read=len(outputs))
        depth = self._lm.n_layers // 2 if layer is None else layer
        self._lm.check_depth(depth)
        n = len(input_ids)
        cosines = []
        with self._lm.lock, self._lm.restored(), self._lm.evaluating():
            ids = torch.cat([input_ids, outputs])
            log_probs = self._lm.log_probs_after([ids[:-1]], len(outputs))[0]
            for some in self._lm.alike(n + 1, len(outputs)):
                states = self._lm.states(ids[: n + some.stop], depth)
                states = torch.nn.functional.normalize(states.float(), dim=-1)
                cosines.append(states[n + some.start :] @ states[:n].T)
        scores = features.mean(torch.cat(cosines))
        found = log_probs.gather(1, outputs[:, None])[:, 0].float()
        return OutputAttributions(scores if per_token else scores.sum(0, keepdim=True), found)
