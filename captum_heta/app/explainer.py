"""What the page asks of a model: its likeliest next tokens, its answer, and explanations of one output."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_heta.app.long_prompts import automatic_refine
from captum_heta.app.prompts import Prompt
from captum_heta.app.runs import Runs
from captum_heta.checks import check_count
from captum_heta.comparison import Comparison, compare
from captum_heta.comparison.refinement import explains_tokens
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.answered import AnsweredInput
from captum_heta.inputs.target import next_token, target_ids, turn_ends
from captum_heta.methods import METHODS, named_methods
from captum_heta.models import GREEDY, LanguageModel, generated
from captum_heta.options import CURVATURE_MODES
from captum_heta.tokenizers import Tokenizer
from captum_heta.visualization.signs import label

# Each token of an output is explained by itself, so that many take long.
MOST_OUTPUTS = 50

CURVED = ("targeted", "heta")  # the methods that have a curvature
OWN = "default"  # the curvature that a method has by itself

# No token has as many characters, except some of nothing but white space; counting them is cheap, cutting them is not.
_LONGEST_TOKEN = 100


@dataclass(frozen=True)
class Choices:
    """Outputs to choose from after a prompt.

    Attributes:
        prompt: what a person entered.
        ids: its token ids.
        likeliest: ids and probabilities of next tokens, the likeliest first.
        answer: ids of the tokens that the model goes on with, greedily.
    """

    prompt: Prompt
    ids: tuple[int, ...]
    likeliest: tuple[tuple[int, float], ...]
    answer: tuple[int, ...]


class Explainer:
    """A model behind the page.

    Args:
        model: a causal language model of Hugging Face transformers.
        tokenizer: its tokenizer.
        max_tokens: the longest prompt that is taken. Outputs may have as many, and `MOST_OUTPUTS` at most.

    Attributes:
        runs: what it computes at the moment, for those who stop it.

    Raises:
        ValueError: unless max_tokens is a whole number of at least 1.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, max_tokens: int = 512) -> None:
        self._max_tokens = check_count("max_tokens", max_tokens)
        self.model, self.tokenizer = model, tokenizer
        self.runs = Runs()
        self._lm = LanguageModel(model)
        self._positions = self._lm.max_positions

    def located(self, prompt: Prompt) -> LocatedInput:
        """The prompt's tokens.

        Raises:
            ValueError: if there is nothing but white space in it, it is no text, its parts do not fit together, or it
                has too many tokens.
        """
        if not any(text.strip() for text in prompt.texts):
            raise ValueError("The prompt is empty: write the text that the model goes on with.")
        self._check_text("prompt", "".join(prompt.texts), self._max_tokens)
        located = prompt.located(self.tokenizer)
        count = len(located.ids)
        if self._positions is not None and count >= self._positions:
            raise ValueError(
                f"The prompt has {count} tokens, and the model has {self._positions} positions for it and its "
                "output: shorten it."
            )
        if count > self._max_tokens:
            raise ValueError(
                f"The prompt has {count} tokens, and this page takes {self._max_tokens}: shorten it, or start the "
                f"page with --max-tokens {count}."
            )
        return located

    @torch.no_grad()
    def choices(self, prompt: Prompt, likeliest: int = 10, longest: int = 20) -> Choices:
        """What the model may say next.

        Args:
            prompt: what a person entered.
            likeliest: how many next tokens.
            longest: the most tokens of the answer, which ends with a token that ends the text or the turn.

        Raises:
            ValueError: as `located` does.
        """
        located = self.located(prompt)
        ids = tuple(located.ids)
        inputs = torch.tensor([ids], device=self.model.device)
        probabilities = self._lm.logits(inputs, 1)[0, -1].float().softmax(-1)
        top = probabilities.topk(min(likeliest, len(probabilities)))
        room = longest if self._positions is None else min(longest, self._positions - len(ids))
        answer = generated(self.model, inputs, **(GREEDY | {"max_new_tokens": room} | turn_ends(located, self.model)))
        found = tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
        return Choices(prompt, ids, found, tuple(answer.tolist()))

    def typed(self, prompt: Prompt, target: str | None) -> Tensor:
        """Ids (K,) of a typed target; of the likeliest token without one.

        Raises:
            ValueError: as `located` does, and for a target that is no text, or has no tokens or too many.
        """
        located = self.located(prompt)
        if target is not None:
            self._check_target(len(located.ids), target)
        return next_token(located, self._lm) if target is None else target_ids(target, located, self._lm)

    def _check_target(self, before: int, target: str, name: str = "output") -> None:
        """Raise ValueError if a target is no text or too long behind ``before`` tokens; nothing is run for it."""
        most = min(self._max_tokens, MOST_OUTPUTS)
        self._check_text(name, target, most)
        spaced = target if target[:1].isspace() else f" {target}"  # which may be taken for it
        count = max(len(self.tokenizer.encode(text, add_special_tokens=False)) for text in (target, spaced))
        if count > most:
            raise ValueError(f"The {name} has {count} tokens, and this page takes {most} of one: shorten it.")
        if self._positions is not None and before + count > self._positions:
            raise ValueError(
                f"The prompt has {before} tokens and the {name} {count}, and the model has {self._positions} positions "
                "for both: shorten one of them."
            )

    def _check_text(self, name: str, text: str, most: int) -> None:
        """Raise ValueError if a text cannot be cut into tokens, or is so long that it has more than ``most``."""
        if len(text) > most * _LONGEST_TOKEN:
            raise ValueError(
                f"The {name} has {len(text):,} characters, and this page takes {most} tokens of one: shorten it."
            )
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"The {name} has half a character, {text[error.start]!r} at {error.start}: write it anew."
            ) from error

    def explain(
        self,
        prompt: Prompt,
        before: Sequence[int],
        outputs: Tensor,
        methods: Sequence[str],
        curvature: str = OWN,
        contrast: str | None = None,
    ) -> Comparison:
        """One or more methods on one output; of a long prompt coarse to fine, as `captum_heta.app.long_prompts` says.

        Args:
            prompt: what a person entered.
            before: token ids of the model's answer that come before the output.
            outputs: token ids (K,).
            methods: names of `captum_heta.methods.METHODS`.
            curvature: one of `captum_heta.options.CURVATURE_MODES` for the methods of `CURVED`, or `OWN` for the one
                that each has by itself. Other methods have none.
            contrast: a text that the output is compared with, as in `captum_heta.compare`.

        Raises:
            ValueError: for another curvature or method, for a method that is named twice, for a contrast that is no
                text or too long, or that no method explains, and as `located` does.
        """
        if curvature not in (OWN, *CURVATURE_MODES):
            raise ValueError(f"curvature must be one of {', '.join((OWN, *CURVATURE_MODES))}, got {curvature!r}.")
        if len(set(methods)) < len(methods):
            raise ValueError(f"The methods are {' and '.join(methods)}: choose another one for the second.")
        named = named_methods(methods, self.model)
        inp = self.answered(prompt, before)
        if contrast is not None:
            self._check_target(len(inp.ids), contrast, "contrast")
        curved = [METHODS[name].title for name in methods if name in CURVED and curvature != OWN]
        options = {title: {"curvature": curvature} for title in curved}
        refine = automatic_refine(inp.n_itp_features) if any(map(explains_tokens, named.values())) else None
        return compare(named, self.tokenizer, inp, outputs, contrast=contrast, refine=refine, options=options)

    def answered(self, prompt: Prompt, before: Sequence[int]) -> AnsweredInput:
        """What a prompt and the beginning of its answer are for the methods.

        Raises:
            ValueError: as `located` does.
        """
        return AnsweredInput(self.located(prompt), before)

    def label(self, token: int) -> str:
        """A token as text on one line, with signs for its white space."""
        return label(self.tokenizer.decode([token]))


def output_of(
    choices: Choices | None, prompt: Prompt, token: int | None, step: int | None
) -> tuple[Sequence[int], Tensor]:
    """Ids of what of the answer is before a chosen output, and of the output (1,).

    Args:
        choices: what there was to choose from.
        prompt: as it is now.
        token: the id of a likely next token; or
        step: the number of a token of the answer, which comes after the prompt and the tokens before it.

    Raises:
        ValueError: if the prompt is another one by now, the choice is none of ``choices``, or there are two or none.
    """
    if choices is None or choices.prompt != prompt:
        raise ValueError("The prompt has changed since the model answered: press Answer again.")
    if (token is None) == (step is None):
        raise ValueError(f"Choose a first token or a token of the answer, got {token} and {step}.")
    if step is None:
        if token not in [likely for likely, _ in choices.likeliest]:
            raise ValueError(f"Token {token} is none of the likeliest: choose one of them, or type it.")
        return (), torch.tensor([token], device="cpu")
    if not 0 <= step < len(choices.answer):
        raise ValueError(f"The answer has {len(choices.answer)} tokens, got number {step}.")
    return choices.answer[:step], torch.tensor([choices.answer[step]], device="cpu")
