"""What `compare` checks before the methods run, and what it keeps whatever they do."""

import threading
from types import SimpleNamespace

import pytest
import torch
from captum.attr import FeatureAblation, LayerIntegratedGradients, LLMAttribution, TextTemplateInput, TextTokenInput

from captum_heta import HETA, compare
from captum_heta.attr import NormXLogit
from captum_heta.comparison import Comparison, ComparisonInterrupt, Failure
from captum_heta.comparison.models import language_models, tightest
from captum_heta.models import record_of

PROMPT = "Ben lives in Oslo. Ben lives in"


@pytest.fixture(scope="module")
def count(tokenizer):
    return len(tokenizer.encode(PROMPT)) - 1  # without the token of the beginning


class TestLength:
    @pytest.fixture(autouse=True)
    def _never_run(self, model, monkeypatch):
        self.positions = model.config.max_position_embeddings
        monkeypatch.setattr(model, "forward", lambda *_, **__: pytest.fail("the model runs"))

    @pytest.mark.parametrize("kind", ["text", "tokens", "template"])
    @pytest.mark.parametrize("target", [" Oslo", None])
    def test_a_long_prompt_is_refused_for_all_methods(self, kind, target, model, tokenizer, monkeypatch):
        text = "Ben lives in Oslo. " * 200
        inp = {
            "text": text,
            "tokens": TextTokenInput(text, tokenizer),
            "template": TextTemplateInput("{} " + text, ["Anna"]),
        }[kind]
        monkeypatch.setattr("captum_heta.inputs.text.token_spans", lambda *_: pytest.fail("places are looked for"))
        methods = {"plain": lambda *_: pytest.fail("a method runs"), "A": FeatureAblation(model), "H": HETA(model)}
        with pytest.raises(ValueError, match=f"tokens, more than the {self.positions} positions of LlamaForCausalLM"):
            compare(methods, tokenizer, inp, target)

    def test_so_are_prompt_and_target_together(self, model, tokenizer):
        ids = tokenizer.encode(PROMPT)
        room = self.positions - len(ids) + 1  # the last token of a target is not read
        with pytest.raises(ValueError, match=f"have {self.positions + 1} tokens, more than the {self.positions} pos"):
            compare({"A": NormXLogit(model)}, tokenizer, PROMPT, torch.full((room + 1,), 5))
        found = compare({"A": lambda *_: 1 / 0}, tokenizer, PROMPT, torch.full((room,), 5))
        assert list(found.failures) == ["A"]

    def test_methods_without_a_model_have_no_limit(self, tokenizer):
        text = "Ben" + " lives" * 2 * self.positions
        methods = {"A": lambda prompt, target: torch.arange(2.0 * self.positions + 1)}
        assert compare(methods, tokenizer, text, " Oslo").names == ["A"]

    def test_the_smallest_of_several_models_counts(self, model):
        config = SimpleNamespace(config=3)
        assert tightest(language_models([HETA(model), config, print])).model is model
        assert tightest(language_models([print, SimpleNamespace(model="gpt")])) is None


def test_all_positions_can_be_used(model, tokenizer):
    text = "Ben" + " Oslo" * (model.config.max_position_embeddings - 2)
    found = compare({"A": NormXLogit(model)}, tokenizer, text, " Oslo")
    assert not found.failures
    # and nothing is generated past them
    generated = compare({"A": NormXLogit(model)}, tokenizer, text)
    assert not generated.failures
    assert len(generated.results["A"].output_tokens) == 1


def test_nothing_to_attribute_to_is_told(model, tokenizer):
    for inp in ("", TextTemplateInput("Ben lives in", [])):
        with pytest.raises(ValueError, match="The prompt has nothing to attribute the output to"):
            compare({"A": NormXLogit(model)}, tokenizer, inp, " Oslo")


class TestInterruption:
    def methods(self, model):
        def stop(prompt, target):
            raise KeyboardInterrupt

        return {"A": NormXLogit(model), "B": lambda *_: 1 / 0, "C": stop, "D": NormXLogit(model)}

    def test_what_was_computed_is_in_the_error(self, model, tokenizer):
        with pytest.raises(KeyboardInterrupt, match="Interrupted after A: what was computed is in the attr") as caught:
            compare(self.methods(model), tokenizer, PROMPT, " Oslo")
        assert type(caught.value) is ComparisonInterrupt
        found = caught.value.comparison
        assert found.names == ["A"]
        assert found.failures["B"].kind == "ZeroDivisionError"
        assert found.failures["C"] == found.failures["D"] == Failure("KeyboardInterrupt", "interrupted")
        assert set(found.seconds) == set("ABCD")
        assert found.seconds["D"] == 0

    def test_and_can_be_shown_and_saved(self, model, tokenizer, tmp_path):
        with pytest.raises(ComparisonInterrupt) as caught:
            compare(self.methods(model), tokenizer, PROMPT, " Oslo")
        found = caught.value.comparison
        assert "KeyboardInterrupt: interrupted" in found.to_html()
        found.save(tmp_path / "a.json")
        assert Comparison.load(tmp_path / "a.json").failures == found.failures

    def test_one_between_two_methods_keeps_the_first(self, model, tokenizer, monkeypatch):
        class Bar:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                return None

            def update(self, count):
                raise KeyboardInterrupt

        monkeypatch.setattr("captum_heta.comparison.run.NullProgress", Bar)
        with pytest.raises(ComparisonInterrupt) as caught:
            compare({"A": NormXLogit(model), "B": NormXLogit(model)}, tokenizer, PROMPT, " Oslo")
        assert caught.value.comparison.names == ["A"]
        assert list(caught.value.comparison.failures) == ["B"]


class TestScores:
    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e300])
    def test_that_are_not_finite_fail_beside_the_others(self, bad, model, tokenizer, count, tmp_path):
        scores = torch.ones(count, dtype=torch.float64)
        scores[1] = bad
        methods = {"bad": lambda *_: scores, "A": NormXLogit(model), "B": NormXLogit(model)}
        found = compare(methods, tokenizer, PROMPT, " Oslo")
        assert found.failures == {"bad": Failure("ValueError", "its scores are not finite.")}
        assert found.names == ["A", "B"]
        assert found.matrix().isfinite().all()
        torch.testing.assert_close(found.spearman(), torch.ones(2, 2))
        assert "its scores are not finite" in found.to_html()
        found.plot()
        found.save(tmp_path / "a.json")
        assert Comparison.load(tmp_path / "a.json").names == ["A", "B"]

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("token_attr", lambda count: torch.full((1, count), float("nan")), "its scores are not finite."),
            ("output_probs", lambda _: torch.tensor([float("inf")]), "its probabilities are not finite."),
            ("_seq_attr", lambda _: torch.zeros(2), "expected a score for each of the {} features, got (2,)."),
            ("_seq_attr", lambda count: torch.ones(count, dtype=torch.complex64), "its scores are not finite."),
        ],
    )
    def test_of_all_that_a_result_has(self, field, value, message, model, tokenizer, count):
        class Odd(LLMAttribution):
            def attribute(self, *arguments, **options):
                result = super().attribute(*arguments, **options)
                setattr(result, field, value(count))
                return result

        methods = {"odd": Odd(FeatureAblation(model), tokenizer), "A": NormXLogit(model)}
        found = compare(methods, tokenizer, PROMPT, " Oslo")
        assert found.failures["odd"].message == message.format(count)
        assert found.names == ["A"]

    def test_as_large_as_float32_has_are_scaled(self, made):
        found = made(["a", "b"], {"A": [3e38, -3e38], "B": [0.0, 0.0]})
        assert found.matrix().tolist() == [[0.5, -0.5], [0.0, 0.0]]
        assert found.matrix("max")[0].tolist() == [1, -1]


def test_captums_methods_run_while_nobody_changes_the_model(model, tokenizer, monkeypatch):
    free = []

    def seen(forward):
        def look(*arguments, **options):
            def another():
                lock = record_of(model).lock
                free.append(lock.acquire(blocking=False))
                if free[-1]:
                    lock.release()

            thread = threading.Thread(target=another)
            thread.start()
            thread.join()
            return forward(*arguments, **options)

        return look

    monkeypatch.setattr(model, "forward", seen(model.forward))
    methods = {"A": FeatureAblation(model), "I": LayerIntegratedGradients(model, model.get_input_embeddings())}
    found = compare(methods, tokenizer, "Ben lives in", " Oslo", options={"I": {"n_steps": 2}})
    assert not found.failures
    assert free
    assert not any(free)
    assert record_of(model).lock.acquire(blocking=False)
    record_of(model).lock.release()


def test_a_model_that_is_not_of_transformers_has_no_lock(tokenizer, model):
    class Plain(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids, **_):
            return SimpleNamespace(logits=model(input_ids).logits)

    found = compare({"A": FeatureAblation(Plain())}, tokenizer, "Ben lives in", " Oslo")
    assert not found.failures
    expected = compare({"A": FeatureAblation(model)}, tokenizer, "Ben lives in", " Oslo")
    assert torch.equal(found.results["A"].seq_attr, expected.results["A"].seq_attr)
