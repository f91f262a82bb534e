"""Weighted sums of log-probabilities, each explained as one, with the outputs among its sources."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from captum_heta.attr.base import OptionsT
from captum_heta.attr.causal import CausalAttribution
from captum_heta.attr.refinement import checked_parts, refined
from captum_heta.attr.task import OutputAttributions, Scorer, Task
from captum_heta.checks import check_count, check_part
from captum_heta.features import Features
from captum_heta.models import Media
from captum_heta.prompts import check_ids, check_length, check_targets, checked_media


class WeightedAttribution(CausalAttribution[OptionsT]):
    """A method that explains sum_t weights_t log P(output_t) as it explains the log-probability of one token."""

    def attribute_together(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        weights: Tensor,
        features: Features,
        *,
        parts: Tensor | None = None,
        refine: float | None = None,
        media: Mapping[str, Any] | None = None,
        show_progress: bool = False,
        **options: Any,
    ) -> OutputAttributions:
        """Attribute sum_t weights_t log P(output_t) to features of the prompt and of the outputs themselves.

        A feature of the outputs says what its tokens do for those after them. It costs one explanation of one token,
        however many outputs there are.

        Args:
            input_ids: (n,), the prompt.
            outputs: (K,), the output token ids.
            weights: (K,), non-negative and not all 0.
            features: groups of tokens of prompt and outputs, the latter from position n on.
            parts: as in `attribute_outputs`.
            refine: as in `attribute_outputs`; with ``parts`` alone none is looked into: the features of a part have
                its score in the proportions that are known without a pass for each.
            media: as in `attribute_outputs`.
            show_progress: show Captum's progress bar.
            **options: those of ``attribute``, but for ``contrast``.

        Returns:
            Scores (1, F).

        Raises:
            TypeError: as `attribute_outputs` does.
            ValueError: for other weights, and as `attribute_outputs` does.
        """
        weights = _checked_weights(weights, outputs)
        with self.explaining_together(
            input_ids,
            outputs,
            weights > 0,
            features,
            parts=parts,
            refine=refine,
            media=media,
            show_progress=show_progress,
            **options,
        ) as explained:
            return explained(weights)

    @contextmanager
    def explaining_together(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        among: Tensor,
        features: Features,
        *,
        times: int = 1,
        parts: Tensor | None = None,
        refine: float | None = None,
        media: Mapping[str, Any] | None = None,
        show_progress: bool = False,
        **options: Any,
    ) -> Iterator[Callable[[Tensor], OutputAttributions]]:
        """Several weighted sums of one text: what does not depend on the weights, as masked passes, is computed once.

        Args:
            input_ids: as in `attribute_together`.
            outputs: as in `attribute_together`.
            among: (K,) bool, which outputs some weights are for.
            features: as in `attribute_together`.
            times: of how many sums the progress bar tells.
            parts: as in `attribute_together`.
            refine: as in `attribute_together`.
            media: as in `attribute_together`.
            show_progress: as in `attribute_together`.
            **options: as in `attribute_together`.

        Yields:
            What gives from weights (K,) what `attribute_together` returns. Within the context the model is the
            method's.

        Raises:
            TypeError: as `attribute_together` does.
            ValueError: as `attribute_together` does, and for weights of other outputs.
        """
        if options.get("contrast") is not None:
            raise ValueError("contrast compares outputs one by one, and these are explained together: leave it out.")
        chosen = self._options(options)
        check_count("times", times)
        among = torch.as_tensor(among, device="cpu")
        if among.shape != outputs.shape or among.dtype != torch.bool or not among.any():
            raise ValueError(f"among must be {len(outputs)} booleans, one of them true, got {among!r:.200}.")
        if refine is not None:
            check_part("refine", refine, "the score", one=True)
            if parts is None:
                raise ValueError("refine looks into parts, and there are none: pass parts too.")
        if parts is not None:
            parts = checked_parts(parts, features)
        check_ids(self._lm, input_ids[None])
        check_targets(self._lm, outputs)
        check_length(self._lm, len(input_ids) + len(outputs) - 1)
        found = checked_media(self._lm, media or {}, len(input_ids), "media")
        first, last = (int(place) for place in among.nonzero()[[0, -1], 0])
        task = _of_outputs(input_ids, outputs, range(first, last + 1), features, found, parts, refine or 0.0)
        with self._explaining(task, chosen, times, show_progress) as of:

            def explained(weights: Tensor) -> OutputAttributions:
                weights = _checked_weights(weights, outputs)
                if weights[~among.to(weights.device)].any():
                    raise ValueError(f"weights are for the outputs {among.nonzero()[:, 0].tolist()}, got {weights!r}.")
                return of(weights[first : last + 1])

            yield explained

    def _of_groups(self, task: Task, options: OptionsT, groups: Features, show_progress: bool) -> OutputAttributions:
        """Groups of outputs, each as one, at the cost of one output; masked passes serve all of them."""
        device = task.outputs.device
        each = [groups.spread(row, len(task.outputs)) for row in torch.eye(len(groups), device=device)]
        task = replace(task, per_token=False)
        with self._explaining(task, options, len(groups), show_progress) as of:
            found = [of(weights) for weights in each]
        whole = found[0]._replace(
            scores=torch.cat([one.scores for one in found]), about=_about([one.about for one in found])
        )
        if whole.terms is not None:
            columns = zip(*(one.terms for one in found), strict=True)
            whole = whole._replace(terms=type(whole.terms)(*(torch.cat(rows) for rows in columns)))
        if whole.errors is not None:
            whole = whole._replace(errors=torch.cat([one.errors for one in found if one.errors is not None]))
        return whole

    @contextmanager
    def _explaining(
        self, task: Task, options: OptionsT, times: int, show_progress: bool
    ) -> Iterator[Callable[[Tensor], OutputAttributions]]:
        """What explains the outputs of a task together by weights (K,), ``times`` times; within `_session`."""
        steps = self.steps(task, options)
        with self._session([steps * times], show_progress) as advance:
            done = asked = 0

            def counted(count: int) -> None:
                nonlocal done
                done += count
                advance(count)

            task = replace(task, advance=counted)
            weighing = self._weighing(task, options)

            def explained(weights: Tensor) -> OutputAttributions:
                nonlocal asked
                # what the last of them reads: none of its sources has tokens that it does not see
                seen = task.features.until(len(task.input_ids) + int(weights.nonzero()[-1]))
                scorer = weighing(weights)
                scored = scorer.score(seen) if task.parts is None else refined(scorer, seen, task.parts, task.refine)
                asked += 1
                counted(max(0, asked * steps - done))
                return self._checked(task, scored)

            yield explained

    @abstractmethod
    def _weighing(self, task: Task, options: OptionsT) -> Callable[[Tensor], Scorer]:
        """From weights (K,) of a task's outputs to what scores its features; called as `_scores` is."""


def _about(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of explanations that share passes: what they took together, and the most of what each says of itself."""
    about = dict(each[-1])  # whose passes are those of all
    if "products" in about:
        about["products"] = sum(one["products"] for one in each)
    for name in {"omitted", "curvature_error", "skipped", "skipped_share"} & set(about):
        values = [one[name] for one in each]
        about[name] = None if None in values else max(values)
    if "attention_sink" in about:
        about["attention_sink"] = max(one["attention_sink"] or 0.0 for one in each) or None
    if "refined" in about:  # 2 of 9 parts
        about["refined"] = max((str(one["refined"]) for one in each), key=lambda said: int(said.split()[0]))
    return about


def _checked_weights(weights: Tensor, outputs: Tensor) -> Tensor:
    weights = torch.as_tensor(weights, device=outputs.device)
    if weights.shape != outputs.shape or not bool((weights >= 0).all()) or not 0 < weights.sum().item() < math.inf:
        raise ValueError(f"weights must be {len(outputs)} non-negative numbers, one above 0, got {weights!r:.200}.")
    return weights


def _of_outputs(
    input_ids: Tensor,
    outputs: Tensor,
    some: range,
    features: Features,
    media: Media | None,
    parts: Tensor | None,
    refine: float,
) -> Task:
    """What explains some neighbouring outputs together, of the shortest text that has them.

    Args:
        input_ids: (n,), the prompt.
        outputs: (K,).
        some: which of the K.
        features: groups of tokens of prompt and outputs.
        media: of the prompt.
        parts: as in `Task`.
        refine: as in `Task`.
    """
    return Task(
        torch.cat([input_ids, outputs[: some.start]]),
        outputs[some.start : some.stop],
        features.until(len(input_ids) + some.stop - 1),
        media=media,
        per_token=False,
        parts=parts,
        refine=refine,
        earlier=True,
    )
