"""The data sets that ``benchmark`` is asked for, and their examples."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from captum_heta.cli.arguments import embedded, listed
from captum_heta.datasets import DATASETS, GENERATED, Example, generate, hotpotqa, musique, read
from captum_heta.datasets.answers import UnansweredError
from captum_heta.datasets.generated import LONG
from captum_heta.tokenizers import Tokenizer

EMBEDDED = "embedded"
CHAINS = "chains"
OWN = (EMBEDDED, CHAINS)  # which come with the package

HELP = (
    f"The data sets, separated by commas: {EMBEDDED}, the default but for presets with their own; {CHAINS}, which "
    f"captum_heta.demo.chain answers; of a file, NAME=PATH with a name of {', '.join(DATASETS)}; or made for the "
    "model, of what it answers: "
    f"{', '.join(f'{name}[=TOKENS]' if name in LONG else name for name in GENERATED)}."
)

# of presets with their own
OF_PRESETS = {
    "ruler": "single_needle=256,needles=256,multivalue=256,variables=256,hops=256",
    "multihop": f"hotpotqa={hotpotqa.HUB},musique={musique.HUB}",
    "injection": "injection=256",
}
PARAGRAPHS = ("hotpotqa", "musique")  # whose prompts may have fewer
FEW = 4  # in the preset, so that small machines can do it

# A name, and its path or number of tokens.
Place = tuple[str, str]


def places(text: str) -> list[Place]:
    """The data sets of ``--data``, checked before a model is loaded.

    Raises:
        ValueError: for a name that there is not, that is there twice, and for what does not belong to it.
    """
    found = [part.partition("=")[::2] for part in listed("--data", text)]
    for i, (name, source) in enumerate(found):
        known = [*DATASETS, *GENERATED, *OWN]
        if name not in known:
            raise ValueError(f"--data: there is no data set {name!r}; there are {', '.join(known)}.")
        if name in OWN and source:
            raise ValueError(f"--data: {name} comes with the package and has no path, got {source!r}.")
        if name in DATASETS and not source:
            raise ValueError(f"--data {name} needs its file or its id on the hub: {name}=PATH.")
        if name in GENERATED and source and (name not in LONG or not source.isdecimal()):
            form = f"{name} or {name}=TOKENS" if name in LONG else f"{name} alone"
            raise ValueError(f"--data: {name} is made for the model and has no path, got {source!r}: say {form}.")
        if name in [other for other, _ in found[:i]]:
            raise ValueError(f"--data has {name!r} twice: results are kept by its name.")
    return [(name, source) for name, source in found]


def check_answers(asked: list[Place], model: str | None) -> None:
    """Raise ValueError if an embedded model is asked for what another one was trained to answer."""
    own = embedded(model)
    right, wrong = (CHAINS, EMBEDDED) if own == "chain" else (EMBEDDED, CHAINS)
    if own is not None and wrong in [name for name, _ in asked]:
        raise ValueError(
            f"--data {wrong} asks what {model or 'the embedded model'} was not trained to answer: say {right}, or name "
            "another --model."
        )


def check_paragraphs(asked: list[Place], paragraphs: int | None) -> None:
    """Raise ValueError if a number of paragraphs is given and no data set has them."""
    if paragraphs is not None and not set(PARAGRAPHS) & {name for name, _ in asked}:
        raise ValueError(f"--paragraphs {paragraphs} is of {' and '.join(PARAGRAPHS)}: leave it out.")


def stored(
    asked: list[Place], limit: int, seed: int, download: bool, paragraphs: int | None = None
) -> dict[str, list[Example]]:
    """At most ``limit`` examples of each data set that needs no model, drawn at random.

    Args:
        asked: as `places` gives them.
        limit: how many.
        seed: of the draw.
        download: whether data sets of the hub may be downloaded.
        paragraphs: how many a prompt of `PARAGRAPHS` has; None for all.

    Raises:
        ValueError: for a data set without examples, and as `captum_heta.datasets.read` does.
    """
    from captum_heta.benchmark.runner import chosen
    from captum_heta.demo import chains, examples

    own: dict[str, Callable[[], Iterable[Example]]] = {
        EMBEDDED: lambda: examples(limit, seed),
        CHAINS: lambda: chain.from_iterable(item.steps for item in chains(-(-limit // 2), seed)),
    }
    found = {}
    for name, source in asked:
        if name in GENERATED:
            continue
        options = {"paragraphs": paragraphs} if name in PARAGRAPHS else {}
        items = own[name]() if name in own else read(name, source, download=download, **options)
        found[name] = chosen(list(items), limit, seed)
        if not found[name]:
            raise ValueError(f"--data {name}={source} has no examples.")
    return found


def made(
    asked: list[Place],
    limit: int,
    seed: int,
    model: Any,
    tokenizer: Tokenizer,
    forced: bool = False,
    leave_out: Callable[[str], object] | None = None,
) -> dict[str, list[Example]]:
    """``limit`` examples of each data set that is made for the model.

    Args:
        asked: as `places` gives them.
        limit: how many.
        seed: of the draw.
        model: a causal language model.
        tokenizer: of the model.
        forced: take all examples, whatever the model answers.
        leave_out: what to do with the reason why a data set is left out, of which the model answers too little; None
            to refuse.

    Raises:
        ValueError: as `captum_heta.datasets.generate` does, and if all are left out.
    """
    lengths = {name: int(source) if source else None for name, source in asked if name in GENERATED}
    found = {}
    for name, length in lengths.items():
        try:
            found[name] = generate(
                name, limit, seed, model=None if forced else model, tokenizer=tokenizer, length=length
            )
        except UnansweredError as error:
            reason = f"--data {name}: {error} Or take all with --forced."
            if leave_out is None or (len(found) == 0 and name == list(lengths)[-1]):
                raise UnansweredError(reason) from error
            leave_out(f"{reason} It is left out.")
    return found
