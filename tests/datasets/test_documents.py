from captum_heta import DocumentsInput
from captum_heta.datasets.documents import Document, documents_example, documents_prompt

ROME = Document("Rome", ("Anna lives in Rome.", "It rains."))
OSLO = Document("Oslo", ("Ben lives in Oslo.",))


def test_the_prompt_is_that_of_documents_as_an_input(demo):
    _, tokenizer = demo
    prompt, places = documents_prompt([ROME, OSLO], "Where does Ben live?")
    texts = {document.title: " ".join(document.sentences) for document in (ROME, OSLO)}
    inp = DocumentsInput(texts, "Where does Ben live?", tokenizer, document_template="{name}: {text}")
    assert prompt == inp.to_model_input()
    assert [[prompt[start:end] for start, end in spans] for spans in places] == [
        list(document.sentences) for document in (ROME, OSLO)
    ]


def test_an_example_of_documents():
    given = {"name": "x", "source": "made up", "licence": "none"}
    example = documents_example([ROME, OSLO], "Where?", "Oslo", evidence=[(1, 0)], **given)
    texts = [
        [example.prompt[start:end] for start, end in spans]
        for spans in (example.evidence, example.distractors, example.passage)
    ]
    # the titles are no part of the passage
    assert texts == [["Ben lives in Oslo."], list(ROME.sentences), [" ".join(ROME.sentences), "Ben lives in Oslo."]]
    assert (example.target, example.counterfactual, example.counterfactual_target) == (" Oslo", None, None)
    changed = Document("Oslo", ("Ben lives in Bonn.",))
    other = documents_example(
        [ROME, OSLO],
        "Where?",
        "Oslo",
        evidence=[(1, 0)],
        distractors=[(0, 0)],
        changed=[ROME, changed],
        other="Bonn",
        task="Read.\n",
        cue=" In",
        **given,
    )
    assert [other.prompt[start:end] for start, end in other.distractors] == ["Anna lives in Rome."]
    assert other.prompt == f"Read.\n{example.prompt} In"
    assert other.counterfactual == other.prompt.replace("Ben lives in Oslo", "Ben lives in Bonn")
    assert other.counterfactual_target == " Bonn"
