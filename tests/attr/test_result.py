"""A result as a thing to look at and to keep."""

import json

import matplotlib as mpl
import pytest
import torch
from captum.attr import TextTemplateInput, TextTokenInput

from captum_heta import (
    HETA,
    ChatInput,
    Comparison,
    DocumentsInput,
    LLMTokenAttribution,
    LLMTokenAttributionResult,
    TextInput,
)
from captum_heta.attr import ContextCite, ReAGent
from captum_heta.attr.result_view import NOTEBOOK_ROWS, unlikely_note

PROMPT = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
mpl.use("Agg")


@pytest.fixture(scope="module")
def llm(demo):
    return LLMTokenAttribution(HETA(demo[0]), demo[1])


@pytest.fixture(scope="module")
def result(llm, demo):
    return llm.attribute(TextInput(PROMPT, demo[1]), " Oslo.", curvature="fisher", rank=8)


@pytest.fixture(scope="module")
def documents(llm, demo):
    texts = {"register": "Anna lives in Rome. Ben lives in Oslo.", "menu": "Ben likes to eat rice."}
    inp = DocumentsInput(texts, "Where does Ben live?", demo[1], by="sentence")
    return llm.attribute(inp, " Oslo", curvature="fisher", rank=8)


class TestShares:
    def test_each_output_has_one_in_all(self, result):
        assert result.shares.shape == result.token_attr.shape
        torch.testing.assert_close(result.shares.sum(1), torch.ones(2))
        torch.testing.assert_close(result.shares[1] * result.token_attr[1].sum(), result.token_attr[1])

    def test_zeros_stay_and_signs_count_by_magnitude(self):
        rows = torch.tensor([[0.0, 0.0], [1.0, -3.0]])
        made = LLMTokenAttributionResult(
            seq_attr=rows.sum(0), token_attr=rows, input_tokens=["a", "b"], output_tokens=["c", "d"]
        )
        assert made.shares.tolist() == [[0.0, 0.0], [0.25, -0.75]]

    def test_an_unlikely_token_drowns_no_other(self):
        rows = torch.tensor([[1000.0, 0.0], [0.0, 1.0]])
        made = LLMTokenAttributionResult(
            seq_attr=rows.sum(0), token_attr=rows, input_tokens=["a", "b"], output_tokens=["c", "d"]
        )
        assert dict(made.titled_rows(shares=True))["whole output"] == [0.5, 0.5]

    def test_a_whole_output_has_one_row(self, demo):
        found = LLMTokenAttribution(ContextCite(demo[0]), demo[1]).attribute(TextInput(PROMPT, demo[1]), " Oslo")
        assert found.token_attr is None
        assert found.shares.shape == (1, len(found.input_tokens))


def test_knows_its_prompt_and_where_each_feature_is(result):
    assert result.prompt == PROMPT
    assert "".join(result.pieces) == PROMPT
    assert result.target == " Oslo."
    assert result.method == "HETA"


@pytest.mark.parametrize("kind", [TextTokenInput, TextInput])
def test_so_does_one_of_captums_inputs(llm, demo, kind):
    found = llm.attribute(kind("Ben lives", demo[1]), " in", curvature="fisher", rank=2)
    assert found.prompt == "Ben lives"
    assert found.pieces[-2:] == ["Ben", " lives"]


def test_data_frame(result, documents):
    frame = result.to_dataframe()
    assert list(frame.columns) == ["feature", "all", *result.output_tokens]
    assert frame["all"].tolist() == result.seq_attr.tolist()
    assert "".join(frame["feature"]) == PROMPT
    assert result.to_dataframe(shares=True)["all"].sum() == pytest.approx(1)
    assert documents.to_dataframe()["group"].tolist() == ["register", "register", "menu"]


class TestProvenance:
    def test_says_what_ran(self, result):
        about = result.provenance
        assert about["model"] == "captum_heta.demo"
        assert about["class"] == "LlamaForCausalLM"
        assert about["curvature"] == "fisher"
        assert 2 <= about["products"] <= 2 * 8  # of two outputs, as few gradients as cover the matrix
        assert 0 < about["omitted"] < 0.2
        assert 0 < about["curvature_error"] < 0.5
        assert about["passes"] == len(result.seq_attr)  # a sum needs them all
        assert about["options"] == {"curvature": "fisher", "rank": 8, "num_trials": 1, "seed": 0}
        assert set(about["versions"]) == {"captum_heta", "captum", "numpy", "torch", "transformers"}
        assert about["seconds"] > 0
        assert about["date"].startswith("20")

    def test_auto_is_the_mode_that_was_chosen(self, llm, demo):
        short = llm.attribute(TextInput("Ben", demo[1]), " lives").provenance
        assert (short["curvature"], short["products"]) == ("exact", 10)
        long = llm.attribute(TextInput(PROMPT, demo[1]), " Oslo", rank=4).provenance
        assert (long["curvature"], long["products"]) == ("low_rank", 4)

    def test_products_are_counted_over_trials(self, llm, demo):
        found = llm.attribute(TextInput("Ben", demo[1]), " lives", num_trials=3, curvature="gauss_newton", n_samples=2)
        assert found.provenance["products"] == 6

    def test_other_methods_have_their_options(self, demo):
        llm = LLMTokenAttribution(ReAGent(demo[0]), demo[1])
        about = llm.attribute(TextInput("Ben", demo[1]), " lives", n_probes=2, max_steps=1).provenance
        assert about["method"] == "ReAGent"
        assert about["options"] == {"n_probes": 2, "max_steps": 1, "num_trials": 1, "seed": 0}

    def test_is_in_files(self, result, tmp_path):
        result.save(tmp_path / "a.json")
        assert json.loads((tmp_path / "a.json").read_text())["provenance"] == result.provenance
        assert "captum_heta.demo" in result.to_html()


class TestSaved:
    @pytest.mark.parametrize("name", ["result", "documents"])
    def test_comes_back(self, name, request, tmp_path):
        before = request.getfixturevalue(name)
        before.save(tmp_path / "a.json")
        after = LLMTokenAttributionResult.load(tmp_path / "a.json")
        for field in ("seq_attr", "token_attr", "output_probs"):
            torch.testing.assert_close(getattr(after, field), getattr(before, field).cpu())
        torch.testing.assert_close(after.terms, before.terms)
        for field in "prompt places target method groups provenance input_tokens output_tokens".split():
            assert getattr(after, field) == getattr(before, field), field
        assert after.to_html() == before.to_html()
        after.save(tmp_path / "b.json")
        assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": 2}, "format must be 1, got 2"),
            ({"prompt": 3}, "prompt must be text, got 3"),
            ({"places": []}, "places must be a list for each of the"),
            ({"seq_attr": [1]}, "seq_attr in it must be a list of"),
            ({"groups": ["a"]}, "groups must be one for each of the"),
        ],
    )
    def test_other_files_are_refused(self, result, tmp_path, change, message):
        result.save(tmp_path / "a.json")
        record = json.loads((tmp_path / "a.json").read_text()) | change
        (tmp_path / "a.json").write_text(json.dumps(record))
        with pytest.raises(ValueError, match="is no result saved by captum_heta: ") as caught:
            LLMTokenAttributionResult.load(tmp_path / "a.json")
        assert message in str(caught.value)

    def test_a_result_without_a_prompt_cannot_be_saved(self, tmp_path):
        bare = LLMTokenAttributionResult(seq_attr=torch.ones(1), input_tokens=["a"], output_tokens=["b"])
        with pytest.raises(ValueError, match="does not know its prompt"):
            bare.save(tmp_path / "a.json")
        assert not (tmp_path / "a.json").exists()
        assert bare._repr_html_() is None
        assert bare.target == "b"


class TestHtml:
    def test_has_a_text_for_the_whole_and_for_each_output_with_its_probability(self, result):
        page = result.to_html()
        assert page.count('<p dir="auto"') == 3
        for label in ("whole output", *result.output_labels):
            assert label in page
        assert f"probability {result.output_probs.prod().item():.3g}" in page
        assert "<script" not in page

    def test_a_single_output_has_one(self, documents):
        assert documents.to_html().count('<p dir="auto"') == 1

    def test_documents_have_their_shares_in_percent(self, documents):
        shares = documents.by_group()
        assert set(shares) == {"register", "menu"}
        assert sum(shares.values()) == pytest.approx(1)
        page = documents._repr_html_()
        for name, share in shares.items():
            assert f'<th scope="row">{name}</th><td>{share:.0%}</td>' in page

    def test_a_long_output_is_cut_in_a_notebook_with_a_note(self, llm, demo):
        found = llm.attribute(TextInput("Ben lives", demo[1]), torch.arange(5, 25), curvature="fisher", rank=1)
        notebook = found._repr_html_()
        assert notebook.count('<p dir="auto"') == NOTEBOOK_ROWS + 1
        assert f"The first {NOTEBOOK_ROWS} of 20 output tokens; to_html() has all." in notebook
        assert found.to_html().count('<p dir="auto"') == 21

    def test_without_documents_there_are_no_shares_of_them(self, result):
        with pytest.raises(ValueError, match="no documents or messages"):
            result.by_group()


def test_messages_of_a_chat_are_groups(llm, demo):
    demo[1].chat_template = "{% for m in messages %}{{ bos_token + m['content'] }}{% endfor %}"
    chat = ChatInput([{"role": "system", "content": "Be short."}, {"role": "user", "content": PROMPT}], demo[1])
    found = llm.attribute(chat, " Oslo", curvature="fisher", rank=2)
    assert set(found.by_group()) == {"0 system", "1 user"}
    demo[1].chat_template = None


def test_an_unlikely_output_is_told(llm, demo, result):
    assert unlikely_note(result) == []
    found = llm.attribute(TextInput(PROMPT, demo[1]), " trombone", curvature="fisher", rank=2)
    (note,) = unlikely_note(found)
    assert "unlikely (trombone" in note
    assert "unlikely" in found.to_html()


class TestPlots:
    def test_need_no_spans(self, result):
        for plot in (result.plot_text, result.plot_terms, result.plot_heat_map):
            figure, _ = plot()
            mpl.pyplot.close(figure)

    def test_say_how_likely_each_output_was(self, result):
        figure, ax = result.plot_heat_map()
        labels = [label.get_text() for label in ax.get_yticklabels()]
        expected = [
            f"{token} ({p:.2g})" for token, p in zip(result.output_tokens, result.output_probs.tolist(), strict=True)
        ]
        assert labels == expected
        mpl.pyplot.close(figure)

    def test_can_show_shares(self, result):
        figure, ax = result.plot_heat_map(shares=True)
        torch.testing.assert_close(torch.tensor(ax.images[0].get_array()).float(), result.shares)
        mpl.pyplot.close(figure)


def test_a_template_has_the_places_of_its_values(llm):
    found = llm.attribute(TextTemplateInput("{} lives in {}. {} lives in", ["Ben", "Oslo", "Ben"]), " Oslo", rank=4)
    assert found.pieces == ["Ben", "Oslo", "Ben"]
    assert found.groups is None


def test_pictures_and_pages_can_show_shares():
    """Of two outputs, the first a thousand times as large as the second; each has one feature."""
    rows = torch.tensor([[1000.0, 0.0], [0.0, 1.0]])
    given = {"seq_attr": rows.sum(0), "token_attr": rows, "input_tokens": ["a", "b"], "output_tokens": ["c", "d"]}
    made = LLMTokenAttributionResult(**given, prompt="ab", places=[[(0, 1)], [(1, 2)]], method="M")
    assert made.to_html() != made.to_html(shares=True)
    assert "largest 0.5" in made.to_html(shares=True)
    assert "largest 1e+03" in made.to_html()
    compared = Comparison("ab", [[(0, 1)], [(1, 2)]], ["a", "b"], "cd", {"M": made}, seconds={"M": 0.0})
    assert compared.matrix("shares").tolist() == [[0.5, 0.5]]
    assert compared.matrix("sum")[0, 1] < 0.01
    assert "largest 50%" in compared.to_html(shares=True)
    for plot in (made.plot_text, compared.plot):
        texts = []
        for shares in (False, True):
            figure, ax = plot(shares=shares)
            texts.append("".join(text.get_text() for text in ax.texts))
            mpl.pyplot.close(figure)
        assert "largest0.5" in texts[1].replace(" ", "")
        assert texts[0] != texts[1]
