import matplotlib as mpl
import pytest
import torch
from captum.attr import FeatureAblation, LLMAttribution, LLMAttributionResult, TextTemplateInput, TextTokenInput
from captum.attr import visualization as viz
from transformers import ByT5Tokenizer

from captum_heta import HETA, LLMTokenAttribution
from captum_heta.attr import HETATerms
from captum_heta.testing.architectures import tiny_model

mpl.use("Agg")
PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"


@pytest.fixture(scope="module")
def llm(demo):
    model, tokenizer = demo
    return LLMTokenAttribution(HETA(model), tokenizer)


@pytest.fixture(scope="module")
def tokens(demo):
    return TextTokenInput(PROMPT, demo[1], skip_tokens=["<s>"])


@pytest.fixture(scope="module")
def result(llm, tokens):
    return llm.attribute(tokens, target=" Oslo.", n_samples=2)


def test_is_captums_interface(llm, result):
    assert isinstance(llm, LLMAttribution)
    assert isinstance(result, LLMAttributionResult)
    with pytest.raises(NotImplementedError):
        llm.attribute_future()


def test_shapes_and_sums(demo, tokens, result):
    count = len(demo[1].encode(" Oslo.", add_special_tokens=False))
    assert result.token_attr.shape == (count, tokens.n_itp_features)
    assert all(term.shape == result.token_attr.shape for term in result.terms)
    assert isinstance(result.terms, HETATerms)
    torch.testing.assert_close(result.seq_attr, result.token_attr.sum(0))
    torch.testing.assert_close(result.token_attr, result.terms.combine(0.5, 0.5))


def test_labels_are_captums(demo, tokens, result):
    model, tokenizer = demo
    captum = LLMAttribution(FeatureAblation(model), tokenizer).attribute(tokens, target=" Oslo.")
    assert result.input_tokens == captum.input_tokens
    assert result.output_tokens == captum.output_tokens
    assert result.seq_attr.shape == captum.seq_attr.shape


def test_each_output_token_has_a_label_though_the_output_does_not_encode_back(demo, llm, tokens):
    emoji = demo[1].encode("\N{GRINNING FACE}", add_special_tokens=False)
    outputs = torch.tensor([emoji[1], emoji[0], emoji[1]])  # bytes that are no text
    assert demo[1].encode(demo[1].decode(outputs), add_special_tokens=False) != outputs.tolist()
    labels = llm.attribute(tokens, target=outputs, curvature="fisher").output_tokens
    assert len(labels) == 3


def test_output_probs_are_the_models(demo, result):
    model, tokenizer = demo
    prompt, output = tokenizer.encode(PROMPT), tokenizer.encode(" Oslo.", add_special_tokens=False)
    with torch.no_grad():
        probs = model(torch.tensor([prompt + output])).logits[0, len(prompt) - 1 : -1].softmax(-1)
    torch.testing.assert_close(result.output_probs, probs[range(len(output)), output])


def test_skipped_tokens_are_context_and_no_features(demo, llm, tokens, result):
    whole = llm.attribute(TextTokenInput(PROMPT, demo[1]), target=" Oslo.", n_samples=2)
    # the same gate and information, without the column of <s>; the probes of the other tokens are other draws
    torch.testing.assert_close(whole.terms.semantic_flow[:, 1:], result.terms.semantic_flow)
    torch.testing.assert_close(whole.terms.information[:, 1:], result.terms.information)
    assert whole.terms.semantic_flow[0].sum().item() == pytest.approx(1.0)
    assert result.terms.semantic_flow[0].sum().item() < 1.0


def test_method_works_alone_after_it_was_wrapped(demo):
    model, tokenizer = demo
    heta = HETA(model)
    ids = torch.tensor([tokenizer.encode(PROMPT)])
    expected = heta.attribute(ids, n_samples=1)
    wrapped = LLMTokenAttribution(heta, tokenizer)
    assert heta.forward_func is model
    assert wrapped.attr_method.model is model
    assert torch.equal(heta.attribute(ids, n_samples=1), expected)
    # and so does Captum's own, beside it
    assert wrapped.model is model


class TestTargets:
    def test_text_and_ids_are_the_same(self, demo, llm, tokens, result):
        ids = torch.tensor(demo[1].encode(" Oslo.", add_special_tokens=False))
        assert torch.equal(llm.attribute(tokens, target=ids, n_samples=2).token_attr, result.token_attr)

    def test_generated(self, demo, llm, tokens):
        found = llm.attribute(tokens, gen_args={"max_new_tokens": 2, "do_sample": False}, n_samples=1)
        assert found.token_attr.shape[0] == len(found.output_tokens) == 2

    def test_generated_by_default(self, llm, tokens):
        found = llm.attribute(tokens, n_samples=1, curvature="fisher", rank=1)
        assert 1 <= len(found.output_tokens) <= 25

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            ("", "The target '' encodes to no token"),
            (torch.zeros(0, dtype=torch.long), "encodes to no token"),
            (torch.zeros(1, 2, dtype=torch.long), r"token ids of shape \(K,\), got a tensor of shape \(1, 2\)"),
            (torch.tensor([100_000]), "target has token id 100000, outside the vocabulary"),
        ],
    )
    def test_errors(self, llm, tokens, target, message):
        with pytest.raises(ValueError, match=message):
            llm.attribute(tokens, target=target)

    def test_text_for_another_type(self, llm, tokens):
        with pytest.raises(TypeError, match="target must either be str or Tensor"):
            llm.attribute(tokens, target=3)

    def test_gen_args_with_a_target(self, llm, tokens):
        with pytest.raises(ValueError, match="not both"):
            llm.attribute(tokens, target=" Oslo", gen_args={"max_new_tokens": 1})

    def test_model_that_generates_nothing(self, demo, llm, tokens, monkeypatch):
        monkeypatch.setattr(type(demo[0]), "generate", lambda self, input_ids, **kwargs: input_ids)
        with pytest.raises(ValueError, match="The model generated nothing"):
            llm.attribute(tokens)


class TestErrors:
    def test_empty_prompt(self, demo, llm):
        class NoSpecial(ByT5Tokenizer):
            def encode(self, text, **kwargs):
                return torch.zeros(1, 0, dtype=torch.long)

        with pytest.raises(ValueError, match="The prompt is empty"):
            llm.attribute(TextTokenInput("", NoSpecial()), target=" Oslo")

    def test_nothing_but_skipped_tokens(self, demo, llm):
        for inp in (TextTokenInput("", demo[1], skip_tokens=["<s>"]), TextTemplateInput("text", [])):
            with pytest.raises(ValueError, match="The prompt has nothing to attribute the output to"):
                llm.attribute(inp, target=" Oslo")

    def test_captums_methods_go_into_captums_wrappers(self, demo):
        with pytest.raises(TypeError, match="got FeatureAblation; Captum's own methods go into"):
            LLMTokenAttribution(FeatureAblation(demo[0]), demo[1])

    def test_probabilities_are_not_explained(self, demo):
        with pytest.raises(ValueError, match="attr_target must be 'log_prob', got 'prob'"):
            LLMTokenAttribution(HETA(demo[0]), demo[1], attr_target="prob")

    def test_other_inputs(self, llm):
        with pytest.raises(TypeError, match="TextTokenInput or a TextTemplateInput, got str"):
            llm.attribute("text", target=" Oslo")

    def test_unknown_option(self, llm, tokens):
        with pytest.raises(TypeError, match="n_steps"):
            llm.attribute(tokens, target=" Oslo", n_steps=50)

    @pytest.mark.parametrize("mask", [torch.zeros(3, dtype=torch.long), torch.zeros(30)])
    def test_feature_mask(self, llm, tokens, mask):
        with pytest.raises(ValueError, match="feature_mask must have one integer for each of the"):
            llm.attribute(tokens, target=" Oslo", feature_mask=mask)


class TestOptionsReachTheMethod:
    def test_weights(self, llm, tokens, result):
        found = llm.attribute(tokens, target=" Oslo.", n_samples=2, beta=0.0, gamma=1.0)
        torch.testing.assert_close(found.token_attr, result.terms.combine(0.0, 1.0))

    def test_baselines(self, llm, tokens, result):
        found = llm.attribute(tokens, target=" Oslo.", n_samples=2, baselines="mean")
        assert not torch.allclose(found.terms.information, result.terms.information)

    def test_trials(self, llm, tokens, result):
        found = llm.attribute(tokens, target=" Oslo.", n_samples=2, num_trials=2)
        assert not torch.allclose(found.terms.curvature, result.terms.curvature)
        assert torch.equal(found.terms.information, result.terms.information)

    def test_trials_of_none(self, llm, tokens):
        with pytest.raises(ValueError, match="num_trials must be at least 1"):
            llm.attribute(tokens, target=" Oslo", num_trials=0)

    def test_captums_ways_of_decoding_lead_to_the_same(self, llm, tokens, result):
        for options in ({"use_cached_outputs": False}, {"forward_in_tokens": False}):
            assert torch.equal(
                llm.attribute(tokens, target=" Oslo.", n_samples=2, **options).token_attr, result.token_attr
            )

    def test_inspection(self, llm, tokens, result):
        seen = []
        llm.attribute(tokens, target=" Oslo.", n_samples=2, _inspect_forward=lambda *values: seen.append(values))
        ((prompt, response, probs),) = seen
        assert PROMPT in prompt
        assert response == " Oslo."
        assert probs == pytest.approx([result.output_probs.prod().item(), *result.output_probs.tolist()])

    def test_feature_mask_groups_features(self, llm, tokens, result):
        mask = torch.arange(tokens.n_itp_features) // 3
        found = llm.attribute(tokens, target=" Oslo.", n_samples=2, feature_mask=mask[None])
        assert found.token_attr.shape == result.token_attr.shape
        assert torch.equal(found.token_attr[:, 0], found.token_attr[:, 2])
        flow = result.terms.semantic_flow
        torch.testing.assert_close(found.terms.semantic_flow[:, 0], flow[:, :3].sum(1))


class TestWholeAnswer:
    def test_has_a_sequence_attribution_only(self, llm, tokens, result):
        found = llm.attribute(tokens, target=" Oslo.", n_samples=2, per_token=False)
        assert found.token_attr is None
        assert found.seq_attr.shape == result.seq_attr.shape
        assert all(term.shape == (1, tokens.n_itp_features) for term in found.terms)
        torch.testing.assert_close(found.seq_attr, found.terms.combine(0.5, 0.5)[0])
        torch.testing.assert_close(found.terms.information[0], result.terms.information.sum(0))
        assert found.output_tokens == result.output_tokens
        torch.testing.assert_close(found.output_probs, result.output_probs)
        found.plot_seq_attr()

    def test_of_one_token_is_that_token(self, llm, tokens):
        alone, whole = (
            llm.attribute(tokens, target=" Oslo", n_samples=2, per_token=per_token) for per_token in (True, False)
        )
        assert torch.equal(alone.seq_attr, whole.seq_attr)

    def test_estimates_the_curvature_once(self, llm, tokens, monkeypatch):
        calls, lm = [], type(llm.attr_method._lm)
        log_probs = lm.log_probs

        def counted(*given, **named):
            calls.append(torch.is_grad_enabled())
            return log_probs(*given, **named)

        monkeypatch.setattr(lm, "log_probs", counted)
        counts = []
        for target in (" Oslo", " Oslo. Rome. Anna."):
            calls.clear()
            llm.attribute(tokens, target=target, curvature="fisher", per_token=False)
            counts.append(sum(calls))
        assert counts == [1, 1]


class TestTemplates:
    VALUES = ("Anna", "Rome", "Ben", "Oslo")

    @staticmethod
    def render(a, b, c, d):
        return f"{a} lives in {b}. {c} lives in {d}.\nQuestion: Where does Ben live?\nAnswer:"

    def columns(self, demo, value):
        """The tokens of each appearance of a value, found by their text."""
        tokenizer = demo[1]
        ids = tokenizer.encode(PROMPT)
        return [i for i, token in enumerate(ids) if tokenizer.decode([token]).strip() == value]

    @pytest.mark.parametrize("kind", ["text", "callable"])
    def test_features_are_the_tokens_of_the_values(self, demo, llm, kind):
        template = (
            "{} lives in {}. {} lives in {}.\nQuestion: Where does Ben live?\nAnswer:"
            if kind == "text"
            else self.render
        )
        found = llm.attribute(TextTemplateInput(template, list(self.VALUES)), target=" Oslo", n_samples=1)
        assert found.input_tokens == list(self.VALUES)
        whole = llm.attribute(TextTokenInput(PROMPT, demo[1]), target=" Oslo", n_samples=1)
        for i, value in enumerate(self.VALUES):
            first = self.columns(demo, value)[0]
            torch.testing.assert_close(found.terms.semantic_flow[0, i], whole.terms.semantic_flow[0, first])
            torch.testing.assert_close(found.terms.information[0, i], whole.terms.information[0, first])

    def test_mask_groups_values(self, llm):
        values = dict(zip("abcd", self.VALUES, strict=True))
        inp = TextTemplateInput(self.render, values, mask={"a": 0, "b": 0, "c": 1, "d": 1})
        found = llm.attribute(inp, target=" Oslo", n_samples=1)
        assert found.token_attr.shape == (1, 4)
        assert found.token_attr[0, 0] == found.token_attr[0, 1]
        assert found.terms.curvature[0, 2] == found.terms.curvature[0, 3]
        single = llm.attribute(TextTemplateInput(self.render, values), target=" Oslo", n_samples=1)
        torch.testing.assert_close(found.terms.semantic_flow[0, 0], single.terms.semantic_flow[0, :2].sum())

    def test_empty_value_scores_zero(self, llm):
        found = llm.attribute(TextTemplateInput("{}Ben lives in {}.", ["", "Oslo"]), target=" Ben", n_samples=1)
        assert found.seq_attr[0] == 0
        assert found.seq_attr[1] > 0

    def test_tokenizer_without_offsets(self):
        # one token a byte: a value has as many tokens as bytes
        llm = LLMTokenAttribution(HETA(tiny_model("llama", vocab_size=400)), ByT5Tokenizer())
        inp = TextTemplateInput("{} met {}.", ["Zoë 🙂", "Al"])
        found = llm.attribute(inp, target="ok", n_samples=1)
        tokens = llm.attribute(TextTokenInput(inp.to_model_input(), ByT5Tokenizer()), target="ok", n_samples=1)
        flow, first = tokens.terms.semantic_flow, len("Zoë 🙂".encode())
        torch.testing.assert_close(found.terms.semantic_flow[:, 0], flow[:, :first].sum(1))
        torch.testing.assert_close(found.terms.semantic_flow[:, 1], flow[:, first + len(" met ") :][:, :2].sum(1))
        assert found.output_tokens == ["o", "k"]


class TestPictures:
    def test_plots(self, result):
        figure, _ = result.plot_token_attr()
        assert figure.axes
        figure, _ = result.plot_seq_attr()
        assert figure.axes

    def test_captums_text_visualization(self, result):
        record = viz.VisualizationDataRecord(
            result.seq_attr / result.seq_attr.max(),
            0.9,
            "Oslo",
            "Oslo",
            "Oslo",
            result.seq_attr.sum(),
            result.input_tokens,
            0.0,
        )
        assert "Oslo" in viz.visualize_text([record]).data


class TestLabels:
    def test_repeated_tokens_are_kept_apart(self, demo, llm):
        inp = TextTokenInput("Anna and Anna and Anna", demo[1])
        result = llm.attribute(inp, torch.tensor([5]), curvature="fisher")
        assert len(result.seq_attr_dict) == len(result.input_tokens)
        assert list(result.seq_attr_dict.values()) == result.seq_attr.tolist()
        assert len(set(result.input_tokens)) < len(result.input_tokens)

    def test_dollar_signs_are_no_formulas(self, llm):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
        result = llm.attribute(
            TextTemplateInput("{} and {}", [r"$\frac{x$", "b"]), torch.tensor([5]), curvature="fisher"
        )
        for plot in (result.plot_token_attr, result.plot_seq_attr):
            figure, axes = plot()
            figure.canvas.draw()  # Captum's own raises here
            assert any("frac" in label.get_text() for label in axes.get_xticklabels())
            matplotlib.pyplot.close(figure)

    def test_numbers_are_labels_as_they_are_written_in_python(self, llm):
        inp = TextTemplateInput("{:.2f} and {:d} is", [1.5, 2], baselines=[0.0, 0])
        result = llm.attribute(inp, torch.tensor([5]), curvature="fisher")
        assert result.input_tokens == ["1.5", "2"]
        assert (result.seq_attr > 0).all()

    def test_float_targets_are_not_cut(self, llm, tokens):
        with pytest.raises(ValueError, match="target must be token ids, an integer tensor, got torch.float32"):
            llm.attribute(tokens, torch.tensor([5.7]))
