import copy

import pytest
import torch
from captum.attr import FeatureAblation, LLMAttribution, TextTemplateInput
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from captum_heta import HETA, DocumentsInput, LLMTokenAttribution, compare
from captum_heta.inputs.documents import REST
from captum_heta.inputs.markers import value_spans

DOCUMENTS = {"people": "Anna lives in Rome. Ben lives in Oslo.", "pets": "Anna has a cat at home.", "none": ""}
QUESTION = "Where does Ben live?"
PROMPT = (
    "Anna lives in Rome. Ben lives in Oslo.\n\nAnna has a cat at home.\n\n\n\nQuestion: Where does Ben live?\nAnswer:"
)
MESSAGES = [
    {"role": "system", "content": "Answer from the text."},
    {"role": "user", "content": "Read: {documents}\nThen: {question} {}"},
]
QUICK = {"curvature": "fisher", "n_samples": 2, "rank": 8}
FEATURES = ("document", "sentence", "token")


def made(kit, **arguments):
    return DocumentsInput(DOCUMENTS, QUESTION, kit.embedded(None), **arguments)


def prompt(kit, documents, question=None, **arguments):
    return DocumentsInput(documents, question, kit.embedded(None), **arguments).to_model_input()


@pytest.mark.parametrize("by", FEATURES)
def test_prompt_is_the_same_for_all_features(kit, by):
    inp = made(kit, by=by)
    assert isinstance(inp, TextTemplateInput)
    assert inp.to_model_input() == PROMPT
    # each feature is a part of the prompt, of its own
    places = [found[0] for found in value_spans(inp)]
    assert [PROMPT[start:end] for start, end in places] == inp.values
    assert places == sorted(places)


def test_documents_are_features(kit):
    inp = made(kit)
    assert inp.values == list(DOCUMENTS.values())
    assert inp.labels == inp.document_of == ["people", "pets", "none"]
    assert inp.to_model_input(torch.tensor([[0, 1, 1]])) == PROMPT.removeprefix(DOCUMENTS["people"])


def test_sentences_are_features(kit):
    inp = made(kit, by="sentence")
    assert inp.values == ["Anna lives in Rome. ", "Ben lives in Oslo.", "Anna has a cat at home."]
    assert inp.labels == ["people 1", "people 2", "pets 1"]
    assert inp.document_of == ["people", "people", "pets"]
    assert inp.to_model_input(torch.tensor([[0, 1, 1]])) == PROMPT.removeprefix("Anna lives in Rome. ")


def test_tokens_are_features(kit):
    inp = made(kit, by="token")
    tokenizer = kit.embedded(None)
    assert "".join(inp.values) == "".join(DOCUMENTS.values())
    assert inp.values[:5] == ["Anna", " lives", " in", " Rome", "."]
    before_question = tokenizer.encode(PROMPT[: PROMPT.index("\n\n\n\nQuestion")], add_special_tokens=False)
    assert len(inp.values) == len(before_question) - 2  # the line breaks between the documents
    assert inp.labels[:2] == ["people 1", "people 2"]
    assert inp.labels[inp.document_of.index("pets")] == "pets 1"


@pytest.mark.parametrize("trim_offsets", [False, True])
def test_tokens_of_one_character_are_one_feature(kit, trim_offsets):
    tokenizer = kit.bytes(None, trim_offsets)
    inp = DocumentsInput({"a": "x \U0001f600"}, None, tokenizer, by="token", template="{documents}")
    assert inp.values == ["x", " ", "\U0001f600"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Co"]), max_size=15), max_size=3),
    st.sampled_from(FEATURES),
    st.booleans(),
)
@example([" \n one. two \n", "{question} {documents} {}", "{0}"], "sentence", True)
@example(["a  b ", "a", ""], "token", True)
def test_any_texts_are_written_as_they_are(kit, texts, by, trim_offsets):
    documents = {"first": "Anna.", **{str(i): text for i, text in enumerate(texts)}}
    tokenizer = kit.bytes(None, trim_offsets)
    inp = DocumentsInput(documents, "{documents}?", tokenizer, by=by, template="{documents}|{question}", separator="|")
    assert inp.to_model_input() == "|".join([*documents.values(), "{documents}?"])
    for name, text in documents.items():
        parts = "".join(value for value, of in zip(inp.values, inp.document_of, strict=True) if of == name)
        assert "".join(parts.split()) == "".join(text.split())


def test_white_space_outside_sentences_stays(kit):
    inp = DocumentsInput({"a": "\n\nOne. Two."}, None, kit.embedded(None), by="sentence", template="[{documents}]")
    assert inp.values == ["One. ", "Two."]
    assert inp.to_model_input(torch.zeros(1, 2)) == "[\n\n]"


def test_template_separator_and_names(kit):
    two = {"A": "one", "{text}": "two"}
    assert prompt(kit, two, "why?", template='{"q": {question}} {documents} {}') == '{"q": why?} one\n\ntwo {}'
    assert prompt(kit, two, template="{documents}", separator=" / ") == "one / two"
    written = prompt(kit, two, template="{documents}", document_template="[{name}] {text} ({name})")
    assert written == "[A] one (A)\n\n[{text}] two ({text})"


def test_name_in_the_prompt_is_context(kit):
    inp = made(kit, document_template="{name}: {text}")
    assert inp.values == list(DOCUMENTS.values())
    assert inp.to_model_input(torch.tensor([[0, 0, 0]])).startswith("people: \n\npets: \n\nnone: \n\nQuestion")


@pytest.mark.parametrize("by", FEATURES)
def test_scores_are_summed_by_document(kit, by):
    inp = made(kit, by=by)
    sums = inp.by_document(torch.ones(inp.n_itp_features))
    assert sums == {name: inp.document_of.count(name) for name in DOCUMENTS}
    assert sums["people"] >= 1
    with pytest.raises(ValueError, match="scores must be one number for each"):
        inp.by_document(torch.ones(inp.n_itp_features + 1))


@pytest.mark.parametrize("by", FEATURES)
def test_scores_are_those_of_the_same_template(demo, kit, by):
    inp = made(kit, by=by)
    holes = ["{}" * inp.document_of.count(name) for name in ("people", "pets")]
    llm = LLMTokenAttribution(HETA(demo[0]), demo[1])
    template = "\n\n".join([*holes, f"\n\nQuestion: {QUESTION}\nAnswer:"])
    by_hand = TextTemplateInput(template, [value for value in inp.values if value])
    assert by_hand.to_model_input() == PROMPT
    result, expected = (llm.attribute(each, " Oslo", **QUICK) for each in (inp, by_hand))
    there = [i for i, value in enumerate(inp.values) if value]
    torch.testing.assert_close(result.seq_attr[there], expected.seq_attr)
    assert inp.by_document(result.seq_attr)["none"] == 0


class TestRest:
    def test_before_and_behind_the_documents_are_features(self, kit):
        template = "Say where. Be brief.\n\n{documents}\n\nQuestion: {question}\nAnswer:"
        inp = made(kit, by="sentence", rest=True, template=template)
        whole = f"Say where. Be brief.\n\n{PROMPT}"
        assert inp.to_model_input() == whole
        assert inp.values[3:] == ["Say where. ", "Be brief.", "Question: Where does Ben live?\n", "Answer:"]
        assert inp.labels[2:5] == ["pets 1", f"{REST} 1", f"{REST} 2"]
        assert inp.document_of == ["people", "people", "pets", *[REST] * 4]
        assert [whole[start:end] for ((start, end),) in value_spans(inp)] == inp.values
        assert inp.to_model_input(torch.tensor([[1, 1, 1, 0, 0, 0, 0]])) == whole.replace(
            "Say where. Be brief.", ""
        ).replace("Question: Where does Ben live?\nAnswer:", "")

    def test_a_stretch_is_one_beside_whole_documents(self, kit):
        inp = made(kit, rest=True)
        assert inp.values == [*DOCUMENTS.values(), f"Question: {QUESTION}\nAnswer:"]
        assert inp.labels == [*DOCUMENTS, f"{REST} 1"]

    def test_tokens_are_features(self, kit):
        inp = made(kit, by="token", rest=True)
        mine = [value for value, of in zip(inp.values, inp.document_of, strict=True) if of == REST]
        assert "".join(mine) == f"Question: {QUESTION}\nAnswer:"
        assert mine[:4] == ["Question", ":", " Where", " does"]
        assert inp.values[: len(inp.values) - len(mine)] == made(kit, by="token").values

    def test_sums_have_it_last(self, kit):
        inp = made(kit, by="sentence", rest=True)
        assert inp.by_document(torch.ones(5)) == {"people": 2, "pets": 1, "none": 0, REST: 2}

    @pytest.mark.parametrize("name", ["llama", "mistral", "plain"])
    @pytest.mark.parametrize("by", FEATURES)
    def test_of_a_chat_what_messages_say(self, kit, name, by):
        documents = {name: text for name, text in DOCUMENTS.items() if text}
        given = {"tokenizer": kit.embedded(kit.templates[name]), "by": by, "messages": MESSAGES}
        inp, without = (DocumentsInput(documents, QUESTION, rest=rest, **given) for rest in (True, False))
        assert inp.to_model_input() == without.to_model_input()
        mine = [value for value, of in zip(inp.values, inp.document_of, strict=True) if of == REST]
        said = ["Answer from the text.", "Read:", f"Then: {QUESTION} {{}}"]
        assert "".join("".join(mine).split()) == "".join("".join(said).split())
        assert by != "document" or mine == said
        assert inp.values[: len(without.values)] == without.values
        empty = torch.tensor([[of != REST for of in inp.document_of]]).int()
        assert not any(word in inp.to_model_input(empty) for word in ("Answer", "Read", "Where"))

    def test_the_beginning_is_none(self, kit):
        inp = made(kit, rest=True, template="<s>Read.\n{documents}\n{question}")
        assert inp.values[-2:] == ["Read.", QUESTION]
        assert inp.to_model_input().startswith("<s>Read.")

    def test_scores_of_documents_know_the_question(self, demo, kit):
        inp = made(kit, by="sentence", rest=True)
        result = LLMTokenAttribution(HETA(demo[0]), demo[1]).attribute(inp, " Oslo", **QUICK)
        shares = result.by_group()
        assert max(shares, key=shares.get) == "people"
        assert 0 < shares[REST] < 1
        assert sum(shares.values()) == pytest.approx(1)
        assert result.documents == list(DOCUMENTS)

    def test_a_document_of_that_name_is_an_error(self, kit):
        with pytest.raises(ValueError, match=f"A document is called '{REST}'"):
            DocumentsInput({REST: "a"}, QUESTION, kit.embedded(None), rest=True)
        DocumentsInput({REST: "a"}, QUESTION, kit.embedded(None))

    def test_is_kept_by_copies(self, kit):
        inp = made(kit, by="sentence", rest=True)
        assert copy.deepcopy(inp).to_model_input() == inp.to_model_input()


@pytest.mark.parametrize(("name", "token"), [("llama", "<|eot_id|>"), ("mistral", "</s>"), ("plain", None)])
def test_an_answer_ends_where_the_turn_does(kit, name, token):
    tokenizer = kit.bytes(kit.templates[name], trim_offsets=False)
    inp = DocumentsInput({"a": "one"}, QUESTION, tokenizer, messages=MESSAGES)
    assert inp.end_of_turn == ([] if token is None else [tokenizer.convert_tokens_to_ids(token)])
    assert made(kit).end_of_turn == []


def test_document_with_the_answer_matters_most(demo, kit):
    inp = DocumentsInput(
        {"Ben": "Ben lives in Oslo.", "Anna": "Anna lives in Rome.", "Clara": "Clara has a cat at home."},
        QUESTION,
        demo[1],
        template="{documents}\nQuestion: {question}\nAnswer:",
        separator=" ",
    )
    model, tokenizer = demo
    result = LLMAttribution(FeatureAblation(model), tokenizer).attribute(inp, " Oslo")
    sums = inp.by_document(result.seq_attr)
    assert max(sums, key=sums.get) == "Ben"
    assert sums["Ben"] == pytest.approx(result.seq_attr[0].item())


@pytest.mark.parametrize("by", FEATURES)
def test_comparison_takes_documents(demo, kit, by):
    model, tokenizer = demo
    inp = made(kit, by=by)
    found = compare(
        {"HETA": HETA(model), "Ablation": FeatureAblation(model)}, tokenizer, inp, " Oslo", options={"HETA": QUICK}
    )
    assert not found.failures
    assert found.prompt == PROMPT
    assert [text for text in found.tokens if text] == [value for value in inp.values if value]
    assert "Question: Where" in found.to_html()


@pytest.mark.parametrize("by", FEATURES)
@pytest.mark.parametrize("name", ["llama", "mistral", "plain"])
def test_chat_is_encoded_as_its_template_says(demo, kit, name, by):
    documents = {name: text for name, text in DOCUMENTS.items() if text}
    tokenizer = kit.embedded(kit.templates[name])
    inp = DocumentsInput(documents, QUESTION, tokenizer, by=by, messages=MESSAGES)
    content = f"Read: {DOCUMENTS['people']}\n\n{DOCUMENTS['pets']}\nThen: {QUESTION} {{}}"
    chat = [MESSAGES[0], {"role": "user", "content": content}]
    expected = tokenizer.apply_chat_template(chat, tokenize=True, add_generation_prompt=True)["input_ids"]
    assert tokenizer.encode(inp.to_model_input()) == expected
    assert expected.count(tokenizer.bos_token_id) == 1
    result = LLMTokenAttribution(HETA(demo[0]), tokenizer).attribute(inp, " Oslo", **QUICK)
    assert sum(inp.by_document(result.seq_attr).values()) == pytest.approx(result.seq_attr.sum().item(), rel=1e-4)
    assert result.seq_attr.abs().min() > 0


def test_chat_of_a_tokenizer_that_adds_nothing(kit):
    tokenizer = kit.bytes(kit.chatml, trim_offsets=False)
    tokenizer.encode = lambda text, **options: tokenizer(text, add_special_tokens=False).input_ids
    inp = DocumentsInput(
        {"a": "one", "b": "two"}, None, tokenizer, messages=[{"role": "user", "content": "{documents}"}]
    )
    assert inp.to_model_input() == "<|im_start|>user\none\n\ntwo<|im_end|>\n<|im_start|>assistant\n"
    assert inp.to_model_input(torch.tensor([[1, 0]])) == (
        "<|im_start|>user\none\n\n<|im_end|>\n<|im_start|>assistant\n"
    )


def test_chat_without_the_token_that_the_tokenizer_adds_is_an_error(kit):
    with pytest.raises(ValueError, match="puts special tokens around text that its chat template does not write"):
        DocumentsInput(DOCUMENTS, QUESTION, kit.embedded(kit.chatml), messages=MESSAGES)


@pytest.mark.parametrize(
    ("template", "content"),
    [
        ("{{ bos_token }}{% for m in messages %}{{ m['role'] }}{% endfor %}", "{documents}"),
        ("{{ bos_token }}{% for m in messages %}{{ m['content'] | upper }}{% endfor %}", "{documents}"),
        ("{{ bos_token }}{% for m in messages %}{{ m['content'] | trim }}{% endfor %}", "{documents}"),
    ],
)
@pytest.mark.parametrize("by", FEATURES)
def test_chat_that_changes_documents_is_an_error(kit, template, content, by):
    messages = [{"role": "user", "content": content}]
    with pytest.raises(ValueError, match="Pass it without white space|does not show where its value"):
        DocumentsInput({"a": "Anna \n"}, None, kit.embedded(template), messages=messages, by=by)


def test_chat_needs_a_chat_template_and_messages(kit):
    with pytest.raises(ValueError, match="has no chat template"):
        made(kit, messages=MESSAGES)
    with pytest.raises(ValueError, match="Message 0 must be a mapping"):
        made(kit, messages=["{documents} {question}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "word"}, "by must be one of document, sentence, token, got 'word'"),
        ({"template": "{question}"}, "must have {documents} once, where the documents go, got '{question}'"),
        ({"template": "{documents} {documents}"}, "must have {documents} once"),
        ({"template": "{documents}"}, "'Where does Ben live\\?' has no place: put {question}"),
        ({"question": None}, "has a {question}, but question is None: pass one"),
        ({"template": "{documents}{question}", "messages": MESSAGES}, "pass one of them, not both"),
        ({"document_template": "{name}"}, "document_template must have {text} once.*got '{name}'"),
        ({"document_template": "{text}{text}"}, "document_template must have {text} once"),
        ({"documents": {}}, "documents have no text.*got {}"),
        ({"documents": {"a": " ", "b": ""}}, "documents have no text"),
        ({"documents": ["a"]}, "must be text by name.*got \\['a'\\]"),
        ({"documents": {"a": 1}}, "must be text by name"),
        ({"question": " "}, "The question is empty, got ' ': pass one, or None"),
    ],
)
def test_what_does_not_fit_is_an_error(kit, arguments, message):
    given = {"documents": DOCUMENTS, "question": QUESTION, "tokenizer": kit.embedded(None), **arguments}
    with pytest.raises(ValueError, match=message):
        DocumentsInput(**given)
