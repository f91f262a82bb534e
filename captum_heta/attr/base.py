"""What every attribution method of this package is: its batches, checks, trials, progress and the model's lock."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args, overload

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_heta.attr._captum import NullProgress, progress
from captum_heta.attr.refinement import checked_parts, in_parts, refined
from captum_heta.attr.signature import add_attribute, check_names
from captum_heta.attr.task import OutputAttributions, Scorer, Task
from captum_heta.attr.watching import watched, watcher
from captum_heta.checks import check_count, check_part
from captum_heta.features import Features
from captum_heta.models import Batch, LanguageModel, media_logits
from captum_heta.options import BatchOptions, Options
from captum_heta.prompts import (
    MEDIA_READERS,
    Prompt,
    check_ids,
    check_length,
    check_targets,
    checked_media,
    prompts,
    targets,
)

OptionsT = TypeVar("OptionsT", bound=Options)


class TokenAttribution(Attribution, ABC, Generic[OptionsT]):
    """An attribution method for the tokens of a causal language model's prompt.

    A method derives from this class with its options, ``class Mine(TokenAttribution[MyOptions])``, and writes
    `_scores`. It is then Captum's `Attribution`, with an ``attribute`` that has those options, and what
    `captum_heta.LLMTokenAttribution` wraps. `model` stays reachable when a wrapper replaces `forward_func`, as Captum's
    do.

    Args:
        forward_func: a causal language model of Hugging Face transformers, which is left as it is found.

    Attributes:
        options_type: the class of its options.
        terms_type: the named tuple of what its scores are made of; None if they are made of nothing else.
        explains_each_token: False for a method that explains the output as a whole; its scores are (1, F).
        reads_last_output: whether the model reads the last output too, or only what predicts it.
        gives_shares: whether what a feature gets depends on what else is one: scores have a sum of their own.
        takes_position_ids: whether a prompt may have other positions than those from 0 on.
        takes_media: whether a prompt may have pictures or sound.
        sources: what `LLMTokenAttribution` takes for a feature of a text when a person says nothing: "token", or
            "sentence" for a method that is meant for those.

    Raises:
        TypeError: if the model is not one.
    """

    options_type: ClassVar[type[Options]] = Options
    terms_type: ClassVar[type | None] = None
    explains_each_token: ClassVar[bool] = True
    reads_last_output: ClassVar[bool] = False
    takes_position_ids: ClassVar[bool] = False
    takes_media: ClassVar[bool] = False
    sources: str = "token"
    gives_shares: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Options):
                    cls.options_type = argument
        add_attribute(cls, cls.options_type, cls.terms_type)

    def __init__(self, forward_func: Any) -> None:
        super().__init__(forward_func)
        self.model = forward_func
        self._lm = self._view(forward_func)

    if TYPE_CHECKING:

        @overload  # type: ignore[no-overload-impl]
        def attribute(self, inputs: Tensor, *arguments: Any, **named: Any) -> Tensor: ...
        @overload
        def attribute(self, inputs: tuple[Tensor], *arguments: Any, **named: Any) -> tuple[Tensor]: ...

    @classmethod
    def get_name(cls) -> str:
        """The name in tables and progress bars; Captum's default would spell HETA "H E T A"."""
        return cls.__name__

    @classmethod
    def option_names(cls) -> list[str]:
        """The names of its options."""
        return [option.name for option in fields(cls.options_type)]

    @classmethod
    def draws(cls) -> bool:
        """Whether its scores depend on a seed, which is then one of its options."""
        return "seed" in cls.option_names()

    def attribute_future(self) -> None:
        """Captum's asynchronous interface, which these methods do not have."""
        raise NotImplementedError(f"attribute_future is not implemented for {type(self).__name__}")

    def attribute_outputs(
        self,
        input_ids: Tensor,
        outputs: Tensor,
        features: Features,
        *,
        num_trials: int = 1,
        per_token: bool = True,
        together: Features | None = None,
        parts: Tensor | None = None,
        refine: float | None = None,
        media: Mapping[str, Any] | None = None,
        include_output: bool = False,
        show_progress: bool = False,
        **options: Any,
    ) -> OutputAttributions:
        """Attribute each output token, given the prompt and the outputs before it, to features of the prompt.

        Args:
            input_ids: (n,), the prompt.
            outputs: (K,), the output token ids.
            features: groups of prompt tokens.
            num_trials: over how many fresh draws a method that draws is averaged; others give the same in each.
            per_token: whether to attribute each output by itself or all of them at once.
            together: groups of the K outputs, such as sentences, each explained as one, as without ``per_token`` all
                of them are; then scores are (groups, F). None for each output by itself.
            parts: (F,) integers, features of one part have the same: parts are looked at first, each as one feature,
                and then the features of those that hold ``refine`` of the score, and of the prompt's end; those of the
                other parts have equal parts of their part's score, or of HETA's terms. None looks at each feature.
            refine: that share, in (0, 1]; only with ``parts``.
            media: pictures and sound of the prompt, by the names under which the model takes what a processor makes of
                them; for methods that take them.
            include_output: attribute to the outputs before each output too, each a feature of its own: then
                ``output_scores`` are found, (K, K), in the unit of the others, which stay as they are. They are those
                of the prompt followed by the outputs before; a method whose terms serve all outputs takes one pass more
                for each of them, the others a call for each.
            show_progress: show Captum's progress bar.
            **options: those of ``attribute``.

        Raises:
            TypeError: for an option that the method does not have.
            ValueError: as ``attribute`` does, and for ``include_output`` and ``together`` where the outputs are
                explained as a whole.
        """
        chosen = self._options(options)
        check_count("num_trials", num_trials)
        if (parts is None) != (refine is None):
            raise ValueError("parts and refine go together: pass both, or neither.")
        if parts is not None and refine is not None:
            check_part("refine", refine, "the score", one=True)
            parts = checked_parts(parts, features)
        if not self._lm.generates:
            raise TypeError(f"{type(self.model).__name__} has no output tokens: explain its class with attribute().")
        check_ids(self._lm, input_ids[None])
        check_targets(self._lm, outputs)
        check_length(self._lm, len(input_ids) + len(outputs) - (not self.reads_last_output))
        if media and not self.takes_media:
            raise ValueError(
                f"{self.get_name()} reads text alone, and the prompt has {next(iter(media))!r}. {MEDIA_READERS}"
            )
        for name, given in (("include_output", include_output), ("together", together is not None)):
            if given and not (per_token and self.explains_each_token):
                whole = (
                    "per_token=False" if self.explains_each_token else f"{self.get_name()}, which explains them as one"
                )
                raise ValueError(
                    f"{name} is of outputs that are explained one by one, and with {whole} they are not: leave it out."
                )
        found = checked_media(self._lm, media or {}, len(input_ids), "media")
        task = Task(
            input_ids, outputs, features, None, found, per_token, num_trials, parts, refine or 1.0, include_output
        )
        if together is not None:
            if include_output:
                raise ValueError("include_output is of single outputs, together of groups: leave out one of them.")
            return self._of_groups(task, chosen, _checked_groups(together, len(outputs)), show_progress)
        with self._session([self.steps(task, chosen)], show_progress) as advance:
            return self._explained(task, chosen, advance)

    def _of_groups(self, task: Task, options: OptionsT, groups: Features, show_progress: bool) -> OutputAttributions:
        """Groups of outputs, each as one: of what explains the outputs one by one, their sum."""
        with self._session([self.steps(task, options)], show_progress) as advance:
            found = self._explained(task, options, advance)
        return found._replace(scores=groups.sum(found.scores.T).T)

    def _attribute(
        self,
        inputs: Tensor | tuple[Tensor],
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        show_progress: bool = False,
        return_terms: bool = False,
        **given: Any,
    ) -> Any:
        """What the ``attribute`` of every method does: each row by itself, without its padding."""
        options = self._options(given)
        input_ids = inputs[0] if isinstance(inputs, tuple) else inputs
        rows = prompts(self._lm, input_ids, additional_forward_args, feature_mask, self.takes_media)
        tasks, chosen = [], []
        for i, (row, output) in enumerate(zip(rows, self._targets(target, len(rows)), strict=True)):
            if row.position_ids is not None and not self.takes_position_ids:
                raise ValueError(f"{self.get_name()} takes no position_ids: it reads each prompt from position 0 on.")
            check_length(self._lm, len(row.ids) + self.reads_last_output)
            tasks.append(Task(row.ids, output, row.features, row.position_ids, row.media))
            chosen.append(self._options_of_row(options, input_ids, i, row.places))
        steps = [self.steps(task, own) for task, own in zip(tasks, chosen, strict=True)]
        with self._session(steps, show_progress) as advance:
            found = [self._explained(task, own, advance) for task, own in zip(tasks, chosen, strict=True)]
        parts = [(one.scores, *(one.terms or ())) for one in found]
        scores, *terms = (_spread(rows, several, input_ids) for several in zip(*parts, strict=True))
        answer = (scores,) if isinstance(inputs, tuple) else scores
        return (answer, type(found[0].terms)(*terms)) if return_terms and self.terms_type else answer

    def _explained(self, task: Task, options: OptionsT, advance: Callable[[int], object]) -> OutputAttributions:
        """What `_scores` finds, checked; within `_session`."""
        done = 0

        def counted(steps: int) -> None:
            nonlocal done
            done += steps
            advance(steps)
            watcher().advance(steps)

        total = self.steps(task, options)
        if len(task.outputs) == 0:  # a row without a target
            task = replace(task, outputs=self._likeliest(task))
        task = replace(task, advance=counted)
        if task.parts is None:
            watcher().begin(total)
            found = self._scores(task, options)
        else:
            scorer = watched(
                self._scorer(task, options), task.parts, lambda some: self.steps(replace(task, features=some), options)
            )
            found = refined(scorer, task.features, task.parts, task.refine)
        if task.earlier and task.per_token and found.output_scores is None:
            found = found._replace(output_scores=self._one_by_one(task, options, found.scores))
        advance(max(0, total - done))
        return self._checked(task, found)

    def _checked(self, task: Task, found: OutputAttributions) -> OutputAttributions:
        """What was found, as numbers of the promised kind and shape."""
        scores = found.scores.float()
        if not task.per_token and len(scores) > 1:  # what explains the outputs one by one is summed over them
            scores = scores.sum(0, keepdim=True)
        if not torch.isfinite(scores).all():
            raise RuntimeError(
                f"The scores of {self.get_name()} on {type(self.model).__name__} are not finite: check the model's "
                "weights for NaN and infinities, or load it in float32."
            )
        earlier = found.output_scores
        if earlier is not None:
            earlier = earlier.float().tril(-1)
        return found._replace(scores=scores, log_probs=found.log_probs.float(), output_scores=earlier)

    def _one_by_one(self, task: Task, options: OptionsT, scores: Tensor) -> Tensor:
        """What each output has of those before it, (K, K): of the prompt that they make longer, a call for each."""
        count, outputs = len(task.features), len(task.outputs)
        found = scores.new_zeros(outputs, outputs)
        for k in range(1, outputs):
            one = Task(
                torch.cat([task.input_ids, task.outputs[:k]]),
                task.outputs[k : k + 1],
                Features(task.features.groups + task.output_features.groups[:k]),
                media=task.media,
                num_trials=task.num_trials,
            )
            row = self._scores(one, self._options_of_output(options, k)).scores[0]
            if self.gives_shares and row[:count].sum() > 0:
                row = row * (scores[k].sum() / row[:count].sum())
            found[k, :k] = row[count:]
        return found

    def _options_of_output(self, options: OptionsT, number: int) -> OptionsT:
        """Those that one output alone has."""
        return options

    @abstractmethod
    def _scores(self, task: Task, options: OptionsT) -> OutputAttributions:
        """The scores of each output of a task (K, F), called while the model is locked and in eval mode.

        Those of the outputs together are their sum, if the method does not give one row for them where the task says
        so.
        """

    def _scorer(self, task: Task, options: OptionsT) -> Scorer:
        """`_scores` for any features of a task; a method may share between calls what serves all of them."""

        def in_equal_parts(found: OutputAttributions, features: Features, owners: Tensor) -> OutputAttributions:
            return found._replace(scores=in_parts(found.scores, owners))

        return Scorer(lambda features: self._scores(replace(task, features=features), options), in_equal_parts)

    def steps(self, task: Task, options: OptionsT) -> int:
        """How many steps a progress bar has for a task; a method that says more than one reports them."""
        return 1

    def _view(self, model: Any) -> LanguageModel:
        """The model as the method reads it."""
        lm = LanguageModel(model)
        if not lm.generates:
            raise TypeError(
                f"{type(model).__name__} does not predict the next token, which {self.get_name()} explains: load the "
                "model with AutoModelForCausalLM."
            )
        return lm

    def _reading(self) -> AbstractContextManager[None]:
        """Within this context the model is as the method reads it."""
        return self._lm.evaluating()

    def _options(self, given: dict[str, Any]) -> Any:
        """The options of a call, checked."""
        check_names(self.get_name(), given, self.option_names())
        return self.options_type(**given)

    def _options_of_row(self, options: OptionsT, input_ids: Tensor, row: int, places: Tensor) -> OptionsT:
        """Those that one row of a batch has, whose tokens are at some places."""
        return options

    def _targets(self, target: Any, count: int) -> Sequence[Tensor]:
        """What is explained in each row, (1,), or (0,) for the model's own choice."""
        none = torch.empty(0, dtype=torch.long, device=self._lm.device)
        return [none if one is None else one for one in targets(self._lm, target, count)]

    def _likeliest(self, task: Task) -> Tensor:
        """The model's own choice after a prompt, (1,)."""
        if task.media is not None:
            return media_logits(self._lm, task.input_ids, task.media, 1, task.position_ids)[-1].argmax()[None]
        positions = None if task.position_ids is None else task.position_ids[None]
        return self._lm.logits(task.input_ids[None], 1, position_ids=positions)[0, -1].argmax()[None]

    def _batch(self, options: BatchOptions, length: int, keep: int, products: bool = False) -> Batch:
        """How many rows of up to ``length`` tokens go through the model at once; see `LanguageModel.batch_size`."""
        chosen = options.perturbations_per_eval
        return Batch(chosen or self._lm.batch_size(length, keep, products), chosen=chosen is not None)

    @contextmanager
    def _session(self, steps: Sequence[int], show_progress: bool) -> Iterator[Callable[[int], object]]:
        """The model's lock, its state for the method, and a progress bar, whose function to advance it is given."""
        bar = progress(desc=f"{self.get_name()} attribution", total=sum(steps)) if show_progress else NullProgress()
        with bar, self._lm.lock, self._lm.restored(), self._reading():
            yield bar.update


def _checked_groups(groups: Features, count: int) -> Features:
    tokens = [token for group in groups.groups for token in group]
    if not len(groups) or not all(groups.groups) or not set(tokens) <= set(range(count)):
        raise ValueError(
            f"together must be groups of the outputs 0 to {count - 1}, none of them empty, got {groups.groups!r:.200}."
        )
    return groups


def _spread(rows: Sequence[Prompt], scores: Sequence[Tensor], input_ids: Tensor) -> Tensor:
    """The scores of each row's features, (1, F), as those of all tokens of a batch (B, n); 0 for padding."""
    whole = torch.zeros(input_ids.shape, dtype=torch.float32, device=input_ids.device)
    for i, (row, part) in enumerate(zip(rows, scores, strict=True)):
        whole[i, row.places] = row.features.spread(part, len(row.places))[0]
    return whole


def attributions(scores: Tensor, features: Features, log_probs: Tensor, outputs: Tensor) -> OutputAttributions:
    """Token scores (K, T) and predictions (K, V) as the attributions of ``outputs`` (K,) to ``features``."""
    return OutputAttributions(features.sum(scores), log_probs.gather(1, outputs[:, None])[:, 0])
