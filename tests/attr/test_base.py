"""What a method gets from its base class: an ``attribute`` with its own options, and their checks."""

import inspect
from dataclasses import dataclass, fields

import pytest
import torch

from captum_heta import HETA
from captum_heta.attr import TDD, LLMTokenAttribution, ReAGent, TokenAttribution
from captum_heta.attr.base import OutputAttributions
from captum_heta.inputs import TextInput
from captum_heta.methods import METHODS
from captum_heta.options import CURVATURE_MODES, BatchOptions, HETAOptions
from captum_heta.testing.architectures import tiny_model

CAPTUM = ["inputs", "baselines", "target", "additional_forward_args", "feature_mask", "perturbations_per_eval"]
OURS = {name: method.type for name, method in METHODS.items() if issubclass(method.type, TokenAttribution)}
IDS = torch.tensor([[5, 6, 7]])


@dataclass(frozen=True, kw_only=True)
class CountOptions(BatchOptions):
    """Those of `Count`.

    Attributes:
        step: from one token to the next,
            in whole numbers.
    """

    step: int = 1


class Count(TokenAttribution[CountOptions]):
    """The number of each token, times that of the output."""

    def _scores(self, task, options):
        rows = torch.outer(torch.arange(1, len(task.outputs) + 1), torch.arange(len(task.input_ids)) * options.step)
        return OutputAttributions(task.features.sum(rows.float()), torch.zeros(len(task.outputs)))


@pytest.fixture
def count():
    return Count(tiny_model("llama"))


@pytest.mark.parametrize("name", OURS)
class TestSignature:
    def test_has_each_option_with_its_default_and_its_documentation(self, name):
        method = OURS[name]
        parameters = inspect.signature(method.attribute).parameters
        for option in fields(method.options_type):
            assert parameters[option.name].default == option.default
            assert f"\n    {option.name}: " in method.attribute.__doc__

    def test_is_in_the_order_of_captums(self, name):
        parameters = list(inspect.signature(OURS[name].attribute).parameters.values())[1:]
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert positional == [name for name in [*CAPTUM, "show_progress"] if name in positional]
        assert {"inputs", "target", "additional_forward_args", "feature_mask", "show_progress"} <= set(positional)

    def test_lines_of_the_documentation_are_readable(self, name):
        assert all(len(line) <= 112 for line in OURS[name].attribute.__doc__.split("\n"))

    def test_a_typo_names_the_method_and_its_options(self, name):
        method = OURS[name](tiny_model("llama"))
        message = f"{method.get_name()} has no option 'curvatur'; it has "
        with pytest.raises(TypeError, match=message):
            method.attribute(IDS, curvatur="exact")
        with pytest.raises(TypeError, match=f"{method.get_name()} has no option 'curvatur'"):
            method.attribute_outputs(IDS[0], IDS[0, :1], None, curvatur="exact")

    def test_says_whether_it_draws(self, name):
        assert OURS[name].draws() == (name in ("heta", "targeted", "reagent", "contextcite"))


def test_hetas_signature_is_the_one_that_is_published():
    names = list(inspect.signature(HETA.attribute).parameters)
    assert names == [
        *("self", *CAPTUM, "show_progress", "flow", "information", "fusion", "beta", "gamma", "skip"),
        *("contrast", "curvature", "n_samples", "rank", "tolerance", "coverage", "remainder", "window", "overlap"),
        *("last_n_layers", "seed", "return_terms"),
    ]
    for mode in CURVATURE_MODES:
        assert f'"{mode}"' in HETA.attribute.__doc__


def test_every_method_has_a_signature_of_its_own():
    assert "n_probes" in inspect.signature(ReAGent.attribute).parameters
    assert "n_probes" not in inspect.signature(TDD.attribute).parameters
    assert ReAGent.attribute.__qualname__ == "ReAGent.attribute"


def test_too_many_arguments_are_told():
    with pytest.raises(TypeError, match=r"HETA\.attribute: too many positional arguments"):
        HETA(tiny_model("llama")).attribute(*range(9))
    with pytest.raises(TypeError, match=r"HETA\.attribute: missing a required argument: 'inputs'"):
        HETA(tiny_model("llama")).attribute()


@pytest.mark.parametrize("value", [0, -2, 1.5, True])
@pytest.mark.parametrize("name", [name for name in OURS if "perturbations_per_eval" in OURS[name].option_names()])
def test_batch_sizes_are_checked_in_every_method(name, value):
    with pytest.raises(ValueError, match="perturbations_per_eval must be"):
        OURS[name](tiny_model("llama")).attribute(IDS, perturbations_per_eval=value)


class TestNewMethod:
    """A class with its options and its scores is all that there is to write."""

    def test_explains_a_batch(self, count):
        assert torch.equal(count.attribute(torch.cat([IDS, IDS]), step=2), torch.tensor([[0.0, 2, 4]] * 2))
        assert torch.equal(count.attribute(IDS, feature_mask=torch.tensor([[0, 1, 1]])), torch.tensor([[0.0, 3, 3]]))

    def test_sums_outputs_that_are_explained_together(self, count, demo):
        llm = LLMTokenAttribution(Count(demo[0]), demo[1])
        inp = TextInput("Anna lives", demo[1])
        each = llm.attribute(inp, torch.tensor([5, 6]), step=2)
        together = llm.attribute(inp, torch.tensor([5, 6]), step=2, per_token=False)
        torch.testing.assert_close(each.token_attr.sum(0), together.seq_attr)

    def test_documents_its_options(self):
        assert "step: from one token to the next, in whole numbers." in Count.attribute.__doc__

    def test_scores_that_are_no_numbers_are_an_error(self, count):
        with pytest.raises(RuntimeError, match="The scores of Count on LlamaForCausalLM are not finite"):
            count.attribute(IDS, step=float("nan"))

    def test_shows_progress(self, count, capsys):
        count.attribute(torch.cat([IDS, IDS]), show_progress=True)
        assert "Count attribution: 100%" in capsys.readouterr().err


def test_options_are_written_once():
    """HETA's are those of its curvature, of a method with batches, and its own."""
    own = set(HETAOptions.__annotations__)
    assert own == {"baselines", "flow", "information", "fusion", "beta", "gamma", "skip"}


def test_alternatives_outside_the_vocabulary_are_refused():
    with pytest.raises(ValueError, match="alternatives has token id 99999"):
        TDD(tiny_model("llama")).attribute(IDS, alternatives=[99999])
