from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from captum_heta.benchmark.case import UnfitError, case_of, evidence_masks
from captum_heta.demo import examples, load_model
from captum_heta.inputs.offsets import token_spans
from captum_heta.models import LanguageModel

(ITEM,) = examples(1)


class Choosing(LanguageModel):
    """The embedded model, whose likeliest next token is another one; without one it must not be asked."""

    def __init__(self, token=None):
        super().__init__(load_model()[0])
        self.token = token

    def logits(self, ids, keep=None, **given):
        assert self.token is not None, "the example has a target"
        return torch.eye(self.vocab_size)[self.token].expand(*ids.shape, -1)


never = Choosing()


def text(case, marked):
    return "".join(case.example.prompt[slice(*span)] for span, mark in zip(case.spans, marked, strict=True) if mark)


def test_features_are_the_tokens_with_text(demo):
    _, tokenizer = demo
    case = case_of(ITEM, tokenizer, never, None)
    assert case.ids.tolist() == [tokenizer.encode(ITEM.prompt)]
    assert case.fixed.tolist() == [[True] + [False] * len(case.spans)]
    assert tokenizer.decode(case.output) == ITEM.target
    ((start, end),) = ITEM.evidence
    assert text(case, case.evidence).strip() == ITEM.prompt[start:end]
    scores = torch.arange(len(case.spans)).float()
    assert case.spread(scores).tolist() == [[0.0, *scores.tolist()]]


def test_masks_are_of_the_tokens_of_the_sentences(demo):
    _, tokenizer = demo
    ids, spans = token_spans(ITEM.prompt, tokenizer)
    evidence, distractors = evidence_masks(ITEM, spans)
    ids = torch.tensor(ids)
    ((start, end),) = ITEM.evidence
    assert tokenizer.decode(ids[evidence]).strip() == ITEM.prompt[start:end]
    assert not (evidence & distractors).any()
    rest = tokenizer.decode(ids[~evidence & ~distractors], skip_special_tokens=True)
    assert rest.strip() == ITEM.prompt[ITEM.prompt.index("\n") :].strip()


def test_the_passage_is_moved_with_the_prompt(demo):
    _, tokenizer = demo
    end = ITEM.prompt.index("\nQuestion")
    asked = replace(ITEM, passage=((0, end),))
    case = case_of(asked, tokenizer, never, None)
    assert text(case, case.passage) == ITEM.prompt[:end]
    assert not (~case.passage & (case.evidence | case.distractors)).any()
    late = replace(asked, evidence=(), distractors=())
    cut = case_of(late, tokenizer, never, case.ids.shape[1] - 3)
    assert 0 < cut.passage.sum() < case.passage.sum()
    assert ITEM.prompt[:end].endswith(text(cut, cut.passage))
    assert text(cut, ~cut.passage) == text(case, ~case.passage) == ITEM.prompt[end:]
    assert not case_of(replace(ITEM, passage=()), tokenizer, never, None).passage.any()


def test_the_onset_of_a_longer_target_is_explained(demo):
    _, tokenizer = demo
    case = case_of(replace(ITEM, target=" Karen lives in Rome"), tokenizer, never, None)
    assert tokenizer.decode(case.output) == " Karen"


def test_what_the_model_does_not_answer_may_be_left_out(demo):
    _, tokenizer = demo
    (right,) = tokenizer.encode(ITEM.target, add_special_tokens=False)
    assert case_of(ITEM, tokenizer, Choosing(right), None, answered=True).output.tolist() == [right]
    with pytest.raises(UnfitError, match="the model does not predict its target"):
        case_of(ITEM, tokenizer, Choosing(right + 1), None, answered=True)


def test_without_a_target_the_models_choice_is(demo):
    _, tokenizer = demo
    assert case_of(replace(ITEM, target=None), tokenizer, Choosing(7), None).output.tolist() == [7]


def test_a_tokenizer_without_padding_will_do(demo):
    _, tokenizer = demo
    before = tokenizer.pad_token
    try:
        tokenizer.pad_token = None
        assert case_of(ITEM, tokenizer, never, None).ids.shape[0] == 1
    finally:
        tokenizer.pad_token = before


@pytest.mark.parametrize("most", [30, 45, 59, 60])
def test_a_long_prompt_loses_its_start(demo, most):
    _, tokenizer = demo
    end = len(ITEM.prompt)
    late = replace(ITEM, evidence=((end - 8, end),), distractors=((0, 40), (end - 60, end - 30)))
    case = case_of(late, tokenizer, never, most)
    assert most - 2 <= case.ids.shape[1] <= most
    assert late.prompt.endswith(case.example.prompt)
    assert text(case, case.evidence).strip() == ITEM.prompt[-8:].strip()
    assert "doctor.\nQuestion: Who" in text(case, case.distractors)
    assert ("banjo" in text(case, case.distractors)) == (most > 50)


def test_a_text_may_begin_with_the_token_for_that(demo):
    _, tokenizer = demo
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
    plain.add_special_tokens({"bos_token": "<s>"})
    plain.backend_tokenizer.post_processor = TemplateProcessing(single="$A")
    with_bos, without = (case_of(ITEM, plain, never, None, bos=bos) for bos in (True, False))
    assert with_bos.ids[0].tolist() == [plain.bos_token_id, *without.ids[0].tolist()]
    assert with_bos.fixed.sum() == 1
    assert text(with_bos, with_bos.evidence) == text(without, without.evidence)
    assert torch.equal(with_bos.distractors, without.distractors)
    assert torch.equal(with_bos.passage, without.passage)
    assert with_bos.example.paraphrase == f"<s>{ITEM.paraphrase}"


def test_evidence_that_is_cut_off_leaves_the_example_out(demo):
    _, tokenizer = demo
    with pytest.raises(UnfitError, match="its evidence is not in the last 20 tokens of its prompt"):
        case_of(ITEM, tokenizer, never, 20)


@pytest.mark.parametrize(
    ("item", "most", "told"),
    [
        (replace(ITEM, prompt="", evidence=(), distractors=()), None, "its prompt has no token"),
        (replace(ITEM, target=""), None, "its target '' has no token"),
        (replace(ITEM, prompt="Who \ud800?"), 5, r"its prompt has half a character, '\\ud800' at 4"),
        (replace(ITEM, target="\udfff"), None, r"its target has half a character, '\\udfff' at 0"),
        (replace(ITEM, evidence=(), distractors=()), 1, "its prompt does not fit 1 tokens"),
    ],
)
def test_examples_without_anything_to_explain_are_left_out(demo, item, most, told):
    with pytest.raises(UnfitError, match=told):
        case_of(item, demo[1], never, most)
