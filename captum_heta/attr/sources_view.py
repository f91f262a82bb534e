"""What is shown of an answer and its sources."""

from captum_heta.attr.result_view import HOW_REFINED, is_refined, sink_note
from captum_heta.attr.sources import Sources
from captum_heta.inputs.documents import REST
from captum_heta.provenance import in_words
from captum_heta.spans import sentence_spans
from captum_heta.visualization.sources import AnswerSentence, ShownDocument, ShownPart, Source, SourcesView
from captum_heta.visualization.view import NumberTable, in_percent

TITLE = "Where does this answer come from?"
HOW_TO_READ = (
    "Shares of each sentence of the answer. Open it for the sentences that it comes from, and a document for its text, "
    "shaded by what the whole answer takes from it."
)
OF_REST = "The rest of the prompt is the question and what else is said around the documents."
NO_REST = "The shares are of what comes from documents: how much comes from the question was not looked at."
SIGNED = "Scores below 0, of what speaks against the answer, count as 0."
THROUGH = "The shares are of what comes from the prompt directly and through the outputs before it."
PER_SENTENCE = "Each sentence of the answer was explained as one."
AS_ONE = "The method explains the answer as a whole."

_LONGEST = 200  # characters of the rest that a note repeats
_MOST = 5  # documents or sentences that are named for a sentence of the answer
_LEAST = 0.01  # the share from which on they are
_NOTHING = 0.0005  # what would be shown as 0.0%


def view_of(sources: Sources, threshold: float | None) -> SourcesView:
    """The sentences of the answer with their sources, and the documents.

    Args:
        sources: what was found.
        threshold: the share from which on a document is cited behind a sentence; None for no numbers there.

    Raises:
        ValueError: as `Sources.citations`.
    """
    notes = [HOW_TO_READ, _of_rest(sources) if sources.has_rest else NO_REST]
    notes += [SIGNED] if sources.signed else []
    notes += [THROUGH] if sources.through else []
    notes += [AS_ONE] if len(sources.sentences) == 1 < len(sentence_spans(sources.answer)) else []
    notes += [PER_SENTENCE] if sources.provenance.get("options", {}).get("per_sentence") else []
    notes += sink_note(sources)
    notes += [HOW_REFINED] if is_refined(sources) else []
    if threshold is not None:
        notes.append(f"A number such as [1] stands for a document with {in_percent(threshold)} of a sentence or more.")
    return SourcesView(
        TITLE,
        notes,
        answer_sentences(sources, threshold),
        _documents(sources),
        _tables(sources),
        in_words(sources.provenance),
    )


def _of_rest(sources: Sources) -> str:
    """What the rest is, with its words where they are few: the question, in most prompts."""
    pairs = zip(sources.pieces, sources.document_of, strict=True)
    words = " ".join(" ".join(piece.split()) for piece, of in pairs if of is None)
    return OF_REST if len(words) > _LONGEST else f'{OF_REST[:-1]}: "{words}"'


def answer_sentences(sources: Sources, threshold: float | None) -> list[AnswerSentence]:
    """The sentences of the answer, each with the largest shares in it."""
    cited = [[] for _ in sources.sentences] if threshold is None else sources.citations(threshold)
    names = names_of(sources)
    owners = [0 if of is None else of + 1 for of in sources.document_of]
    found = []
    for text, some, row, shares in zip(
        sources.answer_pieces, cited, sources.document_shares.tolist(), sources.shares.tolist(), strict=True
    ):
        documents = _largest([Source(number, name, share) for (number, name), share in zip(names, row, strict=True)])
        parts = [Source(*one) for one in zip(owners, sources.pieces, shares, strict=True)]
        found.append(AnswerSentence(text, some, documents, _others(row, documents), _largest(parts)))
    return found


def names_of(sources: Sources) -> list[tuple[int, str]]:
    """The number from 1 and the name of each document, and 0 for the rest if it has shares."""
    return [*enumerate(sources.documents, 1), *([(0, REST)] if sources.has_rest else [])]


def _largest(some: list[Source]) -> list[Source]:
    """Those with the largest shares; the first of them, however little it has, if it has any."""
    order = sorted(some, key=lambda one: -one.share)
    return [one for i, one in enumerate(order[:_MOST]) if one.share >= _LEAST or (i == 0 and one.share > 0)]


def _others(row: list[float], shown: list[Source]) -> str:
    """What is said of the documents that have a share and are not shown."""
    count = sum(share > 0 for share in row) - len(shown)
    if not shown or count < 1:
        return ""
    left = sum(row) - sum(one.share for one in shown)
    if left < _NOTHING:
        return ""
    return f"{in_percent(left)} from {'one other' if count == 1 else f'{count} others'}"


def _documents(sources: Sources) -> list[ShownDocument]:
    whole, largest = sources.whole_shares.tolist(), sources.whole_shares.max().item()
    sums, each = sources.by_document(sources.whole_shares).tolist(), sources.document_shares.T.tolist()
    found = []
    for (number, name), share, row in zip(names_of(sources), sums, each, strict=True):
        members = [i for i, of in enumerate(sources.document_of) if (0 if of is None else of + 1) == number]
        used = [(i, one) for i, one in enumerate(row, 1) if one >= _LEAST]
        runs = [_shown(sources, run, whole, largest) for run in _runs(members)]
        found.append(ShownDocument(number, name, share, used, [run for run in runs if run]))
    return found


def _runs(numbers: list[int]) -> list[list[int]]:
    """Numbers in lists of those that follow each other."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return found


def _shown(sources: Sources, run: list[int], whole: list[float], largest: float) -> list[ShownPart]:
    """The text from the first of some parts to the last; the largest share of all has the full colour."""
    found, done = [], sources.parts[run[0]][0]
    for i in run:
        start, end = sources.parts[i]
        if start > done:
            found.append(ShownPart(sources.prompt[done:start], None, ""))
        text = sources.prompt[max(start, done) : end]
        said = text.rstrip()
        share = in_percent(whole[i]) if whole[i] >= _LEAST else ""
        found.append(ShownPart(said, whole[i] / largest if largest else 0.0, share))
        found.append(ShownPart(text[len(said) :], None, ""))  # behind the number, which may else begin a line
        done = max(done, end)
    return [part for part in found if part.text]


def _tables(sources: Sources) -> list[NumberTable]:
    """All shares, where the answer has several sentences."""
    if len(sources.sentences) < 2:
        return []
    columns = [sources.by_document(sources.whole_shares).tolist(), *sources.document_shares.tolist()]
    head = ["answer", *(str(number) for number in range(1, len(columns)))]
    rows = [
        (f"[{number}] {name}" if number else name, [in_percent(column[i]) for column in columns])
        for i, (number, name) in enumerate(names_of(sources))
    ]
    return [
        NumberTable(
            "Shares of the answer and of its sentences", head, rows, ["the whole answer", *sources.answer_pieces]
        )
    ]
