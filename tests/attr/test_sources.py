"""What each sentence of an answer takes from each document."""

import math
from html import unescape

import pytest
import torch

from captum_heta import (
    HETA,
    ChatInput,
    DocumentsInput,
    LLMTokenAttribution,
    LLMTokenAttributionResult,
    Sources,
    TargetedHETA,
    TextInput,
)
from captum_heta.attr import ContextCite
from captum_heta.attr.source_shares import parts_in
from captum_heta.demo import load_model
from captum_heta.inputs.documents import REST
from captum_heta.spans import sentence_spans

DOCUMENTS = {
    "register": "Anna lives in Rome. Ben lives in Oslo.",
    "staff list": "Ben works as a pilot. Anna works as a doctor.",
    "menu": "Ben likes to eat rice.",
}
CHAIN = {
    "people": "Helen is with Diana. Leo is with Nina. Edgar is with Maria. Sarah is in Oslo. Nina is in Athens.",
    "places": "Robert is with Carla. Maria is in Berlin. Diana is in Lisbon. Carla is in Dublin. Felix is with Sarah.",
}
QUICK = {"curvature": "fisher", "rank": 8}
ANSWER = " Oslo. Ben works as a pilot."


def attributed(demo, by="sentence", rest=True, target=ANSWER, method=HETA, **options):
    inp = DocumentsInput(DOCUMENTS, "Where does Ben live?", demo[1], by=by, rest=rest)
    return LLMTokenAttribution(method(demo[0]), demo[1]).attribute(inp, target, **(options or QUICK))


@pytest.fixture(scope="module")
def result(demo):
    return attributed(demo, include_output=True, **QUICK)


@pytest.fixture(scope="module")
def chain():
    return load_model("chain")


def made(rows, groups=("a", "b"), documents=("a", "b"), tokens=("One.", " Two."), probs=(0.5, 0.1), **more):
    """A result of documents that say a letter each, with an answer of two sentences."""
    prompt = " ".join("abcdefgh"[: len(groups)])
    rows = torch.tensor(rows)
    ends = [sum(map(len, tokens[: i + 1])) for i in range(len(tokens))]
    given = {
        "seq_attr": rows.sum(0),
        "token_attr": rows,
        "input_tokens": list(groups),
        "output_tokens": list(tokens),
        "output_probs": None if probs is None else torch.tensor(probs),
        "target": "".join(tokens),
        "prompt": prompt,
        "places": [[(2 * i, 2 * i + 1)] for i in range(len(groups))],
        "groups": list(groups),
        "documents": None if documents is None else list(documents),
        "output_spans": [(end - len(token), end) for token, end in zip(tokens, ends, strict=True)],
    }
    return LLMTokenAttributionResult(**given | more)


def by_hand(result, rows, weigh):
    """The share of each feature in each sentence of the answer, token by token and character by character."""
    found, target = [], result.target
    for start, end in sentence_spans(target):
        sums, done = [0.0] * len(result.input_tokens), 0
        for row, token, prob in zip(rows.tolist(), result.output_tokens, result.output_probs.tolist(), strict=True):
            place = target.index(token.strip(), done)
            done = place + len(token.strip())
            if start <= place < end:
                weight = -math.log(prob) if weigh == "surprise" else 1.0
                total = sum(max(value, 0.0) for value in row)
                sums = [one + weight * max(value, 0.0) / total for one, value in zip(sums, row, strict=True)]
        found.append([one / sum(sums) for one in sums])
    return found


@pytest.mark.parametrize("weights", ["surprise", "even"])
def test_shares_are_those_of_the_tokens_of_each_sentence(result, weights):
    sources = result.sources(weights=weights)
    assert sources.answer_pieces == ["Oslo.", "Ben works as a pilot."]
    order = sorted(range(len(result.places)), key=lambda i: result.places[i])
    assert sources.pieces == [result.pieces[i].strip() for i in order]
    expected = torch.tensor(by_hand(result, result.token_attr, weights))[:, order]
    torch.testing.assert_close(sources.shares, expected, rtol=1e-4, atol=1e-6)
    assert sources.shares.dtype == torch.float32


def test_surprise_and_even_weights_differ(result):
    assert not torch.allclose(result.sources().shares, result.sources(weights="even").shares)


@pytest.mark.parametrize("rest", [True, False])
@pytest.mark.parametrize("by", ["document", "sentence", "token"])
def test_each_sentence_comes_from_the_document_that_says_it(chain, by, rest):
    """The model writes who Edgar is with, which one document says, and then where she is, which the other says."""
    inp = DocumentsInput(CHAIN, "Where is Edgar?", chain[1], by=by, rest=rest)
    sources = LLMTokenAttribution(TargetedHETA(chain[0]), chain[1]).attribute(inp).sources()
    assert sources.answer_pieces == ["Maria.", "Berlin."]
    assert sources.documents == list(CHAIN)
    assert sources.has_rest is rest
    for shares in (sources.shares, sources.document_shares, sources.whole_shares[None]):
        torch.testing.assert_close(shares.sum(1), torch.ones(len(shares)))
    assert sources.document_shares.shape == (2, 2 + rest)
    if rest or by != "document":  # of two blocks alone the larger score of the first sentence is the second's
        assert sources.document_shares[:, :2].argmax(1).tolist() == [0, 1]
        assert all(number in some for number, some in enumerate(sources.citations(), 1))
    of_documents = [i for i, of in enumerate(sources.document_of) if of is not None]
    pieces = [sources.pieces[i] for i in of_documents]
    if by == "document":
        assert pieces == list(CHAIN.values())
    else:  # its sentences, whatever the features are
        assert pieces == [text[start:end].strip() for text in CHAIN.values() for start, end in sentence_spans(text)]
        best = sources.shares[:, of_documents].argmax(1).tolist()
        assert [pieces[i] for i in best] == ["Edgar is with Maria.", "Maria is in Berlin."]


def test_through_is_the_answer_through_the_outputs(result):
    sources = result.sources(through=True)
    order = sorted(range(len(result.places)), key=lambda i: result.places[i])
    whole = result.answer()[order]
    torch.testing.assert_close(sources.whole_shares, whole / whole.sum(), rtol=1e-4, atol=1e-6)
    expected = by_hand(result, result.through_output(), "surprise")
    torch.testing.assert_close(sources.shares, torch.tensor(expected)[:, order], rtol=1e-4, atol=1e-6)
    assert sources.through
    assert not torch.allclose(sources.shares, result.sources().shares, atol=1e-3)


def test_negative_scores_count_as_nothing():
    sources = made([[3.0, -1.0], [-2.0, 0.5]]).sources()
    assert sources.shares.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert sources.signed
    assert not made([[3.0, 1.0], [2.0, 0.5]]).sources().signed


def test_a_sentence_that_nothing_supports_has_no_shares():
    sources = made([[0.0, 0.0], [1.0, 3.0]]).sources()
    assert sources.shares.tolist() == [[0.0, 0.0], [0.25, 0.75]]
    # of the whole answer what is found counts
    assert sources.whole_shares.tolist() == [0.25, 0.75]
    assert sources.citations() == [[], [1, 2]]
    assert "Nothing in the prompt supports it." in sources.to_html()


def test_rest_is_behind_the_documents():
    sources = made([[1.0, 2.0, 5.0], [1.0, 1.0, 0.0]], ("a", "b", REST)).sources()
    torch.testing.assert_close(sources.document_shares, torch.tensor([[0.125, 0.25, 0.625], [0.5, 0.5, 0.0]]))
    assert sources.citations(0.5) == [[], [1, 2]]  # the rest is never cited


def test_a_method_that_explains_the_output_as_one(demo):
    sources = attributed(demo, method=ContextCite, seed=0).sources()
    assert sources.answer_pieces == [ANSWER.strip()]
    assert sources.signed
    assert "The method explains the answer as a whole." in sources.to_html()
    assert sources.shares.shape == (1, len(sources.parts))
    torch.testing.assert_close(sources.shares[0], sources.whole_shares)
    torch.testing.assert_close(sources.shares.sum(), torch.tensor(1.0))


class TestCitations:
    def test_numbers_are_those_of_documents_with_the_share(self):
        result = made([[7.0, 3.0], [9.5, 0.5]])
        assert result.sources().citations(0.3) == [[1, 2], [1]]
        assert result.sources().citations(0.31) == [[1], [1]]
        assert result.sources().citations() == [[1, 2], [1]]

    def test_text_has_them_behind_each_sentence_and_a_list(self):
        sources = made([[7.0, 3.0], [0.5, 9.5]], documents=["the a", "b"], groups=["the a", "b"]).sources()
        assert sources.cited() == "One. [1][2] Two. [2]\n\n[1] the a\n[2] b"
        assert sources.cited(0.9) == "One. Two. [2]\n\n[2] b"
        assert sources.cited(1) == "One. Two."

    @pytest.mark.parametrize("threshold", [0, -1, 1.1, float("nan"), True])
    def test_another_threshold_is_an_error(self, threshold):
        sources = made([[1.0, 1.0], [1.0, 1.0]]).sources()
        for ask in (sources.citations, sources.cited, lambda one: sources.to_html(citations=True, threshold=one)):
            with pytest.raises(ValueError, match="threshold"):
                ask(threshold)


class TestFrame:
    pandas = pytest.importorskip("pandas")

    def test_has_a_row_for_each_sentence_and_part(self, result):
        sources = result.sources()
        frame = sources.to_dataframe()
        assert list(frame) == ["number", "answer", "document", "sentence", "share"]
        assert len(frame) == sources.shares.numel()
        assert frame.groupby("number").share.sum().tolist() == pytest.approx([1.0, 1.0])
        assert frame[frame.number == 2].share.tolist() == sources.shares[1].tolist()
        assert set(frame.document) == {*DOCUMENTS, REST}
        assert frame[frame.sentence == "Ben lives in Oslo."].document.tolist() == ["register"] * 2
        assert frame[frame.sentence == "Answer:"].document.tolist() == [REST] * 2

    def test_of_documents(self, result):
        frame = result.sources().to_dataframe(by="document")
        assert list(frame) == ["number", "answer", "document", "share"]
        assert frame.document.tolist() == [*DOCUMENTS, REST] * 2
        assert frame.share.tolist() == result.sources().document_shares.flatten().tolist()
        with pytest.raises(ValueError, match="by must be one of sentence, document, got 'token'"):
            result.sources().to_dataframe(by="token")


def test_a_loaded_result_has_the_same(result, tmp_path):
    result.save(tmp_path / "it.json")
    again = LLMTokenAttributionResult.load(tmp_path / "it.json")
    assert again.documents == list(DOCUMENTS)
    assert again.output_spans == result.output_spans
    for through in (False, True):
        one, other = again.sources(through=through), result.sources(through=through)
        assert one.shares.equal(other.shares)
        assert one.to_html(citations=True) == other.to_html(citations=True)


def test_an_empty_document_keeps_its_number(demo):
    documents = {"none": "", **DOCUMENTS}
    inp = DocumentsInput(documents, "Where does Ben live?", demo[1], by="sentence", rest=True)
    sources = LLMTokenAttribution(HETA(demo[0]), demo[1]).attribute(inp, " Oslo", **QUICK).sources()
    assert sources.document_shares[0, 0] == 0
    assert sources.document_shares[0, 1:4].argmax() == 0
    assert sources.citations(0.5) == [[2]]


@pytest.mark.filterwarnings("ignore:Nothing in the prompt supports:UserWarning")
def test_coarse_to_fine_has_all_sentences(demo):
    sources = attributed(demo, method=TargetedHETA, refine=0.9).sources()
    torch.testing.assert_close(sources.shares.sum(1), torch.ones(2))
    assert len(sources.parts) == 7
    assert "Coarse to fine" in sources.to_html()


def test_is_shown_in_a_line(result):
    shown = repr(result.sources())
    assert shown.startswith("Sources(answer='Oslo. Ben works as a pilot.', {'register': ")
    assert "%" in shown
    assert isinstance(result.sources(), Sources)


class TestErrors:
    def test_without_documents(self, demo):
        text = LLMTokenAttribution(HETA(demo[0]), demo[1]).attribute(TextInput("Ben is", demo[1]), " in", **QUICK)
        with pytest.raises(ValueError, match="attribute to a DocumentsInput"):
            text.sources()

    def test_of_a_chat(self, demo):
        model, tokenizer = demo
        written, tokenizer.chat_template = tokenizer.chat_template, "{{ bos_token }}{{ messages[0]['content'] }}"
        try:
            chat = ChatInput([{"role": "user", "content": "Ben is"}], tokenizer)
            found = LLMTokenAttribution(HETA(model), tokenizer).attribute(chat, " in", **QUICK)
        finally:
            tokenizer.chat_template = written
        with pytest.raises(ValueError, match="attribute to a DocumentsInput"):
            found.sources()

    def test_weights_and_probabilities(self):
        with pytest.raises(ValueError, match="weights must be one of surprise, even, got 'odd'"):
            made([[1.0, 1.0], [1.0, 1.0]]).sources(weights="odd")
        unknown = made([[1.0, 1.0], [1.0, 3.0]], probs=None)
        with pytest.raises(ValueError, match="pass weights='even'"):
            unknown.sources()
        assert unknown.sources(weights="even").shares.tolist() == [[0.5, 0.5], [0.25, 0.75]]

    def test_outputs_without_places(self):
        with pytest.raises(ValueError, match="does not know where its output tokens are"):
            made([[1.0, 1.0], [1.0, 1.0]], output_spans=None).sources()

    def test_scores_that_are_not_finite(self):
        with pytest.raises(ValueError, match="not finite"):
            made([[1.0, float("nan")], [1.0, 1.0]]).sources()

    def test_through_without_output_scores(self):
        with pytest.raises(ValueError, match="include_output=True"):
            made([[1.0, 1.0], [1.0, 1.0]]).sources(through=True)


class TestSentences:
    def test_one_that_has_no_token_of_its_own_is_with_the_one_before(self):
        result = made([[1.0, 0.0], [0.0, 1.0]], tokens=("x\u3002y\u3002z", " w."))
        sources = result.sources()
        assert "".join(sources.answer[start:end] for start, end in sources.sentences) == result.target
        assert len(sources.sentences) == len(sources.shares) == 2

    def test_a_word_of_one_letter_is_in_its_own(self):
        sources = made([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], tokens=("Yes.", " I", " do."), probs=(0.5, 0.5, 0.5))
        assert sources.sources().shares.tolist() == [[1.0, 0.0], [0.0, 1.0]]

    def test_white_space_alone_is_one(self):
        sources = made([[1.0, 0.0], [1.0, 0.0]], tokens=("\n", "\n")).sources()
        assert sources.sentences == [(0, 2)]
        assert sources.shares.tolist() == [[1.0, 0.0]]


class TestParts:
    def test_tokens_are_in_their_sentences(self):
        prompt = "A be. C do.\n\nE."
        places = [(0, 1), (1, 4), (4, 5), (5, 7), (7, 10), (10, 11), (11, 13), (13, 15)]
        found = parts_in(prompt, places, ["x"] * 7 + ["y"])
        assert [(prompt[slice(*part.place)], part.group) for part in found] == [
            ("A be.", "x"),
            (" C do.\n\n", "x"),
            ("E.", "y"),
        ]
        assert [part.features for part in found] == [[0, 1, 2], [3, 4, 5, 6], [7]]

    def test_larger_features_stay_whole(self):
        assert [part.place for part in parts_in("A be. C do.", [(0, 11)], ["x"])] == [(0, 11)]

    def test_every_feature_is_in_one_part(self):
        found = parts_in("\n Be. Do.", [(0, 2), (2, 5), (5, 9), (9, 9)], ["x", "x", "x", "y"])
        assert [part.features for part in found] == [[0, 1], [2], [3]]


def test_the_question_is_said_above_the_answer(demo):
    page = unescape(attributed(demo, include_output=False).sources().to_html())
    assert 'what else is said around the documents: "Question: Where does Ben live?' in page
    assert "Text of the <bdi>rest of the prompt</bdi>" in page
    asked = "Where does Ben live? " + "Think of it well. " * 20
    inp = DocumentsInput({"a": "Ben lives in Oslo."}, asked, demo[1], by="document", rest=True)
    page = LLMTokenAttribution(HETA(demo[0]), demo[1]).attribute(inp, " Oslo.", **QUICK).sources().to_html()
    assert "what else is said around the documents.</p>" in page
