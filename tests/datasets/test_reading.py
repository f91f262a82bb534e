from captum_heta.datasets.reading import reading_example, reading_prompt, worked

SENTENCES = ["It rained.", "Ada has a pin.", "Bea has a cup."]
QUESTION, CUE = "What does Ada have?", "Ada has a"


def test_prompt_by_hand():
    prompt, spans = reading_prompt(SENTENCES, QUESTION, CUE)
    assert prompt == (
        "Read the text and answer the question.\nText: It rained. Ada has a pin. Bea has a cup.\n"
        "Question: What does Ada have?\nAnswer: Ada has a"
    )
    assert [prompt[start:end] for start, end in spans] == SENTENCES


def test_another_text_may_be_shown_before():
    shown = worked(["Cid has a hat."], "What does Cid have?", "Cid has a hat.")
    prompt, spans = reading_prompt(SENTENCES, QUESTION, CUE, shown)
    assert prompt.startswith(
        "Read the text and answer the question.\nText: Cid has a hat.\nQuestion: What does Cid have?\n"
        "Answer: Cid has a hat.\nText: It rained. "
    )
    assert [prompt[start:end] for start, end in spans] == SENTENCES


def test_example_by_hand():
    example = reading_example(
        SENTENCES,
        QUESTION,
        CUE,
        "pin",
        evidence=[1],
        distractors=[2],
        changed=(1, "Ada has a pan."),
        other="pan",
        name="one",
        source="made up",
    )
    texts = [[example.prompt[slice(*span)] for span in spans] for spans in (example.evidence, example.distractors)]
    assert texts == [["Ada has a pin."], ["Bea has a cup."]]
    assert [example.prompt[slice(*span)] for span in example.passage] == [" ".join(SENTENCES)]
    assert example.counterfactual == example.prompt.replace("pin", "pan")
    assert (example.target, example.counterfactual_target) == (" pin", " pan")
    assert (example.id, example.source, example.licence) == ("one", "made up", "BSD-3-Clause")
