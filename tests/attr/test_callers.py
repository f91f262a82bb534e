"""Whatever state a caller has brought torch into, the numbers are the same, or an error says why there are none."""

import copy
import pickle

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from captum_heta import HETA, DocumentsInput, LLMTokenAttribution
from captum_heta.attr import TDD, AttentionRollout, ContextCite, NormXLogit, Peering, ReAGent
from captum_heta.metrics import comprehensiveness, gaussian_sensitivity, soft_nc
from captum_heta.testing.architectures import tiny_model

# torch 2.4's own, of its own pickles
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.load.*weights_only:FutureWarning")
IDS = torch.tensor([[2, 5, 9, 23, 7, 9, 41]])
SCORES = torch.rand(1, 7, generator=torch.Generator().manual_seed(0))
MODES = ("auto", "exact", "low_rank", "gauss_newton", "fisher")
WORK = {
    **{mode: lambda model, mode=mode: HETA(model).attribute(IDS, target=5, curvature=mode) for mode in MODES},
    "mask": lambda model: HETA(model).attribute(IDS, feature_mask=IDS % 3, baselines="mean"),
    **{
        method.__name__: lambda model, method=method: method(model).attribute(IDS, target=5)
        for method in (AttentionRollout, NormXLogit, Peering, TDD, ReAGent, ContextCite)
    },
    "soft_nc": lambda model: soft_nc(model, IDS, SCORES, retain=0.5, relative_to_random=True),
    "comprehensiveness": lambda model: comprehensiveness(model, IDS, SCORES),
    "sensitivity": lambda model: gaussian_sensitivity(
        lambda ids: NormXLogit(model).attribute(ids, target=5), model, IDS, n_draws=2
    ),
}
every_work = pytest.mark.parametrize("name", WORK)


@pytest.fixture
def model():
    return tiny_model("llama")


@every_work
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_default_dtype(model, name, dtype):
    expected = WORK[name](model)
    torch.set_default_dtype(dtype)
    try:
        found = WORK[name](model)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected)


@every_work
def test_default_device(model, name):
    expected = WORK[name](model)
    with torch.device("meta"):  # what set_default_device enters, and cannot leave again in torch 2.4
        found = WORK[name](model)
    torch.testing.assert_close(found, expected)


@every_work
def test_draws_say_where_they_are_made(model, name):
    """What fails where the default device is a GPU: a generator of the CPU without a device beside it."""

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            if function in _device_constructors() and kwargs.get("generator") is not None:
                assert kwargs.get("device") is not None
            return function(*args, **kwargs)

    with Watch():
        WORK[name](model)


@every_work
def test_anomaly_mode(model, name):
    expected = WORK[name](model)
    with torch.autograd.set_detect_anomaly(True):
        torch.testing.assert_close(WORK[name](model), expected)
        assert torch.is_anomaly_enabled()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("curvature", ["exact", "fisher"])
def test_compiled_models(model, whole, curvature):
    if not hasattr(torch.compiler, "set_stance"):
        model.compile(backend="aot_eager")
        with pytest.raises(TypeError, match="is compiled, at least in part"):
            HETA(model).attribute(IDS, target=5)
        return
    expected, theirs = HETA(model).attribute(IDS, target=5, curvature=curvature), TDD(model).attribute(IDS, target=5)
    if whole:
        explained = torch.compile(model, backend="aot_eager")
    else:
        model.compile(backend="aot_eager")
        explained = model
    torch.testing.assert_close(HETA(explained).attribute(IDS, target=5, curvature=curvature), expected)
    torch.testing.assert_close(TDD(explained).attribute(IDS, target=5), theirs)


def test_a_compiled_forward(model):
    if not hasattr(torch.compiler, "set_stance"):
        pytest.skip("before torch 2.6")
    expected = HETA(model).attribute(IDS, target=5)
    model.forward = torch.compile(model.forward, backend="aot_eager")
    torch.testing.assert_close(HETA(model).attribute(IDS, target=5), expected)


def test_a_model_made_in_inference_mode():
    with torch.inference_mode():
        model = tiny_model("llama")
    with pytest.raises(TypeError, match="LlamaForCausalLM was made or loaded under torch.inference_mode.*embed_tokens"):
        HETA(model).attribute(IDS, target=5)
    assert torch.isfinite(TDD(model).attribute(IDS, target=5)).all()


@pytest.mark.parametrize("method", [HETA, AttentionRollout, NormXLogit, Peering, TDD, ReAGent, ContextCite])
@pytest.mark.parametrize("used", [False, True])
def test_copies_and_pickles(model, method, used):
    explain = method(model)
    expected = method(tiny_model("llama")).attribute(IDS, target=5)
    if used:
        explain.attribute(IDS, target=5)
    for other in (copy.deepcopy(explain), pickle.loads(pickle.dumps(explain))):
        assert other.model is not model
        torch.testing.assert_close(other.attribute(IDS, target=5), expected)


def test_results_can_be_pickled(demo):
    model, tokenizer = demo
    inp = DocumentsInput({"a": "Anna lives in Rome."}, "Where?", tokenizer, by="token")
    result = LLMTokenAttribution(HETA(model), tokenizer).attribute(inp, target=" Rome", curvature="fisher")
    again = pickle.loads(pickle.dumps(result))
    torch.testing.assert_close(again.seq_attr, result.seq_attr)
    assert again.inp.to_model_input() == inp.to_model_input()


class TestHooks:
    """A person's own, for steering and patching, stay in force: once, wherever the graph is made."""

    @pytest.fixture
    def steered(self):
        model = tiny_model("llama", num_hidden_layers=3)
        model.model.layers[1].register_forward_pre_hook(lambda module, args: (args[0] * 3, *args[1:]))
        model.model.layers[2].register_forward_hook(lambda module, args, output: output * 0.5)
        return model

    @pytest.mark.parametrize("curvature", ["exact", "low_rank", "gauss_newton", "fisher"])
    @pytest.mark.parametrize("last", [None, 1, 2])
    def test_layer_by_layer(self, steered, curvature, last, monkeypatch):
        options = {"target": 5, "curvature": curvature, "last_n_layers": last, "rank": 4}
        expected = HETA(steered).attribute(IDS, **options)
        monkeypatch.setattr("captum_heta.models.causal_lm.graph_fits", lambda *_: False)
        torch.testing.assert_close(HETA(steered).attribute(IDS, **options), expected, rtol=1e-3, atol=1e-6)

    def test_against_the_dense_hessian(self, steered, monkeypatch):
        from captum_heta.terms.curvature.estimators import draw_probes
        from captum_heta.testing import reference

        monkeypatch.setattr("captum_heta.models.causal_lm.graph_fits", lambda *_: False)
        steered = steered.double()
        _, terms = HETA(steered).attribute(IDS, target=5, curvature="exact", n_samples=2, return_terms=True)
        embeds = steered.get_input_embeddings()(IDS[0]).detach()
        probes = draw_probes([[i] for i in range(7)], 2, embeds, torch.Generator().manual_seed(0))
        hessian = reference.dense_hessian(steered, embeds, 5)
        expected = reference.dense_curvature(hessian, [[i] for i in range(7)], probes)
        torch.testing.assert_close(terms.curvature[0], expected.float(), rtol=1e-4, atol=1e-6)

    def test_on_an_attention_module(self, model):
        def thrice(module, args, named):
            return args, named | {"hidden_states": named["hidden_states"] * 3}

        model.model.layers[1].self_attn.register_forward_pre_hook(thrice, with_kwargs=True)
        model.set_attn_implementation("eager")
        with torch.no_grad():
            attentions = model(IDS, output_attentions=True).attentions
        rho = torch.zeros(7)
        rho[-1] = 1
        for attention in reversed(attentions):
            rho = (rho + rho @ attention[0].mean(0)) / 2
        torch.testing.assert_close(AttentionRollout(model).attribute(IDS)[0], rho)

    def test_on_an_output_projection(self, model):
        expected = HETA(model).attribute(IDS, target=5, return_terms=True)[1].semantic_flow
        doubled = tiny_model("llama")
        projection = doubled.model.layers[1].self_attn.o_proj
        projection.weight.data /= 2
        projection.register_forward_hook(lambda module, args, output: output * 2)
        found = HETA(doubled).attribute(IDS, target=5, return_terms=True)[1].semantic_flow
        torch.testing.assert_close(found, expected)

    def test_on_all_modules_is_refused_where_layers_are_run_one_by_one(self, model, monkeypatch):
        monkeypatch.setattr("captum_heta.models.causal_lm.graph_fits", lambda *_: False)
        layer = model.model.layers[1]
        handle = torch.nn.modules.module.register_module_forward_pre_hook(
            lambda module, args: (args[0] * 3, *args[1:]) if module is layer and args else None
        )
        try:
            with pytest.raises(RuntimeError, match="predicts something else when its layers are run one by one"):
                HETA(model).attribute(IDS, target=5, curvature="exact")
        finally:
            handle.remove()
