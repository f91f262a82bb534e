"""AttnLRP against relevance that is handed down rule by rule, and against what its rules promise."""

import re

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from captum_heta import LLMTokenAttribution, TextInput, compare
from captum_heta.attr import AttnLRP
from captum_heta.features import Features
from captum_heta.terms.relevance import Coverage
from captum_heta.testing.architectures import CONFIGS, VOCAB_SIZE, tiny_model
from captum_heta.testing.relevance import naive_relevance

IDS = torch.tensor([5, 17, 8, 40, 2, 33, 9])
OUTPUTS = torch.tensor([11, 60, 3])
TOKENS = Features.of_tokens(range(len(IDS)))
GROUPS = Features(((0, 1), (2, 6), (), (3,), (5,)))
WITHOUT_BIASES = ("llama", "mistral", "mixtral", "qwen3", "phi3", "gemma2", "gemma3_text", "olmo2")


@pytest.fixture(scope="module", params=["gpt2", "llama", "qwen2"])
def model(request):
    return tiny_model(request.param).double()


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama").double()


def prompt(k):
    return torch.cat([IDS, OUTPUTS[:k]])


def hooks(model):
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules())


class TestAgainstTheRules:
    @pytest.mark.parametrize("explained", ["log_prob", "logit"])
    def test_each_output_has_the_relevance_of_the_rules(self, model, explained):
        method = AttnLRP(model)
        found = method.attribute_outputs(IDS, OUTPUTS, TOKENS, explained=explained)
        for k, output in enumerate(OUTPUTS.tolist()):
            relevance, _, logits = naive_relevance(model, prompt(k), output, explained)
            expected = model(input_ids=prompt(k)[None]).logits[0, -1]
            torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-6)  # norms and softmax are of float32
            torch.testing.assert_close(found.scores[k].double(), relevance[: len(IDS)], rtol=1e-5, atol=1e-6)
            assert found.log_probs[k].item() == pytest.approx(logits.log_softmax(-1)[output].item(), rel=1e-5)
        together = method.attribute_outputs(IDS, OUTPUTS, TOKENS, per_token=False, explained=explained)
        torch.testing.assert_close(together.scores, found.scores.sum(0, keepdim=True))
        grouped = method.attribute_outputs(IDS, OUTPUTS, GROUPS, explained=explained).scores
        torch.testing.assert_close(grouped, GROUPS.sum(found.scores))

    def test_what_is_explained_matters_but_to_a_contrast(self, model):
        method = AttnLRP(model)
        one, other = (method.attribute(IDS[None], 11, explained=explained) for explained in ("log_prob", "logit"))
        assert not torch.allclose(one, other, rtol=0.01)
        contrasts = [method.attribute(IDS[None], 11, contrast=7, explained=one) for one in ("log_prob", "logit")]
        torch.testing.assert_close(*contrasts)
        expected = other - method.attribute(IDS[None], 7, explained="logit")
        torch.testing.assert_close(contrasts[0], expected, rtol=1e-4, atol=1e-6)

    def test_relevance_is_the_logit_but_for_what_biases_and_softmax_keep(self, model):
        found = AttnLRP(model).attribute(IDS[None], 11, explained="logit").double().sum()
        relevance, kept, logits = naive_relevance(model, IDS, 11, "logit")
        assert (relevance.sum() + kept.biases + kept.softmax).item() == pytest.approx(logits[11].item(), rel=1e-9)
        assert found.item() == pytest.approx((logits[11] - kept.biases - kept.softmax).item(), rel=1e-5, abs=1e-5)
        assert (kept.biases == 0) == (model.config.model_type == "llama")
        assert kept.softmax != 0

    def test_is_not_gradient_times_input(self, model):
        with torch.enable_grad():
            x = model.get_input_embeddings()(IDS).detach().requires_grad_()
            (gradient,) = torch.autograd.grad(model(inputs_embeds=x[None]).logits[0, -1].log_softmax(-1)[11], x)
        found = AttnLRP(model).attribute(IDS[None], 11)[0]
        assert not torch.allclose(found.double(), (x * gradient).sum(-1), rtol=0.1)


class Softmaxes(TorchFunctionMode):
    """Keeps what each softmax is given and gives."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if function.__name__ == "softmax" and made.requires_grad:
            self.seen.append((args[0], made))
        return made


class TestArchitectures:
    @pytest.mark.parametrize("name", CONFIGS)
    def test_predictions_are_those_without_rules_to_the_bit(self, name):
        method = AttnLRP(tiny_model(name))
        lm = method._lm
        with lm.ready():
            embeds = lm.embed(IDS)[None]
            plain = lm.log_probs(embeds, keep=7)
            with method._coverage.ruled():
                ruled = lm.log_probs(embeds.clone().requires_grad_(), keep=7)
        assert torch.equal(plain, ruled.detach())
        assert torch.isfinite(method.attribute(IDS[None])).all()

    @pytest.mark.parametrize("name", WITHOUT_BIASES)
    def test_every_step_but_softmax_hands_all_relevance_down(self, name):
        model = tiny_model(name).double()
        method = AttnLRP(model)
        with method._lm.ready():
            x = method._lm.embed(IDS).detach().requires_grad_()
            softmaxes = Softmaxes()
            with method._coverage.ruled(), softmaxes:
                logit = method._lm.logits_of_embeds(x[None])[0, -1, 11]
            inputs = [one for pair in softmaxes.seen for one in pair]
            gradients = torch.autograd.grad(logit, [x, *inputs], allow_unused=True)
        kept = 0.0
        for i in range(1, len(inputs), 2):
            (given, made), (of_given, of_made) = inputs[i - 1 : i + 1], gradients[i : i + 2]
            seen = made != 0
            kept += (made * of_made).sum() - (given[seen] * of_given[seen]).sum()
        assert len(inputs) >= 4
        total = (x * gradients[0]).sum()
        assert (total + kept).item() == pytest.approx(logit.item(), rel=2e-6)  # softmax is of float32
        assert abs(kept) > 1e-3 * abs(logit)

    @pytest.mark.parametrize("name", ["phi3", "gpt_neox", "falcon"])
    def test_a_short_text_tells_what_a_long_one_does(self, name):
        """Rules are looked for in a short pass: nothing is found later that has none."""
        long = torch.randint(2, VOCAB_SIZE, (1, 40), generator=torch.Generator().manual_seed(0))
        assert torch.isfinite(AttnLRP(tiny_model(name)).attribute(long)).all()

    @pytest.mark.parametrize(
        ("model_type", "what"), [("mamba", "computes"), ("qwen3_next", "computes"), ("rwkv", "computes")]
    )
    def test_what_has_no_rule_is_refused_by_name(self, built, model_type, what):
        model = built("causal", model_type)
        before = hooks(model)
        with pytest.raises(TypeError, match=rf"what {type(model).__name__} does: \S+ \(\w+\) {what} \w+"):
            AttnLRP(model).attribute(IDS[None] + 40, target=7)
        assert hooks(model) == before


class Cubed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


class Cube(nn.Module):
    def forward(self, x):
        return Cubed.apply(x)


class Polynomial(nn.Module):
    def forward(self, x):
        return x**3 + x * x


class Shifted(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x)


class Spread(nn.Module):
    """No function of one number, and of a kind that torch does not show."""

    def forward(self, x):
        return Cubed.apply(x) + x.mean(-1, keepdim=True)


class TestWhatIsFound:
    def activated(self, module):
        model = tiny_model("llama").double()
        for layer in model.model.layers:
            layer.mlp.act_fn = module
        return model

    @pytest.mark.parametrize("module", [Cube(), Polynomial(), nn.Softshrink(0.01), nn.ReLU(inplace=False)])
    def test_an_activation_is_one_whatever_it_computes_it_with(self, module):
        model = self.activated(module)
        method = AttnLRP(model)
        with method._lm.ready():
            names = method._coverage._activations()
            x = torch.linspace(-2, 2, 20, dtype=torch.float64).requires_grad_()
            assert names == ["model.layers.0.mlp.act_fn"]  # one for both layers
            with method._coverage.ruled():
                y = module(x)
            (gradient,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(gradient * x, y.detach())
        assert torch.equal(y, module(x))

    def test_one_that_is_not_zero_at_zero_is_refused(self):
        message = r"model\.layers\.0\.mlp\.act_fn \(Shifted\) computes sigmoid.*GradientNorm"
        with pytest.raises(TypeError, match=message):
            AttnLRP(self.activated(Shifted())).attribute(IDS[None])

    def test_what_torch_does_not_show_is_refused(self):
        message = "LlamaForCausalLM does: it computes CubedBackward in a way that torch does not show"
        with pytest.raises(TypeError, match=message):
            AttnLRP(self.activated(Spread())).attribute(IDS[None])

    def test_an_activation_in_place_is_refused(self):
        with pytest.raises(TypeError, match=r"computes relu in place"):
            AttnLRP(self.activated(nn.ReLU(inplace=True))).attribute(IDS[None])

    def test_it_is_looked_for_once(self, llama, monkeypatch):
        method = AttnLRP(llama)
        expected = method.attribute(IDS[None], 11)
        monkeypatch.setattr(Coverage, "_activations", lambda self: pytest.fail("again"))
        assert torch.equal(AttnLRP(llama).attribute(IDS[None], 11), expected)


class TestAsAMethod:
    def test_padded_batches_are_explained_row_by_row(self, model):
        method = AttnLRP(model)
        batch = torch.stack([IDS, torch.cat([torch.zeros(2, dtype=torch.long), IDS[:5]])])
        mask = torch.ones_like(batch)
        mask[1, :2] = 0
        for options in ({}, {"contrast": [7, 8]}):
            scores = method.attribute(batch, [11, 60], mask, **options)
            assert scores.dtype == torch.float32
            assert (scores[1, :2] == 0).all()
            one, other = ({"contrast": contrast} if options else {} for contrast in (7, 8))
            torch.testing.assert_close(scores[0], method.attribute(IDS[None], 11, **one)[0])
            torch.testing.assert_close(scores[1, 2:], method.attribute(IDS[None, :5], 60, **other)[0])

    def test_positions_matter(self, llama):
        method, spread = AttnLRP(llama), torch.arange(0, 21, 3)[None]
        found = method.attribute(IDS[None], 11, additional_forward_args={"position_ids": spread})
        assert not torch.allclose(found, method.attribute(IDS[None], 11), rtol=1e-2)
        shifted = method.attribute(IDS[None], 11, additional_forward_args={"position_ids": torch.arange(3, 10)[None]})
        torch.testing.assert_close(shifted, method.attribute(IDS[None], 11))

    def test_the_models_own_choice_without_a_target(self, model):
        own = int(model(input_ids=IDS[None]).logits[0, -1].argmax())
        method = AttnLRP(model)
        assert torch.equal(method.attribute(IDS[None]), method.attribute(IDS[None], own))
        (scores,) = method.attribute((IDS[None],))
        assert torch.equal(scores, method.attribute(IDS[None], own))

    def test_each_token_carries_its_features_score(self, llama):
        mask = torch.tensor([[3, 3, 5, 3, 1, 1, 1]])
        scores = AttnLRP(llama).attribute(IDS[None], 11, feature_mask=mask)[0]
        alone = AttnLRP(llama).attribute(IDS[None], 11)[0]
        torch.testing.assert_close(scores[0], alone[[0, 1, 3]].sum())
        assert scores[0] == scores[1] == scores[3]

    @pytest.mark.parametrize("broken", [False, True])
    def test_leaves_the_model_as_it_was(self, broken, monkeypatch):
        model = tiny_model("gpt2").train()
        parameters = [one.requires_grad for one in model.parameters()]
        method = AttnLRP(model)
        method.attribute(IDS[None], 11)
        if broken:
            monkeypatch.setattr(model.lm_head, "forward", lambda x: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                method.attribute(IDS[None], 11)
            monkeypatch.undo()
        assert model.training
        assert [one.requires_grad for one in model.parameters()] == parameters
        assert hooks(model) == 0
        assert model.config._attn_implementation == "sdpa"
        # nor do gradients follow rules any more
        x = torch.tensor([2.0, 3.0], requires_grad=True)
        assert torch.autograd.grad((x * x).sum(), x)[0].tolist() == [4.0, 6.0]

    def test_is_right_in_low_precision(self, llama):
        expected = AttnLRP(llama).attribute(IDS[None], 11)
        found = AttnLRP(tiny_model("llama").bfloat16()).attribute(IDS[None], 11)
        assert torch.corrcoef(torch.stack([found[0], expected[0]]))[0, 1] > 0.98

    def test_within_no_grad_and_inference_mode(self, llama):
        expected = AttnLRP(llama).attribute(IDS[None], 11)
        for context in (torch.no_grad(), torch.inference_mode()):
            with context:
                assert torch.equal(AttnLRP(llama).attribute(IDS[None], 11), expected)

    def test_other_options_are_refused(self, llama):
        with pytest.raises(ValueError, match="explained must be one of log_prob, logit, got 'probability'"):
            AttnLRP(llama).attribute(IDS[None], explained="probability")
        with pytest.raises(TypeError, match="epsilon"):
            AttnLRP(llama).attribute(IDS[None], epsilon=1e-6)

    def test_the_wrapper_and_compare_take_it(self, demo):
        model, tokenizer = demo
        text = "Anna lives in Rome. Ben lives in Oslo.\nQuestion: Where does Ben live?\nAnswer:"
        inp = TextInput(text, tokenizer)
        alone = LLMTokenAttribution(AttnLRP(model), tokenizer).attribute(inp, " Oslo", contrast=" Rome")
        assert "Oslo" in alone.input_tokens[int(alone.seq_attr.argmax())]
        found = compare(["attnlrp", "gxa"], tokenizer, text, "Oslo", contrast="Rome", model=model)
        assert not found.failures
        torch.testing.assert_close(found.results["AttnLRP"].seq_attr, alone.seq_attr)
        refined = LLMTokenAttribution(AttnLRP(model), tokenizer).attribute(inp, " Oslo", contrast=" Rome", refine=0.9)
        kept = refined.seq_attr != 0
        assert kept.any()
        assert re.search("Oslo", " ".join(refined.input_tokens))
