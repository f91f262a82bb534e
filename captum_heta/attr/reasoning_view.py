"""What is shown of an answer that was followed through its reasoning."""

from captum_heta.attr.reasoning import ReasoningTrace
from captum_heta.inputs.places import flat, spread
from captum_heta.provenance import in_words
from captum_heta.visualization.signs import visible
from captum_heta.visualization.view import Bar, NumberTable, Section, View, in_percent, text_row

HOW_TO_READ = (
    "Shares of the answer. Those of the reasoning are what the answer takes from it; they were explained in turn, and "
    "those of the prompt have what comes directly and what comes through the reasoning."
)


def view_of(trace: ReasoningTrace) -> View:
    """The prompt shaded by its shares, the sentences of the reasoning with theirs, and the answer."""
    shares = trace.prompt_attr.tolist()
    tips = [
        f"{in_percent(share)} of the answer, {in_percent(direct)} directly"
        for share, direct in zip(shares, trace.direct_attr.tolist(), strict=True)
    ]
    said = [tip for tip, places in zip(tips, trace.places, strict=True) for _ in places]
    row = text_row(trace.prompt, flat(trace.places), spread(shares, trace.places), said)
    thought = trace.reasoning_attr.sum().item()
    count = len(trace.hops)
    sections = [
        Section("Prompt", f"{in_percent(sum(shares))} of the answer after {hops(count)}", [row]),
        Section("Reasoning", f"{in_percent(thought)} of the answer, before it is followed", bars=bars(trace)),
        Section("Answer", "", [text_row(trace.answer.strip(), [], [])]),
    ]
    rest = [f"{trace.left:.0%} of the answer stayed in the reasoning."] if trace.left >= 0.005 else []
    highest = NumberTable(
        "Sentences of the prompt with the largest shares" if trace.of_sentences else "Tokens with the largest shares",
        ["share", "directly"],
        [
            (visible(trace.pieces[i].strip()), [in_percent(shares[i]), in_percent(trace.direct_attr[i].item())])
            for i in largest(shares)
        ],
    )
    title = f"Why {trace.answer.strip()!r}, through the reasoning before it?"
    return View(title, [HOW_TO_READ], sections, rest, [highest], in_words(trace.provenance))


def bars(trace: ReasoningTrace) -> list[Bar]:
    """The sentences of the reasoning with their shares in the answer."""
    return [
        Bar(piece.strip(), share)
        for piece, share in zip(trace.reasoning_pieces, trace.reasoning_attr.tolist(), strict=True)
        if piece.strip()
    ]


def largest(shares: list[float], count: int = 5) -> list[int]:
    """The numbers of the largest shares above 0, the largest first."""
    order = sorted(range(len(shares)), key=lambda i: -shares[i])
    return [i for i in order[:count] if shares[i] > 0]


def hops(count: int) -> str:
    """How many, in words."""
    return "one hop" if count == 1 else f"{count} hops"
