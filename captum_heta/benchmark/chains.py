"""Is the chain found that an answer comes through? ``python -m captum_heta.benchmark.chains --count 40``.

The embedded model "chain" writes a person and then where that person is; the person comes from one sentence of the
prompt and the place from another. Each method explains the place, and what it finds in the person is followed. With
``--rival`` the person stands in one more sentence, which the question is not about: what was written alone does not
tell it from the first fact.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from captum.attr import FeatureAblation
from torch import Tensor

from captum_heta.attr import LLMTokenAttribution
from captum_heta.attr.hops import followed
from captum_heta.demo import Chain, chains, load_model
from captum_heta.inputs import TextInput
from captum_heta.methods import METHODS
from captum_heta.peers.flashtrace import PACKAGE, traced
from captum_heta.tokenizers import Tokenizer

HOPS = 3
TRACED: dict[str, dict[str, Any]] = {"targeted": {}, "heta": {"curvature": "fisher"}, "gradient_norm": {}}
PEER = "flashtrace"
METHOD_NAMES = (*TRACED, "ablation", PEER)


class Shares(NamedTuple):
    """What the sentences of a prompt have of an answer, (F,): directly, and with what comes through the reasoning."""

    direct: Tensor
    through: Tensor


class Recovery(NamedTuple):
    """How often a chain is found, without recursion and with it.

    Attributes:
        first: the first fact is among the two highest of the sentences that say who is with whom or where.
        both: the two highest are both facts.
        share_first: the first fact's share of what all sentences of the prompt have.
        share_both: both facts' share.
    """

    first: float
    both: float
    share_first: float
    share_both: float


def recovery(shares: Sequence[Tensor], facts: Sequence[tuple[int, int]], passage: int) -> Recovery:
    """The means over chains.

    Args:
        shares: of each chain's sentences, (F,), of which the first ``passage`` say who is with whom and who is where.
        facts: the places of the first and of the second fact.
        passage: how many.
    """
    rows = []
    for scores, (first, second) in zip(shares, facts, strict=True):
        scores = scores.double().clamp(min=0)
        highest = set(scores[:passage].topk(2).indices.tolist())
        total = scores.sum().clamp(min=torch.finfo(scores.dtype).tiny)
        part = [(scores[i] / total).item() for i in (first, second)]
        rows.append((first in highest, highest == {first, second}, part[0], sum(part)))
    return Recovery(*torch.tensor(rows, dtype=torch.double).mean(0).tolist())


def sentence_scores(name: str, model: Any, tokenizer: Tokenizer, chain: Chain) -> Shares:
    """What the sentences of a chain's prompt have of its answer, by one of `METHOD_NAMES`."""
    inp = TextInput(chain.prompt, tokenizer)
    if name in TRACED:
        method: LLMTokenAttribution = LLMTokenAttribution(METHODS[name].make(model), tokenizer)
        output = chain.reasoning + chain.answer
        found = method.trace(inp, output, reasoning=chain.reasoning, answer=chain.answer, hops=HOPS, **TRACED[name])
        return Shares(found.direct_attr, found.prompt_attr)
    return _flashtrace(model, tokenizer, chain, inp) if name == PEER else _ablation(model, tokenizer, chain, inp)


def _ablation(model: Any, tokenizer: Tokenizer, chain: Chain, inp: TextInput) -> Shares:
    """Captum's, of the weighted log-probability: sentences of the prompt and tokens of the reasoning, by id 0."""
    ids = torch.tensor(inp.ids)
    thought, said = (tokenizer.encode(text, add_special_tokens=False) for text in (chain.reasoning, chain.answer))
    outputs = torch.tensor(thought + said)
    parts = inp.sentence_mask().unique(return_inverse=True)[1]
    sentences = int(parts.max()) + 1
    # what is no feature, as the beginning of the text, stays as it is: a feature of its own that nobody reads
    mask = torch.full((len(ids) + len(outputs),), sentences + len(thought))
    mask[: len(ids)][inp.itp_mask[0]] = parts
    mask[len(ids) : len(ids) + len(thought)] = sentences + torch.arange(len(thought))

    def explained(weights: Tensor) -> tuple[Tensor, Tensor]:
        def log_prob(rows: Tensor) -> Tensor:
            predicted = model(rows).logits[:, len(ids) - 1 : -1].log_softmax(-1)
            return predicted.gather(-1, outputs.expand(len(rows), -1)[..., None])[..., 0].double() @ weights

        with torch.no_grad():
            found = FeatureAblation(log_prob).attribute(
                torch.cat([ids, outputs])[None], baselines=0, feature_mask=mask[None]
            )[0]
        scores = torch.stack([found[mask == number][0] for number in range(sentences + len(thought))])
        scores = scores.double().clamp(min=0)
        shares = scores / scores.sum() if scores.sum() > 0 else scores
        return shares[:sentences], shares[sentences:]

    answer = torch.zeros(len(outputs))
    answer[len(thought) :] = 1
    hops = followed(explained, answer, range(len(thought)), HOPS)
    return Shares(hops[0].prompt, torch.stack([hop.prompt for hop in hops]).sum(0))


def _flashtrace(model: Any, tokenizer: Tokenizer, chain: Chain, inp: TextInput) -> Shares:
    """By its authors' package. It attributes at the output's own position, one later than what predicts it."""
    thought, said = (tokenizer.encode(text, add_special_tokens=False) for text in (chain.reasoning, chain.answer))
    found = traced(
        model,
        tokenizer,
        inp.ids,
        thought + said,
        reasoning_span=(0, len(thought) - 1),
        output_span=(len(thought), len(thought) + len(said) - 1),
        hops=HOPS - 1,
    )
    sentences = inp.features.merged(inp.sentence_mask())
    return Shares(*(sentences.sum(torch.tensor(scores)) for scores in (found.per_hop_scores[0], found.scores)))


def measured(
    names: Sequence[str],
    count: int,
    seed: int,
    rival: bool = False,
    progress: Callable[[str], None] = lambda said: None,
) -> dict[str, tuple[Recovery, Recovery]]:
    """For each method `Recovery` without recursion, and with it.

    Args:
        names: of `METHOD_NAMES`.
        count: how many chains.
        seed: which.
        rival: whether the written person stands in a sentence that distracts, too.
        progress: told each method before it runs.
    """
    model, tokenizer = load_model("chain")
    asked = list(chains(count, seed, rival))
    facts, passage = [], 0
    for chain in asked:
        sentences = sorted([chain.first, chain.second, *chain.distractors])
        facts.append((sentences.index(chain.first), sentences.index(chain.second)))
        passage = len(sentences)
    found = {}
    for name in names:
        progress(name)
        rows = [sentence_scores(name, model, tokenizer, chain) for chain in asked]
        found[name] = (
            recovery([row.direct for row in rows], facts, passage),
            recovery([row.through for row in rows], facts, passage),
        )
    return found


def table(found: dict[str, tuple[Recovery, Recovery]]) -> str:
    """In Markdown."""
    lines = [
        "| | recursion | first fact in the top 2 | both facts are the top 2 | share of the first | share of both |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, rows in found.items():
        title = METHODS[name].title if name in METHODS else PACKAGE.named
        for how, row in zip(("without", "with"), rows, strict=True):
            figures = [f"{row.first:.2f}", f"{row.both:.2f}", f"{row.share_first:.3g}", f"{row.share_both:.2f}"]
            lines.append(f"| {title} | {how} | {' | '.join(figures)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=40, help="chains (40)")
    parser.add_argument("--seed", type=int, default=5, help="of the chains (5)")
    parser.add_argument("--rival", action="store_true", help="the person that is written distracts in another sentence")
    parser.add_argument(
        "--methods", nargs="+", choices=METHOD_NAMES, metavar="NAME", help=f"{', '.join(METHOD_NAMES)}; all if left out"
    )
    given = parser.parse_args()
    names = list(given.methods or METHOD_NAMES)
    if PEER in names and PACKAGE.missing:
        print(f"Without FlashTrace: {PACKAGE.missing}", flush=True)
        names.remove(PEER)
    print(table(measured(names, given.count, given.seed, given.rival, lambda name: print(name, flush=True))))


if __name__ == "__main__":
    main()
