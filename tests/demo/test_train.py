import random

import torch

from captum_heta.demo import train
from captum_heta.demo.architecture import untrained


def test_questions_see_the_passage_and_themselves_only():
    seen = train.visible(torch.tensor([[0, 0, 1, 1, 2, train.PADDING]]))[0, 0]
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


def test_packed_questions_are_predicted_as_if_each_came_alone(demo):
    model, tokenizer = demo
    passage, asked = train.training_text(random.Random(5), longest=4)
    texts = train.packed(tokenizer, passage, asked)
    mask = train.visible(texts.segments[None])
    with torch.no_grad():
        together = model(texts.ids[None], attention_mask=mask, position_ids=texts.positions[None]).logits[0]
        for number, pair in enumerate(asked, start=1):
            alone = [*tokenizer.encode(train.written_out(passage, [pair])), tokenizer.eos_token_id]
            kept = (texts.segments == 0) | (texts.segments == number)
            assert texts.ids[kept].tolist() == alone
            torch.testing.assert_close(together[kept], model(torch.tensor([alone])).logits[0], rtol=1e-4, atol=1e-4)


def test_only_answers_have_the_full_weight(demo):
    _, tokenizer = demo
    passage, asked = train.training_text(random.Random(5), longest=4)
    texts = train.packed(tokenizer, passage, asked)
    answers = tokenizer.decode(texts.ids[texts.weights == 1])
    assert answers.split() == [answer for _, answer in asked]


def test_training_starts_the_same_for_a_seed_and_learns():
    lines = []
    model, tokenizer = train.train(2, seed=1, log=lines.append)
    again, _ = train.train(2, seed=1, log=lines.append)
    torch.testing.assert_close(model.state_dict(), again.state_dict())
    torch.manual_seed(1)
    start = untrained(tokenizer)
    assert not torch.equal(start.lm_head.weight, model.lm_head.weight)
