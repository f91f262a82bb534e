"""What a model really does is found out: right numbers, or a refusal with the reason."""

import inspect

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from captum_heta import HETA, TargetedHETA
from captum_heta.attr import TDD, ContextCite, LastAttention, NormXLogit, Peering, ReAGent
from captum_heta.features import Features
from captum_heta.metrics import comprehensiveness
from captum_heta.models import CausalLM, LanguageModel, trace_of
from captum_heta.models.mixing import Attention, Others
from captum_heta.models.selfcheck import LENGTH
from captum_heta.testing import sweep
from captum_heta.testing.architectures import tiny_model
from captum_heta.testing.every_model import KINDS, every_model

IDS = torch.tensor([[2, 5, 9, 23, 7, 9, 41, 3, 12, 30, 8]])


def passes(model):
    """The passes of a model from now on, as numbers of rows and tokens."""
    seen = []

    def note(module, arguments, named):
        given = named.get("input_ids", named.get("inputs_embeds"))
        seen.append(tuple(given.shape[:2]))

    model.register_forward_pre_hook(note, with_kwargs=True)
    return seen


class TestCost:
    def test_is_a_few_short_passes_once_a_model(self):
        model = tiny_model("llama")
        seen = passes(model)
        HETA(model).attribute(IDS, target=5, curvature="fisher")
        first = list(seen)
        seen.clear()
        HETA(model).attribute(IDS, target=5, curvature="fisher")
        assert first[-len(seen) :] == seen
        # by ids twice, by embeddings, once to find the attention, without it twice, into a cache, and behind it; and
        # once more with the model's own attention
        behind = [(1, LENGTH), (1, LENGTH // 2), (1, LENGTH), (2, LENGTH // 2)]
        assert first[: -len(seen)] == [(2, LENGTH), (1, LENGTH), (1, LENGTH), (2, LENGTH), *behind]
        seen.clear()
        NormXLogit(model).attribute(IDS, target=5)
        assert seen == [(1, 11)]

    def test_is_made_again_after_the_configuration_has_changed(self):
        model = tiny_model("llama")
        HETA(model).attribute(IDS, target=5)
        model.config.is_causal = False
        if not hasattr(AutoConfig.for_model("llama"), "is_causal") and torch.equal(
            model(IDS).logits, tiny_model("llama")(IDS).logits
        ):
            pytest.skip("this transformers has no is_causal")
        with pytest.raises(TypeError, match="is not causal"):
            HETA(model).attribute(IDS, target=5)

    def test_words_are_passed_and_no_pictures(self):
        model = tiny_model("llama")
        model.config.image_token_id = 50
        with LanguageModel(model).evaluating():
            ids = LanguageModel(model).findings.ids
        assert not {0, 1, 50} & set(ids.tolist())
        assert len(set(ids.tolist())) == LENGTH

    @pytest.mark.parametrize(("vocabulary", "positions"), [(12, 64), (14, 64), (4, 64), (97, 5), (97, 2)])
    def test_small_models(self, vocabulary, positions):
        model = tiny_model("gpt2", vocab_size=vocabulary, n_positions=positions)
        ids = torch.tensor([[2, 3]])
        assert torch.isfinite(HETA(model).attribute(ids, target=2)).all()
        with LanguageModel(model).evaluating():
            found = LanguageModel(model).findings.ids
        assert len(found) == min(LENGTH, positions)
        assert (found[1:] != found[:-1]).all()

    @pytest.mark.parametrize("vocabulary", [4, 13, 14])
    def test_small_models_that_see_what_follows(self, vocabulary):
        model = tiny_model("gpt2", vocab_size=vocabulary)
        model.transformer.h[0].register_forward_pre_hook(
            lambda module, args: (args[0] + args[0].mean(1, keepdim=True), *args[1:])
        )
        with pytest.raises(TypeError, match="is not causal"):
            HETA(model).attribute(torch.tensor([[2, 3]]), target=2)


class TestCausality:
    @pytest.fixture
    def bidirectional(self):
        model = tiny_model("llama")
        # as `is_causal=False` makes them since transformers 5.2, for older ones too
        for layer in model.model.layers:
            layer.register_forward_pre_hook(
                lambda module, arguments, named: (
                    (arguments[0] + arguments[0].mean(1, keepdim=True), *arguments[1:]),
                    named,
                ),
                with_kwargs=True,
            )
        return model

    @pytest.mark.parametrize("method", [HETA, TDD, NormXLogit, Peering, LastAttention, ReAGent, ContextCite])
    def test_models_that_see_what_follows_are_refused_by_all(self, bidirectional, method):
        with pytest.raises(TypeError, match=r"LlamaForCausalLM is not causal: another last token changes .* nats"):
            method(bidirectional).attribute(IDS, target=5)

    def test_and_by_metrics(self, bidirectional):
        with pytest.raises(TypeError, match="is not causal"):
            comprehensiveness(bidirectional, IDS, torch.rand(1, 11))

    def test_fast_attention_counts_not_only_eager(self):
        # text alone goes through SDPA without a mask there, and its eager attention has one
        row = sweep.swept("vision", "paligemma")
        assert row.result in (sweep.RIGHT, sweep.REFUSED, sweep.NOT_BUILT)
        if "is not causal" in row.note:
            assert "TDD refused" in row.others


class TestEmbeddings:
    @pytest.mark.parametrize(
        ("kind", "model_type"), [("causal", "gemma3n_text"), ("causal", "gemma4_text"), ("vision", "kosmos-2.5")]
    )
    def test_models_that_read_more_than_embeddings(self, kind, model_type, built):
        built(kind, model_type)
        row = sweep.swept(kind, model_type)
        assert row.result == sweep.RIGHT, row.note

    @pytest.mark.parametrize(
        ("baselines", "form"), [(None, "zeros are"), ("mean", "a mean is"), ("vocabulary", "a mean is")]
    )
    def test_masks_that_are_no_token_are_refused_where_ids_are_read(self, baselines, form, built):
        model = built("causal", "gemma4_text")
        told = f"Gemma4ForCausalLM read the token ids .* {form} no token.*baselines=<token id>"
        with pytest.raises(ValueError, match=told):
            HETA(model).attribute(IDS, target=5, baselines=baselines)
        with pytest.raises(TypeError, match="read the token ids beside the embeddings"):
            comprehensiveness(model, IDS, torch.rand(1, 11))

    def test_what_is_not_known_is_refused(self):
        class Secret(LlamaForCausalLM):
            """Reads the ids in a way of its own."""

            def forward(self, input_ids=None, inputs_embeds=None, **kwargs):
                output = super().forward(input_ids=input_ids, inputs_embeds=inputs_embeds, **kwargs)
                if input_ids is not None:
                    output.logits = output.logits + input_ids.cumsum(-1)[..., None] * torch.linspace(
                        0, 0.1, output.logits.shape[-1]
                    )
                return output

        model = Secret(tiny_model("llama").config).eval()
        with pytest.raises(TypeError, match=r"Secret does not say the same of a text's embeddings .* differs by up to"):
            HETA(model).attribute(IDS, target=5)


class TestCache:
    """A transformers that one day swallows today's names of arguments."""

    @staticmethod
    def renamed(names):
        class Renamed(LlamaForCausalLM):
            """Knows none of some names, and says nothing."""

            def forward(self, *arguments, **named):
                return super().forward(*arguments, **{k: v for k, v in named.items() if k not in names})

        return Renamed

    @staticmethod
    def like_llama(kind):
        """A model of another class with the weights of the tiny Llama."""
        model = kind(tiny_model("llama").config).eval()
        model.load_state_dict(tiny_model("llama").state_dict())
        return model

    @pytest.mark.parametrize("swallowed", ["cache", "logits_to_keep", "position_ids", "use_cache"])
    def test_swallowed_names(self, swallowed):
        names = ("cache", "past_key_values") if swallowed == "cache" else (swallowed,)
        model = self.like_llama(self.renamed(names))
        expected = HETA(tiny_model("llama")).attribute(IDS, target=5, curvature="fisher")
        if swallowed == "cache":
            lm = CausalLM(model)
            with lm.ready():
                assert not lm.attention.reuses_prefix  # what is swallowed is not relied upon
        torch.testing.assert_close(HETA(model).attribute(IDS, target=5, curvature="fisher"), expected)

    def test_a_cache_that_is_not_valid_is_not_read(self):
        class Forgetful(LlamaForCausalLM):
            """Reads a suffix as if nothing were before it."""

            def forward(self, *arguments, **named):
                cache = named.get("cache", named.get("past_key_values"))
                if cache is not None and cache.get_seq_length():
                    named = {k: v for k, v in named.items() if k not in ("cache", "past_key_values")}
                return super().forward(*arguments, **named)

        model = self.like_llama(Forgetful)
        for curvature in ("exact", "low_rank", "gauss_newton", "fisher"):
            options = {"target": 5, "curvature": curvature, "return_terms": True}
            expected = HETA(tiny_model("llama")).attribute(IDS, **options)
            found = HETA(model).attribute(IDS, **options)
            torch.testing.assert_close(found[1], expected[1], rtol=1e-3, atol=1e-5)
        outputs = torch.tensor([5, 7, 9])
        features = Features.of_tokens(range(11))
        models = model, tiny_model("llama")
        one, other = (HETA(m).attribute_outputs(IDS[0], outputs, features, curvature="exact") for m in models)
        torch.testing.assert_close(one.scores, other.scores, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(one.log_probs, other.log_probs)

    def test_prefixes_are_not_reused_then(self):
        model = tiny_model("llama")
        lm = CausalLM(model)
        with lm.ready():
            assert lm.attention.reuses_prefix
            trace = trace_of(lm, lm.embed(IDS[0]), 1)
            assert trace.first_run(4) == 4
            lm.findings._answers["prefix"] = "nothing"
            assert trace.first_run(4) == 0


class TestMixing:
    def test_what_carries_tokens_on_after_attention_is_a_step_of_its_own(self):
        model = tiny_model("llama", num_hidden_layers=3)
        mlp = model.model.layers[1].mlp
        forward = mlp.forward
        mlp.forward = lambda x: forward(x) + torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
        lm = CausalLM(model)
        with lm.ready():
            places = lm.attention.places
        assert [type(place) for place in places] == [Attention, Others, Others, Attention]
        assert [place.modules for place in places[1:3]] == [("model.layers.1.self_attn",), ("model.layers.1.mlp",)]
        assert (HETA(model).attribute(IDS, target=5) > 0).all()
        with pytest.raises(TypeError, match=r"adds what attention gathers .* in layer\(s\) \[1"):
            TargetedHETA(model).attribute(IDS, target=5)

    def test_before_the_layers_too(self):
        model = tiny_model("llama")
        model.model.embed_tokens.register_forward_hook(lambda module, given, output: output)
        model.model.layers[0].register_forward_pre_hook(lambda module, given: (given[0].cumsum(1), *given[1:]))
        with pytest.raises(TypeError, match=r"carries tokens on in layer\(s\) \[0\] by something else"):
            HETA(model).attribute(IDS, target=5)

    def test_modules_that_are_not_called_count_for_nothing(self):
        # BART's decoder has a second attention in each layer, for an encoder that is not there
        row = sweep.swept("causal", "bart")
        assert row.result == sweep.RIGHT, row.note

    def test_approximate_gates_are_told(self):
        model = tiny_model("llama")
        attention = model.model.layers[1].self_attn
        # a norm that takes off the mean: what it makes of a part depends on the others
        attention.o_proj = torch.nn.Sequential(torch.nn.LayerNorm(32), attention.o_proj)
        with pytest.warns(UserWarning, match="LlamaForCausalLM does something .* HETA's gate M .* approximation"):
            HETA(model).attribute(IDS, target=5, curvature="fisher")


class TestArguments:
    def test_a_forward_without_logits_to_keep(self):
        class Remote(LlamaForCausalLM):
            """As remote code and older forks are written."""

            def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, use_cache=None, **rest):
                cache = {name: rest[name] for name in ("cache", "past_key_values") if name in rest}
                return super().forward(
                    input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **cache
                )

        class Strict(LlamaForCausalLM):
            """The same without ``**kwargs``."""

            def forward(self, input_ids=None, inputs_embeds=None, cache=None, use_cache=None):
                known = inspect.signature(LlamaForCausalLM.forward).parameters
                name = "cache" if "cache" in known else "past_key_values"
                return super().forward(
                    input_ids=input_ids, inputs_embeds=inputs_embeds, use_cache=use_cache, **{name: cache}
                )

        for kind in (Remote, Strict):
            model = TestCache.like_llama(kind)
            for method in (HETA, LastAttention, TDD, NormXLogit, ReAGent, ContextCite, Peering):
                found = method(model).attribute(IDS, target=5)
                torch.testing.assert_close(found, method(tiny_model("llama")).attribute(IDS, target=5))

    def test_a_forward_without_a_cache(self):
        class Plain(LlamaForCausalLM):
            def forward(self, input_ids=None, inputs_embeds=None, logits_to_keep=0):
                return super().forward(
                    input_ids=input_ids, inputs_embeds=inputs_embeds, logits_to_keep=logits_to_keep, use_cache=False
                )

        model = TestCache.like_llama(Plain)
        for method in (HETA, TDD):
            options = {"curvature": "fisher"} if method is HETA else {}
            expected = method(tiny_model("llama")).attribute(IDS, target=5, **options)
            torch.testing.assert_close(method(model).attribute(IDS, target=5, **options), expected)

    def test_a_model_that_answers_with_tuples(self):
        class Tuples(LlamaForCausalLM):
            def forward(self, **named):
                return (super().forward(**named).logits,)

        model = TestCache.like_llama(Tuples)
        expected = HETA(tiny_model("llama")).attribute(IDS, target=5)
        torch.testing.assert_close(HETA(model).attribute(IDS, target=5), expected)

    def test_positions_that_are_ignored_are_refused(self):
        model = TestCache.renamed(("position_ids",))(tiny_model("llama").config).eval()
        with pytest.raises(ValueError, match="takes no position_ids: it predicts the same at any positions"):
            HETA(model).attribute(IDS, target=5, additional_forward_args={"position_ids": torch.arange(0, 33, 3)[None]})

    def test_vocabulary_is_that_of_the_weights(self):
        model = tiny_model("llama")
        model.config.vocab_size = 200
        with pytest.raises(ValueError, match=r"inputs has token id 150, outside the vocabulary .* \(0 to 96\)"):
            HETA(model).attribute(torch.tensor([[1, 150]]), target=5)
        with pytest.raises(ValueError, match=r"target has token id 150, outside the vocabulary .* \(0 to 96\)"):
            HETA(model).attribute(IDS, target=150)

    def test_models_in_wrappers(self):
        model = torch.nn.DataParallel(tiny_model("llama"))
        with pytest.raises(TypeError, match="got DataParallel: pass what is in it, DataParallel.module"):
            HETA(model)


def test_a_model_without_text_is_refused(built):
    model = built("causal", "blt")
    with pytest.raises(TypeError, match="does not say how many layers read the text"):
        HETA(model)


def test_auto_classes_still_have_what_the_sweep_reads():
    assert len(KINDS["causal"]) > 100
    assert AutoModelForCausalLM.from_config(AutoConfig.for_model("gpt2", n_layer=1, n_embd=8, n_head=2)) is not None


def test_a_model_that_wants_a_picture_names_the_part_that_reads_text():
    model = every_model("vision", "blip-2")
    ids = torch.arange(20, 26)[None]
    with pytest.raises(TypeError, match=r"pixel_values.*alone: model\.language_model$"):
        HETA(model).attribute(ids, target=7)
    assert HETA(model.language_model).attribute(ids, target=7).shape == ids.shape
