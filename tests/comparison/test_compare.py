from html.parser import HTMLParser

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    LayerIntegratedGradients,
    LLMAttribution,
    Saliency,
    TextTemplateInput,
    TextTokenInput,
)

from captum_heta import HETA, LLMTokenAttribution, compare
from captum_heta.attr import ContextCite, NormXLogit
from captum_heta.comparison import Comparison
from captum_heta.methods import METHODS, named_methods

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
QUICK = {"curvature": "fisher", "n_samples": 2, "rank": 8}


@pytest.fixture(scope="module")
def tokens(tokenizer):
    return TextTokenInput(PROMPT, tokenizer, skip_tokens=["<s>"])


def overlap(prompt, target):
    """A method outside Captum, that knows nothing of the model: how many letters a word shares with the target."""
    words = [word for part in prompt.split("\n") for word in part.replace(".", " .").split()]
    return [len(set(word) & set(target)) for word in words]


@pytest.fixture(scope="module")
def found(model, tokenizer, tokens):
    embeddings = model.get_input_embeddings()
    methods = {
        "HETA": HETA(model),
        "IG": LayerIntegratedGradients(model, embeddings),
        "Ablation": LLMAttribution(FeatureAblation(model), tokenizer),
        "NormXLogit": LLMTokenAttribution(NormXLogit(model), tokenizer),
        "broken": lambda prompt, target: 1 / 0,
        "length": lambda prompt, target: torch.arange(float(tokens.n_itp_features)),
    }
    return compare(methods, tokenizer, tokens, " Oslo", options={"HETA": QUICK, "IG": {"n_steps": 5}})


def test_results_are_those_of_the_methods_alone(found, model, tokenizer, tokens):
    alone = {
        "HETA": LLMTokenAttribution(HETA(model), tokenizer).attribute(tokens, " Oslo", **QUICK),
        "Ablation": LLMAttribution(FeatureAblation(model), tokenizer).attribute(tokens, " Oslo"),
        "NormXLogit": LLMTokenAttribution(NormXLogit(model), tokenizer).attribute(tokens, " Oslo"),
    }
    for name, expected in alone.items():
        result = found.results[name]
        assert type(result) is type(expected)
        torch.testing.assert_close(result.seq_attr, expected.seq_attr)
        torch.testing.assert_close(result.token_attr, expected.token_attr)
        assert result.input_tokens == expected.input_tokens
        assert result.output_tokens == expected.output_tokens
    assert found.results["HETA"].terms is not None


def test_a_plain_function_stands_in_the_table(found, tokens):
    assert found.results["length"].seq_attr.tolist() == list(range(tokens.n_itp_features))
    assert found.names == ["HETA", "IG", "Ablation", "NormXLogit", "length"]


def test_a_method_that_fails_stops_nothing_and_says_why(found):
    assert str(found.failures["broken"]) == "ZeroDivisionError: division by zero"
    assert (
        list(found.seconds) == ["HETA", "IG", "Ablation", "broken", "NormXLogit", "length"] or len(found.seconds) == 6
    )


def test_the_order_of_the_methods_changes_nothing(model, tokenizer, tokens):
    methods = named_methods(["gxa", "normxlogit", "tdd", "contextcite", "shapley"], model)
    drawing = "Shapley Value Sampling"  # which draws from torch's global state, however few orders
    options = {drawing: {"n_samples": 1}}
    one, other = (
        compare(dict(order), tokenizer, tokens, " Oslo", options=options)
        for order in (methods.items(), [*methods.items()][::-1])
    )
    assert one.names == other.names[::-1]
    for name in one.names:
        if name != drawing:
            assert torch.equal(one.results[name].seq_attr, other.results[name].seq_attr), name


def test_text_stands_for_its_tokens_without_special_ones(model, tokenizer, tokens, found):
    given = compare({"NormXLogit": NormXLogit(model)}, tokenizer, PROMPT, " Oslo")
    torch.testing.assert_close(given.results["NormXLogit"].seq_attr, found.results["NormXLogit"].seq_attr)
    assert given.tokens == found.tokens
    assert given.prompt == PROMPT


def test_tokens_are_the_text_of_the_features(found):
    assert found.tokens[:4] == ["Anna", " lives", " in", " Rome"]
    assert "".join(found.tokens) == PROMPT
    assert found.target == " Oslo"


def test_a_target_is_generated_once_for_all(model, tokenizer, tokens):
    methods = {"HETA": HETA(model), "Ablation": FeatureAblation(model)}
    own = compare(methods, tokenizer, tokens, gen_args={"max_new_tokens": 2}, options={"HETA": QUICK})
    assert own.target.startswith(" Oslo")
    assert own.results["HETA"].output_tokens == own.results["Ablation"].output_tokens
    assert len(own.results["HETA"].output_tokens) == 2


def test_templates(model, tokenizer):
    template = TextTemplateInput(
        "{} lives in {}. Ben lives in {}.\nQuestion: Where does Ben live?\nAnswer:", ["Anna", "Rome", "Oslo"]
    )
    methods = {
        "HETA": HETA(model),
        "Ablation": FeatureAblation(model),
        "IG": LayerIntegratedGradients(model, model.get_input_embeddings()),
    }
    found = compare(methods, tokenizer, template, " Oslo", options={"HETA": QUICK})
    assert found.names == ["HETA", "Ablation"]
    assert "IG" in found.failures  # Captum's gradient methods take tokens alone
    assert found.tokens == ["Anna", "Rome", "Oslo"]
    assert found.prompt == PROMPT
    assert found.matrix().argmax(1).tolist()[0] == 2


class TestNumbers:
    def made(self):
        found = Comparison("a b c", [[(0, 1)], [(2, 3)], [(4, 5)]], ["a", "b", "c"], "d")
        from captum.attr import LLMAttributionResult

        for name, scores in {"one": [1.0, 2.0, 5.0], "two": [-4.0, 1.0, 3.0], "none": [0.0, 0.0, 0.0]}.items():
            found.results[name] = LLMAttributionResult(
                input_tokens=["a", "b", "c"], output_tokens=["d"], seq_attr=torch.tensor(scores)
            )
            found.seconds[name] = 1.0
        return found

    def test_matrix(self):
        found = self.made()
        torch.testing.assert_close(
            found.matrix(), torch.tensor([[0.125, 0.25, 0.625], [-0.5, 0.125, 0.375], [0.0, 0.0, 0.0]])
        )
        torch.testing.assert_close(found.matrix("max")[1], torch.tensor([-1.0, 0.25, 0.75]))
        assert found.matrix("none")[0].tolist() == [1, 2, 5]
        with pytest.raises(ValueError, match="scale must be one of sum, max, none, shares, got 'mean'"):
            found.matrix("mean")

    def test_agreement(self):
        found = self.made()
        assert found.spearman(signed=True)[0, 1].item() == pytest.approx(1)
        assert found.spearman()[0, 1].item() == pytest.approx(-0.5)
        assert found.spearman()[0, 2].isnan()
        assert found.top_k_overlap(1).tolist()[0][:2] == [1, 0]
        assert found.top_k_overlap(1, signed=True).tolist()[0][:2] == [1, 1]

    def test_dataframe(self):
        frame = self.made().to_dataframe()
        assert list(frame.columns) == ["one", "two", "none"]
        assert list(frame.index) == ["a", "b", "c"]
        assert frame.loc["a", "two"] == -4
        assert self.made().to_dataframe("sum")["one"].sum() == pytest.approx(1)

    def test_nothing_to_show(self):
        from captum_heta.comparison import Failure

        found = Comparison("a", [[(0, 1)]], ["a"], "b", failures={"one": Failure("ValueError", "no")})
        with pytest.raises(ValueError, match=r"No method has a result. one: ValueError: no"):
            found.matrix()


def test_saved_and_loaded(found, tmp_path):
    file = tmp_path / "comparison.json"
    found.save(file)
    loaded = Comparison.load(file)
    assert loaded.prompt == found.prompt
    assert loaded.places == found.places
    assert loaded.names == found.names
    assert loaded.failures == found.failures
    assert loaded.seconds == found.seconds
    torch.testing.assert_close(loaded.matrix("none"), found.matrix("none"))
    torch.testing.assert_close(loaded.results["HETA"].token_attr, found.results["HETA"].token_attr)
    torch.testing.assert_close(loaded.results["HETA"].terms.curvature, found.results["HETA"].terms.curvature)
    errors = [comparison.results["HETA"].curvature_errors for comparison in (loaded, found)]
    torch.testing.assert_close(*errors)
    assert loaded.to_html() == found.to_html()
    # the error of a term is beside it
    assert f" \u00b1 {errors[0][0, 0]:.2g}\n" in found.to_html()
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == file.read_text()


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_page_is_one_file_without_scripts_or_network(found):
    page = Page()
    page.feed(found.to_html())
    assert {tag for tag, _ in page.tags} <= set(
        "html head meta title style body h1 h2 small p div section span table tr td th".split()
    )
    assert not any(name in attributes for _, attributes in page.tags for name in ("src", "href", "onclick", "onload"))
    text = "".join(page.text)
    assert PROMPT in text
    for name in (*found.names, "broken", "ZeroDivisionError: division by zero", "Spearman"):
        assert name in text


def test_page_shows_hostile_text_as_it_is(model, tokenizer):
    hostile = "<script>alert('1')</script> & \"ben\" lives"
    found = compare({"<b>bold</b>": NormXLogit(model), "x": lambda *_: 1 / 0}, tokenizer, hostile, " Oslo")
    page = Page()
    page.feed(found.to_html())
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert "<b>bold</b>" in "".join(page.text)


def test_plot_has_a_row_for_each_method(found):
    figure, axes = found.plot()
    shown = " ".join(text.get_text() for text in axes.texts)
    for name in found.names:
        assert name in shown
    assert figure.get_figwidth() <= 12


def test_mistakes_are_told_before_anything_runs(model, tokenizer, tokens):
    with pytest.raises(ValueError, match="There are no methods to compare"):
        compare({}, tokenizer, tokens, " Oslo")
    with pytest.raises(TypeError, match="'S' is a Saliency, which Captum does not wrap for language models"):
        compare({"S": Saliency(model)}, tokenizer, tokens, " Oslo")
    with pytest.raises(TypeError, match="'S' is a int"):
        compare({"S": 3}, tokenizer, tokens, " Oslo")
    with pytest.raises(ValueError, match="options are for 'B', which is not among the methods A"):
        compare({"A": NormXLogit(model)}, tokenizer, tokens, " Oslo", options={"B": {}})
    with pytest.raises(TypeError, match="inp must be text, a TextTokenInput or a TextTemplateInput, got int"):
        compare({"A": NormXLogit(model)}, tokenizer, 3, " Oslo")
    with pytest.raises(ValueError, match="encodes to no token"):
        compare({"A": NormXLogit(model)}, tokenizer, tokens, "")
    with pytest.raises(ValueError, match="pass them or a target, not both"):
        compare({"A": NormXLogit(model)}, tokenizer, tokens, " Oslo", gen_args={})
    with pytest.raises(ValueError, match="Without a model there is nothing to generate a target with"):
        compare({"A": overlap}, tokenizer, tokens)


def test_every_output_token_of_captums_methods_is_right(model, tokenizer, tokens):
    found = compare({"A": FeatureAblation(model)}, tokenizer, tokens, " Oslo.").results["A"]
    ids = tokens.inp_tensor[0]
    outputs = torch.tensor(tokenizer.encode(" Oslo.", add_special_tokens=False))

    def log_probs(ids):
        with torch.no_grad():
            logits = model(torch.cat([ids, outputs])[None]).logits[0, len(ids) - 1 : -1]
        return logits.log_softmax(-1).gather(1, outputs[:, None])[:, 0]

    whole = log_probs(ids)
    for feature, place in enumerate(tokens.itp_mask[0].nonzero().flatten().tolist()):
        without = ids.clone()
        without[place] = tokens.baselines
        torch.testing.assert_close(found.token_attr[:, feature], whole - log_probs(without), rtol=1e-3, atol=1e-4)


def test_a_plain_function_with_other_lengths_fails_alone(model, tokenizer, tokens):
    found = compare({"A": lambda *_: [1.0, 2.0], "B": NormXLogit(model)}, tokenizer, tokens, " Oslo")
    assert (
        found.failures["A"].message == f"expected a score for each of the {tokens.n_itp_features} features, got (2,)."
    )
    assert found.names == ["B"]


@pytest.mark.parametrize("name", METHODS)
def test_every_named_method_explains_the_embedded_model(name, model, tokenizer):
    quick = {
        "heta": QUICK, "ig": {"n_steps": 3},
        "shapley": {"n_samples": 1}, "lime": {"n_samples": 10}, "kernel_shap": {"n_samples": 10},
        "reagent": {"max_steps": 2}, "contextcite": {"n_samples": 8},
    }  # fmt: skip
    ((label, method),) = named_methods([name], model).items()
    found = compare(
        {label: method}, tokenizer, "Ben lives in Oslo. Ben lives in", " Oslo", options={label: quick.get(name, {})}
    )
    assert not found.failures


def test_unknown_names_are_told():
    with pytest.raises(ValueError, match="There is no method 'hetta'; there are heta, targeted"):
        named_methods(["heta", "hetta"], None)


def test_sentences_are_the_sources_of_context_cite(model, tokenizer, tokens):
    found = compare({"C": ContextCite(model), "T": ContextCite(model, sources="token")}, tokenizer, tokens, " Oslo")
    sentences = found.matrix("none")[0].tolist()
    starts = [PROMPT.index(part) for part in ("Anna", "Ben lives", "Question", "Answer")]
    groups = [sum(end > place for place in starts) for _, end in found.spans]
    assert len({(group, score) for group, score in zip(groups, sentences, strict=True)}) == len(set(groups))
    facts = [score for group, score in zip(groups, sentences, strict=True) if group <= 2]
    assert (
        sentences[found.tokens.index(" Oslo")] == max(facts) > min(facts)
    )  # the question, without which none matters, scores too
    assert len(set(found.matrix("none")[1].tolist())) > len(set(sentences))
    assert found.results["C"].token_attr is None
