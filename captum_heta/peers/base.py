"""What the methods of other packages have in common."""

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from captum_heta.attr.base import OptionsT, OutputAttributions, Task, TokenAttribution
from captum_heta.attr.task import Scorer
from captum_heta.features import Features
from captum_heta.peers.package import Package
from captum_heta.tokenizers import Tokenizer


class PeerAttribution(TokenAttribution[OptionsT]):
    """A method of another package.

    It is given the very tokens that are explained, special ones included, and where it is given the model a `twin` of
    it, so that the model stays as it is, whatever the package does.

    Attributes:
        package: the package, which is imported when the method attributes.
    """

    package: ClassVar[Package]

    def _log_probs(self, task: Task) -> Tensor:
        """Those of the outputs, (K,)."""
        return self._lm.log_probs_of(task.outputs, [task.input_ids])[0]


class TokenPeer(PeerAttribution[OptionsT]):
    """One that scores each token of a prompt; a feature has the sum of its tokens'."""

    @abstractmethod
    def _token_scores(self, task: Task, options: OptionsT) -> Tensor:
        """The scores of all tokens of a prompt, (K, n), or (1, n) for the outputs together where the task says so."""

    def _scores(self, task: Task, options: OptionsT) -> OutputAttributions:
        return self._scorer(task, options).score(task.features)

    def _scorer(self, task: Task, options: OptionsT) -> Scorer:
        scores, log_probs = self._token_scores(task, options), self._log_probs(task)

        def of(features: Features) -> OutputAttributions:
            return OutputAttributions(features.sum(scores), log_probs)

        return Scorer(of, lambda found, features, owners: of(features))  # each token is scored anyway


class TextPeer(TokenPeer[OptionsT]):
    """One that looks at the text of tokens too, and is made with the model's tokenizer.

    Raises:
        TypeError: without a tokenizer.
    """

    def __init__(self, forward_func: Any, tokenizer: Tokenizer | None) -> None:
        super().__init__(forward_func)
        if tokenizer is None:
            raise TypeError(f"{self.package.title} looks at the text of tokens: pass the model's tokenizer.")
        self.tokenizer = tokenizer
