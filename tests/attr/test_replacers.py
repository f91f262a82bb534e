import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from captum_heta.attr import MaskedLMReplacer, ReAGent


def words(extra):
    names = [*extra, *"anna ben lives in rome oslo .".split()]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(names)}, unk_token=extra[0]))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return core


@pytest.fixture(scope="module")
def tokenizer():
    """Of the explained model: <unk> is 0, the words are from 1 on."""
    return PreTrainedTokenizerFast(tokenizer_object=words(["<unk>"]), unk_token="<unk>")


@pytest.fixture(scope="module")
def masked_tokenizer():
    """Of the masked model: the words are from 4 on."""
    return PreTrainedTokenizerFast(
        tokenizer_object=words(["<unk>", "<mask>", "<cls>", "<pad>"]),
        unk_token="<unk>", mask_token="<mask>", cls_token="<cls>", pad_token="<pad>",
    )  # fmt: skip


class Oslo(torch.nn.Module):
    """Finds "oslo" likeliest in every place, and keeps what it was given."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, input_ids, attention_mask):
        self.given.append((input_ids, attention_mask))
        logits = torch.full((*input_ids.shape, 11), -100.0)
        logits[..., 9] = 100.0
        return type("Output", (), {"logits": logits})


def test_replaces_through_the_masked_models_vocabulary(tokenizer, masked_tokenizer):
    model = Oslo()
    ids = torch.tensor([tokenizer.encode("anna lives in rome ."), tokenizer.encode("ben lives in rome .")])
    replaced = torch.tensor([[False, False, False, True, False], [True, False, False, False, True]])
    found = MaskedLMReplacer(model, masked_tokenizer, tokenizer)(ids, replaced, torch.Generator())
    assert tokenizer.decode(found[0]) == "anna lives in oslo ."
    assert tokenizer.decode(found[1]) == "oslo lives in rome oslo"
    ((given, attended),) = model.given
    assert masked_tokenizer.decode(given[0]) == "<cls> anna lives in <mask> ."
    assert masked_tokenizer.decode(given[1]) == "<cls> <mask> lives in rome <mask>"
    assert attended.all()


def test_texts_of_different_lengths_are_padded_and_not_attended_to(tokenizer, masked_tokenizer):
    model = Oslo()
    ids = torch.tensor([[1, 0, 3], [1, 2, 3]])  # <unk> is special, and has no text
    MaskedLMReplacer(model, masked_tokenizer, tokenizer)(ids, torch.zeros(2, 3, dtype=torch.bool), torch.Generator())
    ((given, attended),) = model.given
    assert given[0].tolist() == [2, 4, 6, 3]
    assert attended.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_draws_are_of_the_generator(tokenizer, masked_tokenizer):
    model = BertForMaskedLM(
        BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).eval()
    replacer = MaskedLMReplacer(model, masked_tokenizer, tokenizer)
    ids, replaced = torch.tensor([[1, 3, 4, 5, 7]] * 4), torch.ones(4, 5, dtype=torch.bool)
    first, again, other = (replacer(ids, replaced, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.max() < 8


def test_a_tokenizer_without_a_mask_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"has no mask token: .*roberta-base"):
        MaskedLMReplacer(Oslo(), tokenizer, tokenizer)


def test_from_a_folder_in_the_method(demo, masked_tokenizer, tmp_path):
    model, tokenizer = demo
    BertForMaskedLM(
        BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path)
    masked_tokenizer.save_pretrained(tmp_path)
    replacer = MaskedLMReplacer.from_pretrained(str(tmp_path), tokenizer)
    ids = torch.tensor([tokenizer.encode("Ben lives in Oslo.")])
    scores = ReAGent(model, replacer).attribute(ids, max_steps=3)
    assert not torch.equal(scores, ReAGent(model).attribute(ids, max_steps=3))
