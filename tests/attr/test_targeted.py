import warnings

import pytest
import torch
from captum.attr import Attribution, TextTemplateInput
from hypothesis import given
from hypothesis import strategies as st

from captum_heta import (
    HETA,
    ChatInput,
    DocumentsInput,
    LLMTokenAttribution,
    TargetedHETA,
    TargetedTerms,
    TextInput,
)
from captum_heta.attr import ContributionTerms, GradientNorm, HETATerms, TargetTerms
from captum_heta.models import CausalLM, trace_of
from captum_heta.options import HETAOptions, TargetedOptions
from captum_heta.ranks import spearman
from captum_heta.terms.contribution_flow import contribution_flow
from captum_heta.terms.fusion import CORNER, balanced_sum, positive_part, product, shares
from captum_heta.testing import reference
from captum_heta.testing.architectures import tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])
QUICK = {"target": 3, "rank": 8, "n_samples": 2}


@pytest.fixture(scope="module")
def model():
    return tiny_model("llama")


@pytest.fixture(scope="module")
def targeted(model):
    return TargetedHETA(model)


def test_is_a_captum_attribution_of_its_own_name(targeted):
    assert isinstance(targeted, Attribution)
    assert isinstance(targeted, HETA)
    assert targeted.get_name() == "TargetedHETA"
    assert TargetedHETA.attribute.__qualname__ == "TargetedHETA.attribute"
    assert HETA.attribute.__qualname__ == "HETA.attribute"


def test_scores_are_the_shares_of_the_product(targeted):
    scores, terms = targeted.attribute(IDS, **QUICK, return_terms=True)
    assert isinstance(terms, TargetedTerms)
    flow, curved, lost = terms
    expected = flow * curved.sqrt() * positive_part(lost)
    torch.testing.assert_close(scores, expected / expected.sum())
    assert scores.dtype == torch.float32
    assert scores.sum().item() == pytest.approx(1)
    torch.testing.assert_close(flow.sum(), torch.tensor(1.0))


def test_its_terms_are_the_naive_ones(model):
    double = tiny_model("llama").double()
    _, terms = TargetedHETA(double).attribute(IDS, target=3, curvature="exact", n_samples=1, return_terms=True)
    lm = CausalLM(double)
    groups = [[i] for i in range(6)]
    with lm.lock, lm.restored(), lm.ready():
        embeds = lm.embed(IDS[0])
        trace = trace_of(lm, embeds, 1, residuals=True)
        flow = contribution_flow(trace.layers, trace.output_positions)
    mean = double.get_input_embeddings().weight.mean(0).detach()
    falls = reference.naive_falls(double, embeds, [3], groups, mean.expand_as(embeds))
    torch.testing.assert_close(terms.contribution_flow, flow.float())
    torch.testing.assert_close(terms.target_information, falls.float())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, HETATerms),
        ({"flow": "contribution"}, ContributionTerms),
        ({"information": "target"}, TargetTerms),
        ({"flow": "contribution", "information": "target"}, TargetedTerms),
    ],
)
def test_terms_are_named_for_what_they_are(model, options, kind):
    scores, terms = HETA(model).attribute(IDS, **QUICK, curvature="fisher", return_terms=True, **options)
    assert type(terms) is kind
    torch.testing.assert_close(scores, terms[0] * (0.5 * terms[1] + 0.5 * terms[2].clamp(min=0)))
    paper = HETA(model).attribute(IDS, **QUICK, curvature="fisher", return_terms=True)[1]
    for name, values in terms._asdict().items():
        if hasattr(paper, name):
            assert torch.equal(values, getattr(paper, name))


def test_options_of_heta_are_the_targeted_form(model, targeted):
    chosen = {
        "baselines": "vocabulary",
        "flow": "contribution",
        "information": "target",
        "fusion": "product",
        "curvature": "fisher",
    }
    assert torch.equal(HETA(model).attribute(IDS, **QUICK, **chosen), targeted.attribute(IDS, **QUICK))
    paper = {"baselines": None, "flow": "attention", "information": "kl", "fusion": "sum", "curvature": "auto"}
    assert torch.equal(targeted.attribute(IDS, **QUICK, **paper), HETA(model).attribute(IDS, **QUICK))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"flow": "river"}, "flow must be one of attention, contribution, published, got 'river'"),
        ({"information": "all"}, "information must be one of kl, target, got 'all'"),
        ({"fusion": "mean"}, "fusion must be one of sum, product, got 'mean'"),
        ({"fusion": "product", "beta": 0.5}, "beta weighs a sum, and fusion is 'product', got 0.5"),
        ({"fusion": "product", "gamma": 0.0}, "gamma weighs a sum, and fusion is 'product', got 0.0"),
        ({"fusion": "product", "beta": "balanced"}, "beta weighs a sum"),
        ({"beta": "equal"}, "beta must be a number or 'balanced', got 'equal'"),
        ({"beta": "balanced", "gamma": 0.5}, "beta='balanced' weighs both terms: leave gamma out, got 0.5"),
        ({"beta": -1.0}, "beta is a factor and must be >= 0, got -1.0"),
        ({"contrast": 3}, "contrast is the target itself, \\[3\\]"),
        ({"contrast": 97}, "contrast has token id 97, outside the vocabulary"),
        ({"contrast": [1, 2, 4]}, "contrast must be one token id, or one for each of the 1 prompts"),
    ],
)
def test_what_does_not_fit_is_told(model, options, told):
    with pytest.raises(ValueError, match=told):
        HETA(model).attribute(IDS, target=3, **options)


def test_balanced_weighs_each_term_over_its_own_sum(model):
    scores, terms = HETA(model).attribute(IDS, **QUICK, beta="balanced", return_terms=True)
    flow, curved, lost = terms
    torch.testing.assert_close(scores, flow * (curved / curved.sum() + lost / lost.sum()) / 2)


class TestFusion:
    @given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-30, 1e-12, 1.0, 1e25]))
    def test_a_product_is_shares_whatever_the_units(self, seed, scale):
        parts = torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(seed)) + 0.01
        whole = parts[0].double() * parts[1].double().sqrt() * parts[2].double()
        expected = (whole / whole.sum(-1, keepdim=True)).float()
        torch.testing.assert_close(product(parts[0] * scale, parts[1] * scale, parts[2] * scale), expected)

    def test_what_speaks_against_the_target_counts_as_nothing(self):
        ones = torch.ones(1, 3)
        assert product(ones, ones, torch.tensor([[1.0, -5.0, 1.0]])).tolist() == [[0.5, 0.0, 0.5]]
        assert product(ones, ones, torch.tensor([[-1.0, -5.0, 0.0]])).tolist() == [[0.0, 0.0, 0.0]]

    def test_nothing_supports_where_no_feature_has_all_three(self):
        gate, curved = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 1.0]])
        assert product(gate, curved, torch.tensor([[0.0, 2.0, 2.0]])).tolist() == [[0.0, 0.0, 0.0]]

    def test_what_hardly_matters_keeps_the_order_of_the_other_terms(self):
        lost = torch.tensor([[1.0, 0.0, 0.0, -1.0]])
        found = product(torch.tensor([[1.0, 2.0, 1.0, 9.0]]), torch.ones(1, 4), lost)[0]
        assert found[0] > 0.99
        assert found[1] > found[2] > found[3]
        assert found[3] < 1e-30

    @given(st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=6))
    def test_the_corner_is_soft_and_nothing_else(self, values):
        lost = torch.tensor([values])
        most = 0.7 * CORNER * lost.abs().max() + 1e-6  # log 2 of the corner, at 0
        found = positive_part(lost)
        assert (found >= 0).all()
        assert ((found - lost.clamp(min=0)).abs() <= most).all()

    def test_rows_of_zeros_stay_so(self):
        assert shares(torch.tensor([[0.0, 0.0], [1.0, 3.0]])).tolist() == [[0.0, 0.0], [0.25, 0.75]]
        gate = torch.tensor([[0.5, 0.5]])
        assert balanced_sum(gate, torch.zeros(1, 2), torch.tensor([[1.0, 3.0]])).tolist() == [[0.0625, 0.1875]]

    def test_no_feature_has_no_score(self):
        assert product(*[torch.ones(2, 0)] * 3).shape == (2, 0)


class TestUnsupported:
    """A model that predicts the same whatever it reads: no token supports anything."""

    @pytest.fixture
    def deaf(self):
        model = tiny_model("llama")
        model.lm_head = torch.nn.Linear(32, 97, bias=True)
        model.lm_head.weight.data.zero_()
        return model.requires_grad_(False)

    def test_all_scores_are_zero_with_a_warning(self, deaf):
        with pytest.warns(UserWarning, match="Nothing in the prompt supports the output of LlamaForCausalLM"):
            scores = TargetedHETA(deaf).attribute(IDS, **QUICK)
        assert scores.tolist() == [[0.0] * 6]

    def test_the_outputs_are_named(self, deaf, demo):
        with pytest.warns(UserWarning, match=r"supports output token\(s\) \[0, 1\] of"):
            TargetedHETA(deaf).attribute_outputs(IDS[0], torch.tensor([1, 2]), _features(), rank=4)


def _features():
    from captum_heta.features import Features

    return Features.of_tokens(range(6))


class TestBatches:
    def test_padding_and_batches_change_nothing(self, targeted):
        ids = torch.cat([IDS, torch.tensor([[0, 0, 11, 12, 13, 14]])])
        mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
        both = targeted.attribute(ids, target=[3, 4], rank=8, n_samples=2, additional_forward_args=mask)
        torch.testing.assert_close(both[:1], targeted.attribute(IDS, **QUICK))
        torch.testing.assert_close(both[1:, 2:], targeted.attribute(ids[1:, 2:], target=4, rank=8, n_samples=2))
        assert both[1, :2].tolist() == [0, 0]

    def test_contrasts_are_those_of_their_rows(self, model):
        ids = torch.cat([IDS, IDS + 7])
        for method in (TargetedHETA(model), GradientNorm(model)):
            both = method.attribute(ids, target=3, contrast=[5, 6])
            torch.testing.assert_close(both[0], method.attribute(ids[:1], target=3, contrast=5)[0])
            torch.testing.assert_close(both[1], method.attribute(ids[1:], target=3, contrast=6)[0])

    def test_a_feature_of_several_tokens_is_looked_at_as_a_whole(self, targeted):
        mask = torch.tensor([[0, 1, 1, 2, 3, 3]])
        scores, terms = targeted.attribute(IDS, **QUICK, feature_mask=mask, return_terms=True)
        assert scores[0, 1] == scores[0, 2]
        alone = targeted.attribute(IDS, **QUICK, return_terms=True)[1]
        torch.testing.assert_close(terms.contribution_flow[0, 1], alone.contribution_flow[0, 1:3].sum())
        assert scores[0, [0, 1, 3, 4]].sum().item() == pytest.approx(1)


class TestOutputs:
    def test_each_output_given_those_before_it(self, targeted):
        outputs, features = torch.tensor([3, 4, 5]), _features()
        together = targeted.attribute_outputs(IDS[0], outputs, features, rank=8, baselines="zero")
        assert together.scores.shape == (3, 6)
        torch.testing.assert_close(together.scores.sum(-1), torch.ones(3))
        first = targeted.attribute_outputs(IDS[0], outputs[:1], features, rank=8, baselines="zero")
        torch.testing.assert_close(together.scores[:1], first.scores)
        last = targeted.attribute(
            torch.cat([IDS, outputs[None, :2]], 1), target=5, rank=8, baselines="zero", return_terms=True
        )[1]
        torch.testing.assert_close(together.terms.target_information[2], last.target_information[0, :6])
        torch.testing.assert_close(together.terms.contribution_flow[2], last.contribution_flow[0, :6])

    def test_a_whole_answer_has_the_sum_of_its_log_probabilities(self, targeted):
        outputs, features = torch.tensor([3, 4]), _features()
        each = targeted.attribute_outputs(IDS[0], outputs, features, rank=8, baselines="zero")
        whole = targeted.attribute_outputs(IDS[0], outputs, features, rank=8, baselines="zero", per_token=False)
        assert whole.scores.shape == (1, 6)
        assert whole.scores.sum().item() == pytest.approx(1)
        torch.testing.assert_close(whole.terms.target_information, each.terms.target_information.sum(0, keepdim=True))
        torch.testing.assert_close(whole.terms.contribution_flow, each.terms.contribution_flow.mean(0, keepdim=True))

    def test_contrasts_are_those_of_their_outputs(self, targeted):
        features = _features()
        both = targeted.attribute_outputs(IDS[0], torch.tensor([3, 4]), features, baselines="zero", contrast=[7, 8])
        falls = reference.naive_falls(
            targeted.model,
            targeted.model.get_input_embeddings()(torch.tensor([5, 6, 7, 8, 9, 10, 3])).detach(),
            [3, 4],
            features.groups,
            torch.zeros(7, 32),
            [7, 8],
        )
        torch.testing.assert_close(both.terms.target_information, falls, rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="contrast has 1 token ids and the target 2"):
            targeted.attribute_outputs(IDS[0], torch.tensor([3, 4]), features, contrast=7)

    def test_an_output_that_is_compared_with_itself_has_no_scores_and_no_warning(self, targeted):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = targeted.attribute_outputs(
                IDS[0], torch.tensor([3, 4]), _features(), baselines="zero", contrast=[3, 8]
            )
        assert found.scores[0].tolist() == [0.0] * 6
        assert found.scores[1].sum().item() == pytest.approx(1)


class TestContrast:
    def test_a_contrast_turned_around_speaks_for_the_other(self, targeted):
        one = targeted.attribute(IDS, target=3, contrast=7, return_terms=True)[1].target_information
        other = targeted.attribute(IDS, target=7, contrast=3, return_terms=True)[1].target_information
        torch.testing.assert_close(one, -other)

    def test_two_texts_are_cut_where_they_differ(self, demo):
        model, tokenizer = demo
        llm = LLMTokenAttribution(TargetedHETA(model), tokenizer)
        inp = TextInput("Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Anna live?\nAnswer:", tokenizer)
        result = llm.attribute(inp, "Rome", contrast="Oslo")
        assert result.contrast == " Oslo"
        assert result.pieces[result.seq_attr.argmax()] == " Rome"
        assert result.provenance["options"]["contrast"] == " Oslo"
        longer = llm.attribute(inp, "Rome of old", contrast="Rome and new")
        assert longer.target == " Rome of"
        assert longer.contrast == " Rome a"
        assert longer.token_attr[0].abs().max() == 0
        with pytest.raises(ValueError, match="begin with the same 1 token"):
            llm.attribute(inp, "Rome", contrast="Rome")
        kept = type(result).load(_saved(result))
        assert kept.contrast == result.contrast
        assert type(kept.terms) is TargetedTerms

    def test_the_question_says_both(self, demo):
        from captum_heta.visualization.view import why

        assert why("Paris", 0.5, "Rome") == "Why 'Paris' (probability 0.5) and not 'Rome'?"
        assert why("Paris", None) == "Why 'Paris'?"


def _saved(result):
    import tempfile
    from pathlib import Path

    file = Path(tempfile.mkdtemp()) / "result.json"
    result.save(file)
    return file


class TestGradientNorm:
    @pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
    def test_is_the_squared_norm_of_the_gradient(self, name):
        model = tiny_model(name).double()
        embeds = model.get_input_embeddings()(IDS[0]).detach()
        for contrast in (None, 7):
            expected = reference.naive_squared_gradient(model, embeds, 3, [[i] for i in range(6)], contrast)
            found = GradientNorm(model).attribute(IDS, target=3, contrast=contrast)
            torch.testing.assert_close(found[0], expected.float())

    def test_is_the_curvature_of_its_mode(self, model):
        alone = GradientNorm(model).attribute(IDS, target=3)
        terms = HETA(model).attribute(IDS, target=3, curvature="gradient", return_terms=True)[1]
        torch.testing.assert_close(alone, terms.curvature)

    def test_outputs_together_have_the_gradient_of_their_sum(self, model):
        method, outputs = GradientNorm(model), torch.tensor([3, 4])
        whole = method.attribute_outputs(IDS[0], outputs, _features(), per_token=False)
        each = method.attribute_outputs(IDS[0], outputs, _features())
        assert whole.scores.shape == (1, 6)
        assert not torch.allclose(whole.scores, each.scores.sum(0, keepdim=True))

    def test_leaves_the_model_as_it_was(self, model):
        model.train()
        try:
            GradientNorm(model).attribute(IDS, target=3)
            assert model.training
            assert all(parameter.requires_grad for parameter in model.parameters())
        finally:
            model.eval()


class TestInputs:
    """Whatever the wrapper takes; the scores are shares of it."""

    @pytest.fixture(params=["targeted", "heta by options"])
    def llm(self, request, demo):
        if request.param == "targeted":
            return LLMTokenAttribution(TargetedHETA(demo[0]), demo[1]), {"rank": 16}
        chosen = {"flow": "contribution", "information": "target", "fusion": "product", "curvature": "fisher"}
        return LLMTokenAttribution(HETA(demo[0]), demo[1]), {**chosen, "rank": 16}

    def test_values_of_a_template(self, llm, demo):
        wrapper, options = llm
        inp = TextTemplateInput(
            "{} lives in {}. {} lives in {}.\nQuestion: Where does Anna live?\nAnswer:", ["Ben", "Oslo", "Anna", "Rome"]
        )
        result = wrapper.attribute(inp, "Rome", **options)
        assert result.seq_attr.sum().item() == pytest.approx(1, abs=1e-5)
        assert result.input_tokens[result.seq_attr.argmax()] == "Rome"

    def test_documents(self, llm, demo):
        wrapper, options = llm
        documents = {"one": "Ben lives in Oslo.", "two": "Anna lives in Rome.", "none": ""}
        inp = DocumentsInput(documents, "Where does Anna live?", demo[1])
        result = wrapper.attribute(inp, "Rome", **options)
        assert result.by_group()["two"] > 0.9
        assert result.by_group()["none"] == 0

    def test_messages_of_a_chat(self, llm, demo):
        from copy import deepcopy

        wrapper, options = llm
        tokenizer = deepcopy(demo[1])
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}Answer:"
        chat = [
            {"role": "system", "content": "Ben lives in Oslo. Anna lives in Rome."},
            {"role": "user", "content": "Question: Where does Anna live?"},
        ]
        result = wrapper.attribute(ChatInput(chat, tokenizer), "Rome", **options)
        assert result.pieces[result.seq_attr.argmax()].strip() == "Rome"
        assert sum(result.by_group().values()) == pytest.approx(1, abs=1e-4)

    def test_several_tokens_and_whole_answers(self, llm, demo):
        wrapper, options = llm
        inp = TextInput("Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Anna live?\nAnswer:", demo[1])
        each = wrapper.attribute(inp, "Rome.", **options)
        assert each.token_attr.sum(-1).tolist() == pytest.approx([1] * len(each.token_attr), abs=1e-5)
        torch.testing.assert_close(each.shares, each.token_attr)
        whole = wrapper.attribute(inp, "Rome.", per_token=False, **options)
        assert whole.token_attr is None
        assert whole.seq_attr.sum().item() == pytest.approx(1, abs=1e-5)


def test_the_root_of_the_curvature_takes_fewer_gradients():
    assert TargetedOptions().products("fisher") == 4
    assert TargetedOptions(rank=9).products("fisher") == 9
    assert TargetedOptions().products("low_rank") == HETAOptions().products("low_rank") == 64
    assert HETAOptions().products("fisher") == 8
    model, ids = tiny_model("llama"), torch.arange(5, 30)[None]
    (few, seldom), (many, often) = (
        TargetedHETA(model).attribute(ids, return_terms=True, **o) for o in ({}, {"rank": 64})
    )
    assert spearman(few, many) > 0.97
    assert not torch.equal(seldom.curvature, often.curvature)
