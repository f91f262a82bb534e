import random
from itertools import islice

from captum_heta.datasets.filler import filler


def test_sentences_are_many_and_the_same_for_a_generator():
    sentences = list(islice(filler(random.Random(1)), 500))
    assert sentences == list(islice(filler(random.Random(1)), 500))
    assert sentences != list(islice(filler(random.Random(2)), 500))
    assert len(set(sentences)) > 450
    assert all(sentence[0].isupper() and sentence.endswith(".") and "{" not in sentence for sentence in sentences)
    assert not any(". " in sentence for sentence in sentences)
