"""A prompt with a real picture, as the processor of a model makes it."""

import warnings

import pytest
import torch
from captum.attr import FeatureAblation, LLMAttribution

from captum_heta import HETA, LLMTokenAttribution, LLMTokenAttributionResult, MediaInput, compare
from captum_heta.attr import GradientNorm, ReAGent
from captum_heta.testing.pictures import llava, photograph

PROMPT = "Anna lives in Rome. <image> Anna lives in"


@pytest.fixture(scope="module", name="llava")
def _llava(demo):
    try:
        return llava(demo[1])
    except ImportError as reason:  # of a transformers whose processors need torchvision
        pytest.skip(str(reason))


@pytest.fixture
def inp(llava):
    return MediaInput(llava[1](text=PROMPT, images=photograph(), return_tensors="pt"), llava[1])


def test_a_picture_is_one_feature_with_a_name(inp):
    assert inp.pieces == ["Anna", " lives", " in", " Rome", ".", " ", "<image>", " Anna", " lives", " in"]
    assert inp.values[6] == "image"
    assert inp.text == PROMPT
    assert inp.features.groups[6] == (7, 8, 9, 10)
    assert list(inp.media) == ["pixel_values"]
    assert len(inp.ids) == 14


def test_two_pictures_are_told_apart(llava):
    several = llava[1](text="<image> or <image>", images=[photograph()] * 2, return_tensors="pt")
    assert [value for value in MediaInput(several, llava[1]).values if "image" in value] == ["image 1", "image 2"]


def test_a_result_is_of_the_model_with_its_picture(llava, inp, tmp_path):
    model, processor = llava
    wrapped = LLMTokenAttribution(HETA(model), processor.tokenizer)
    options = {"curvature": "gradient"}
    result = wrapped.attribute(inp, target="Rome", **options)
    ids, outputs = torch.tensor([inp.ids]), torch.tensor(processor.tokenizer.encode(" Rome", add_special_tokens=False))
    assert result.target in ("Rome", " Rome")
    with torch.no_grad():
        logits = model(ids, **inp.media).logits[0, -1]
    ways = [processor.tokenizer.encode(way, add_special_tokens=False) for way in ("Rome", " Rome")]
    likely = max(ways, key=lambda way: logits.log_softmax(-1)[way[0]])[0] if all(len(w) == 1 for w in ways) else None
    if likely is not None:
        torch.testing.assert_close(result.output_probs[0], logits.softmax(-1)[likely])
    found = HETA(model).attribute(ids, target=int(outputs[0]), additional_forward_args=inp.media, **options)
    again = wrapped.attribute(inp, target=outputs[:1], **options)
    torch.testing.assert_close(again.seq_attr, torch.stack([found[0, group[0]] for group in inp.features.groups]))
    assert again.pieces[6] == "<image>"
    assert again.input_tokens[6] == "image"
    again.save(tmp_path / "result.json")
    assert LLMTokenAttributionResult.load(tmp_path / "result.json").pieces == again.pieces
    assert "&lt;image&gt;" in again.to_html()


def test_what_the_model_generates_it_generates_from_the_picture(llava, inp):
    model, processor = llava
    wrapped = LLMTokenAttribution(GradientNorm(model), processor.tokenizer)
    result = wrapped.attribute(inp, gen_args={"max_new_tokens": 2, "do_sample": False})
    ids = torch.tensor([inp.ids])
    own = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False, **inp.media)
    assert result.target == processor.tokenizer.decode(own[0, ids.shape[1] :])
    other = dict(inp.media, pixel_values=-inp.media["pixel_values"])
    inp.media = other
    probs = wrapped.attribute(inp, target=own[0, ids.shape[1] :]).output_probs
    assert not torch.allclose(probs, result.output_probs)


def test_what_reads_text_alone_refuses(llava, inp):
    model, processor = llava
    tokenizer = processor.tokenizer
    with pytest.raises(
        ValueError, match="ReAGent reads text alone, and the prompt has 'pixel_values'. Pictures and sound"
    ):
        LLMTokenAttribution(ReAGent(model), tokenizer).attribute(inp, target="Rome")
    with pytest.raises(TypeError, match="Captum's own methods read token ids alone"):
        LLMAttribution(FeatureAblation(model), tokenizer).attribute(inp, target="Rome")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = compare({"ReAGent": ReAGent(model), "norm": GradientNorm(model)}, tokenizer, inp, "Rome")
    assert list(table.results) == ["norm"]
    assert "text alone" in table.failures["ReAGent"].message


def test_what_is_no_prompt_with_a_picture(llava):
    processor = llava[1]
    text = processor.tokenizer("Anna lives in", return_tensors="pt")
    with pytest.raises(ValueError, match="No token of the prompt stands for a picture or sound: LlavaProcessor names"):
        MediaInput(text, processor)
    inputs = dict(processor(text=PROMPT, images=photograph(), return_tensors="pt"))
    inputs["attention_mask"][0, 0] = 0
    with pytest.raises(ValueError, match="attention_mask leaves out tokens"):
        MediaInput(inputs, processor)
