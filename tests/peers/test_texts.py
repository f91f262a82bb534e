import torch

from captum_heta.peers.texts import KnownTexts, pieces

TEXT = "Anna lives in Rome.\n\nAnna  lives in"


def test_texts_are_cut_into_the_tokens_that_they_are_made_of(demo):
    tokenizer = demo[1]
    ids = tokenizer.encode(TEXT)
    odd = [ids[3], 1, *ids[-2:], ids[3]]  # with a special token in it, as no text is cut
    texts = KnownTexts(tokenizer, ids)
    target = texts.add(odd)
    assert texts.begins == [tokenizer.bos_token_id]
    for text, known in ((texts.prompt, ids), (target, odd)):
        assert texts(text)["input_ids"] == known
        found = texts(text, return_tensors="pt", add_special_tokens=False)
        assert found.to("cpu").input_ids.tolist() == [known]
        spans = texts(text, return_offsets_mapping=True)["offset_mapping"]
        assert [text[start:end] for start, end in spans] == pieces(known, tokenizer)
        assert texts.decode(torch.tensor(known), skip_special_tokens=False) == text
    assert pieces(ids, tokenizer)[:3] == ["<s>", "Anna", " lives"]


def test_texts_that_look_the_same_are_told_apart(demo):
    ids = demo[1].encode(TEXT)
    texts = KnownTexts(demo[1], ids)
    other = [*ids[:-1], ids[-1]]
    again = texts.add(other)
    assert again != texts.prompt
    assert texts(again)["input_ids"] == texts(texts.prompt)["input_ids"]


def test_other_texts_are_cut_as_the_prompt_begins(demo):
    tokenizer = demo[1]
    ids = tokenizer.encode(TEXT)
    assert KnownTexts(tokenizer, ids)("")["input_ids"] == ids[:1]
    assert KnownTexts(tokenizer, ids)("...")["input_ids"] == tokenizer.encode("...")
    bare = KnownTexts(tokenizer, ids[1:])
    assert bare("")["input_ids"] == bare.begins == []
    assert bare("...")["input_ids"] == tokenizer.encode("...")[1:]


def test_a_tokenizer_without_offsets_is_decoded(demo, monkeypatch):
    ids = demo[1].encode("Anna lives")

    def without(*arguments):
        raise ValueError("no offsets")

    monkeypatch.setattr("captum_heta.inputs.text.spans_of_ids", without)
    assert pieces(ids, demo[1]) == ["<s>", " Anna", " lives"]
