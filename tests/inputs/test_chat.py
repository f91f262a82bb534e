import copy

import pytest
import torch
from captum.attr import (
    FeatureAblation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    TextTokenInput,
)
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from captum_heta import HETA, ChatInput, LLMTokenAttribution, compare
from captum_heta.attr import ContextCite
from captum_heta.features import Features
from captum_heta.inputs import LocatedInput
from captum_heta.inputs.target import generated_answer
from captum_heta.models import LanguageModel

CHAT = [
    {"role": "system", "content": "You know where people live."},
    {"role": "user", "content": "Anna lives in Rome. Ben lives in Oslo."},
    {"role": "assistant", "content": "I see."},
    {"role": "user", "content": "Where does Ben live?"},
]
QUICK = {"curvature": "fisher", "n_samples": 2, "rank": 8}


def user(*contents):
    """A chat in turns, which each template takes."""
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def joined(chat, message):
    """The text of one message's features; tokens of one character have the same place."""
    spans = [span for span, number in zip(chat.spans, chat.message_of, strict=True) if number == message]
    return "".join(chat.text[start:end] for start, end in dict.fromkeys(spans))


def words(text):
    return "".join(text.split())


def test_ids_are_the_chat_templates(tokenizer):
    chat = ChatInput(CHAT, tokenizer)
    expected = tokenizer.apply_chat_template(CHAT, tokenize=True, add_generation_prompt=True)["input_ids"]
    assert chat.inp_tensor.tolist() == [expected]
    assert chat.text == tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    assert expected.count(tokenizer.bos_token_id) == (0 if "im_start" in tokenizer.chat_template else 1)
    assert tokenizer.encode(chat.text).count(tokenizer.bos_token_id) == expected.count(tokenizer.bos_token_id) + 1


def test_features_are_the_contents(tokenizer):
    chat = ChatInput(CHAT, tokenizer)
    assert [joined(chat, i) for i in range(4)] == [message["content"] for message in CHAT]
    assert chat.role_of == [CHAT[i]["role"] for i in chat.message_of]
    special = set(tokenizer.all_special_ids)
    assert not special & set(chat.itp_tensor[0].tolist())
    assert 0 < chat.n_itp_features < chat.inp_tensor.numel()


def test_roles_keep_their_features_only(tokenizer):
    whole, chat = ChatInput(CHAT, tokenizer), ChatInput(CHAT, tokenizer, roles=("user",))
    assert torch.equal(whole.inp_tensor, chat.inp_tensor)
    assert set(chat.message_of) == {1, 3}
    assert chat.spans == [span for span, role in zip(whole.spans, whole.role_of, strict=True) if role == "user"]


def test_generation_prompt_is_at_the_end(kit):
    tokenizer = kit.bytes(kit.chatml, trim_offsets=False)
    with_header, without = (ChatInput(CHAT, tokenizer, add_generation_prompt=flag) for flag in (True, False))
    assert with_header.text == without.text + "<|im_start|>assistant\n"
    assert with_header.spans == without.spans


@pytest.mark.parametrize(
    "contents",
    [
        ("again", "again", "again"),
        ("user", "assistant", "user: user\nassistant"),
        ("Hi \U0001f600\u00e9\U0001f1eb\U0001f1f7!", "\u4f60\u597d", "e\u0301"),
        ("one\n\ntwo\n three", "a\tb", "x   y"),
        ("", "I see.", "And?"),
        ("<|im_end|>", "<s>", "{{ bos_token }}{}"),
        ("\ue000inside\ue001", "\ue001", "\ue000"),
    ],
)
def test_contents_of_every_kind_are_found(tokenizer, contents):
    chat = ChatInput(user(*contents), tokenizer)
    assert [joined(chat, i) for i in range(3)] == list(contents)
    expected = tokenizer.apply_chat_template(user(*contents), tokenize=True, add_generation_prompt=True)
    assert chat.inp_tensor[0].tolist() == expected["input_ids"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12), min_size=1, max_size=3
    )
)
@example([" lead and trail \n", "  ", "b"])
def test_no_visible_character_of_a_content_is_lost(tokenizer, contents):
    assume(any(words(content) for content in contents))
    chat = ChatInput(user(*contents), tokenizer)
    assert [words(joined(chat, i)) for i in range(len(contents))] == [words(content) for content in contents]
    assert all(0 <= start < end <= len(chat.text) for start, end in chat.spans)


def test_stripped_contents_have_their_inner_text(kit):
    tokenizer = kit.bytes(kit.llama, trim_offsets=False)
    chat = ChatInput(user(" \n a  b \n", " ", "c "), tokenizer)
    assert [joined(chat, i) for i in range(3)] == ["a  b", "", "c"]


def test_unstripped_white_space_is_content(kit):
    for trim_offsets in (False, True):
        chat = ChatInput(user(" a ", " "), kit.bytes(kit.chatml, trim_offsets))
        assert [joined(chat, i) for i in range(2)] == [" a ", " "]


def test_token_that_is_more_the_templates_is_context(kit):
    tokenizer = kit.bytes(kit.plain, trim_offsets=False)
    tokenizer.add_tokens([": An", "na: ", "s\nassis"])
    chat = ChatInput([{"role": "user", "content": "Anna: Ann is"}], tokenizer)
    labels = dict(zip(chat.values, chat.spans, strict=True))
    start = len("<s>user: ")
    assert labels[": An"] == (start, start + 2)  # two visible characters of three; shown without the template's
    assert "s\nassis" not in labels  # one of six
    assert joined(chat, 0) == "Anna: Ann i"


def test_content_that_the_template_writes_twice_has_both_places(kit):
    twice = "{% for m in messages %}{{ m['content'] + ' | ' + m['content'] }}{% endfor %}"
    chat = ChatInput([{"role": "user", "content": "ab"}], kit.bytes(twice, trim_offsets=False))
    assert chat.spans == [(0, 1), (1, 2), (5, 6), (6, 7)]


def test_content_that_the_template_writes_in_capitals_is_found(kit):
    loud = "{% for m in messages %}{{ m['role'] + ' ' + m['content'] | upper }}{% endfor %}"
    chat = ChatInput([{"role": "user", "content": "user"}], kit.bytes(loud, trim_offsets=False))
    assert joined(chat, 0) == "USER"


def test_template_args_reach_the_template(kit):
    thinking = kit.chatml + "{% if not thinking %}{{ '<nothing>' }}{% endif %}"
    tokenizer = kit.bytes(thinking, trim_offsets=False)
    assert ChatInput(CHAT, tokenizer).text.endswith("<nothing>")
    assert ChatInput(CHAT, tokenizer, template_args={"thinking": True}).text.endswith("assistant\n")
    assert "user: Where" in ChatInput(CHAT, tokenizer, template_args={"chat_template": kit.plain}).text


def test_message_without_content_has_no_features(kit):
    call = [*user("Hi"), {"role": "assistant", "content": None, "tool_calls": []}]
    chat = ChatInput(call, kit.bytes(kit.chatml, trim_offsets=False))
    assert set(chat.message_of) == {0}
    assert chat.by_message(torch.ones(2)) == {0: 2.0, 1: 0.0}


def test_sums_by_message_and_role(tokenizer):
    chat = ChatInput(CHAT, tokenizer)
    scores = torch.arange(1.0, 1 + chat.n_itp_features)
    by_message, by_role = chat.by_message(scores), chat.by_role(scores.tolist())
    assert list(by_message) == [0, 1, 2, 3]
    assert by_message[0] == pytest.approx(sum(range(1, 1 + chat.message_of.count(0))))
    assert by_role == pytest.approx(
        {"system": by_message[0], "user": by_message[1] + by_message[3], "assistant": by_message[2]}
    )
    assert sum(by_role.values()) == pytest.approx(scores.sum().item())
    with pytest.raises(ValueError, match="scores must be one number for each of the .* got shape \\(2, .*seq_attr"):
        chat.by_message(torch.ones(2, chat.n_itp_features))


def test_sentences_end_with_their_message(tokenizer):
    chat = ChatInput(CHAT, tokenizer)
    mask = chat.sentence_mask().tolist()
    sentences = {}
    for number, span in zip(mask, chat.spans, strict=True):
        sentences[number] = sentences.get(number, "") + chat.text[slice(*span)]
    expected = ["You know where people live.", "Anna lives in Rome.", "Ben lives in Oslo.", "I see."]
    assert [text.strip() for text in sentences.values()] == [*expected, "Where does Ben live?"]


def test_messages_are_copied(kit):
    messages = copy.deepcopy(CHAT)
    chat = ChatInput(messages, kit.bytes(kit.chatml, trim_offsets=False))
    messages[0]["content"] = "changed"
    assert chat.messages == CHAT


def test_has_all_that_captums_input_has(kit):
    tokenizer = kit.embedded(kit.llama)
    chat, captum = ChatInput(CHAT, tokenizer), TextTokenInput("Hi", tokenizer, skip_tokens=["<s>"])
    assert vars(captum).keys() <= vars(chat).keys()
    gone = chat.to_tensor()
    gone[0, 0] = 0
    changed = (chat.to_model_input(gone) != chat.inp_tensor).nonzero()[:, 1].tolist()
    assert changed == chat.itp_mask[0].nonzero().flatten().tolist()[:1]


def test_baseline_is_an_id_or_a_token(kit):
    tokenizer = kit.embedded(kit.llama)
    assert ChatInput(CHAT, tokenizer).baselines == 0
    assert ChatInput(CHAT, tokenizer, baselines=7).baselines == 7
    assert ChatInput(CHAT, tokenizer, baselines="</s>").baselines == 1


@pytest.fixture(scope="module")
def chat(kit):
    return ChatInput(CHAT, kit.embedded(kit.llama), roles=("user",))


def test_scores_are_those_of_the_same_tokens(demo, chat):
    model, _ = demo
    result = LLMTokenAttribution(HETA(model), chat.tokenizer).attribute(chat, " Oslo", **QUICK)
    places = chat.itp_mask[0].nonzero().flatten()
    outputs = torch.tensor(chat.tokenizer.encode(" Oslo", add_special_tokens=False))
    expected = HETA(model).attribute_outputs(chat.inp_tensor[0], outputs, Features.of_tokens(places.tolist()), **QUICK)
    torch.testing.assert_close(result.token_attr, expected.scores)
    assert result.seq_attr.abs().sum() > 0
    assert result.input_tokens == chat.values


def test_sentence_methods_take_the_sentences_of_messages(demo, chat):
    llm = LLMTokenAttribution(ContextCite(demo[0]), chat.tokenizer)
    result = llm.attribute(chat, " Oslo", seed=0)
    grouped = llm.attribute(chat, " Oslo", feature_mask=chat.sentence_mask(), seed=0)
    torch.testing.assert_close(result.seq_attr, grouped.seq_attr)
    assert len(result.seq_attr.unique()) <= 3


def test_captums_own_methods_take_a_chat(demo, chat):
    model, _ = demo
    ablation = LLMAttribution(FeatureAblation(model), chat.tokenizer).attribute(chat, " Oslo")
    gradients = LayerIntegratedGradients(model, model.get_input_embeddings())
    gradient = LLMGradientAttribution(gradients, chat.tokenizer).attribute(chat, " Oslo", n_steps=3)
    assert ablation.seq_attr.shape == gradient.seq_attr.shape == (chat.n_itp_features,)
    assert sum(chat.by_role(ablation.seq_attr).values()) == pytest.approx(ablation.seq_attr.sum().item(), rel=1e-4)


def test_comparison_shows_the_chat_with_its_headers(demo, chat):
    model, _ = demo
    methods = {"HETA": HETA(model), "Ablation": FeatureAblation(model), "length": lambda prompt, target: chat_scores}
    chat_scores = torch.arange(float(chat.n_itp_features))
    found = compare(methods, chat.tokenizer, chat, " Oslo", options={"HETA": QUICK})
    assert not found.failures
    assert found.prompt == chat.text
    assert found.tokens == [chat.text[start:end] for start, end in chat.spans]
    page = found.to_html()
    assert "start_header_id" in page
    found.plot()


def test_comparison_generates_from_the_chat(demo, chat):
    model, _ = demo
    found = compare(
        {"HETA": HETA(model)}, chat.tokenizer, chat, gen_args={"max_new_tokens": 1}, options={"HETA": QUICK}
    )
    with torch.no_grad():
        best = model(chat.inp_tensor).logits[0, -1].argmax()
    assert found.target == chat.tokenizer.decode(best)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "at least one message.*got \\[\\]"),
        ("Hello", "must be a list.*'Hello'"),
        ({"role": "user", "content": "Hi"}, "must be a list"),
        ([{"content": "Hi"}], "Message 0 must be a mapping with a 'role'.*'Hi'"),
        (["Hi"], "Message 0 must be a mapping with a 'role' that is text, got 'Hi'"),
        (
            [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
            "content of message 0 \\(user\\) must be text or None, got list. Join the text",
        ),
        ([{"role": "user", "content": " "}, {"role": "user", "content": ""}], "messages of user have no text"),
    ],
)
def test_what_is_no_chat_is_an_error(kit, messages, message):
    with pytest.raises(ValueError, match=message):
        ChatInput(messages, kit.bytes(kit.llama, trim_offsets=False))


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"roles": "user"}, TypeError, "roles must be several names, got the text 'user': pass \\('user',\\)"),
        ({"roles": ("user", "tool")}, ValueError, "system, user, assistant, got 'tool'"),
        ({"roles": ()}, ValueError, "at least one of the chat's, system, user, assistant; None takes all"),
        ({"template_args": {"tokenize": True}}, ValueError, "'tokenize' is set by the input. Leave it out"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(kit, arguments, kind, message):
    with pytest.raises(kind, match=message):
        ChatInput(CHAT, kit.bytes(kit.llama, trim_offsets=False), **arguments)


def test_no_chat_template_is_an_error(kit):
    with pytest.raises(ValueError, match="has no chat template. Load .* set tokenizer.chat_template, .*TextTokenInput"):
        ChatInput(CHAT, kit.bytes(None, trim_offsets=False))


def test_no_offsets_is_an_error(kit):
    slow = ByT5Tokenizer()
    slow.chat_template = kit.chatml
    with pytest.raises(ValueError, match="ByT5Tokenizer has no character offsets.*fast tokenizer"):
        ChatInput(CHAT, slow)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}",  # left out
        "{% for m in messages %}{{ m['content'] | replace('know', 'KNOW') | length }}{% endfor %}",  # its length
        "{% for m in messages %}{{ m['content'].split('know')[-1] }}{% endfor %}",  # cut
        "{% for m in messages %}{{ m['content'] | reverse }}{% endfor %}",
    ],
)
def test_content_that_cannot_be_found_is_an_error(kit, template):
    tokenizer = kit.bytes(template, trim_offsets=False)
    with pytest.raises(
        ValueError, match="does not show where the content 'You know where.*message 0 \\(system\\).*roles"
    ):
        ChatInput(CHAT, tokenizer)


def test_role_whose_content_is_cut_can_be_left_out(kit):
    template = "{% for m in messages %}{{ m['content'].split('know')[-1] + '\\n' }}{% endfor %}"
    tokenizer = kit.bytes(template, trim_offsets=False)
    chat = ChatInput(CHAT, tokenizer, roles=("user", "assistant"))
    assert joined(chat, 1) == CHAT[1]["content"]


class TestTemplatesThatFail:
    """A template that does not expect a message without content."""

    @pytest.fixture
    def strict(self, tokenizer):
        strict = copy.deepcopy(tokenizer)
        strict.chat_template = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        return strict

    @pytest.mark.parametrize(
        "message",
        [
            {"role": "assistant"},
            {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "f"}}]},
        ],
    )
    def test_the_error_names_the_message(self, strict, message):
        messages = [{"role": "user", "content": "Where is Rome?"}, message, {"role": "user", "content": "And Oslo?"}]
        with pytest.raises(ValueError, match=r"fails at message 1 \(assistant\), which has no content: .* empty one"):
            ChatInput(messages, strict)
        messages[1] = {**message, "content": ""}
        assert ChatInput(messages, strict).text.count("user") == 2

    def test_other_failures_are_told_too(self, strict):
        strict.chat_template = "{{ raise_exception('roles must alternate') }}"
        with pytest.raises(ValueError, match="The chat template fails on these messages: roles must alternate"):
            ChatInput([{"role": "user", "content": "Where is Rome?"}], strict)


THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m.reasoning_content and loop.last %}"
    "{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n' }}{% endif %}{{ m['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
THOUGHT = [
    {"role": "user", "content": "Where is Anna?"},
    {"role": "assistant", "reasoning_content": "Anna is with Ben.", "content": "Oslo."},
]


class TestReasoning:
    def test_what_an_assistant_thought_has_features_of_its_own(self, kit):
        chat = ChatInput(THOUGHT, kit.bytes(THINKING, trim_offsets=False), add_generation_prompt=False)
        assert "".join(chat.pieces) == "Where is Anna?Anna is with Ben.Oslo."
        groups = list(dict.fromkeys(chat.groups))
        assert groups == ["0 user", "1 assistant's reasoning", "1 assistant"]
        assert set(chat.message_of) == {0, 1}
        assert chat.by_message(torch.ones(len(chat.spans)))[1] == len("Anna is with Ben.Oslo.")

    def test_a_template_may_leave_it_out(self, kit):
        chat = ChatInput([*THOUGHT, {"role": "user", "content": "Why?"}], kit.bytes(THINKING, trim_offsets=False))
        assert "".join(chat.pieces) == "Where is Anna?Oslo.Why?"

    def test_must_be_text(self, kit):
        with pytest.raises(ValueError, match="The reasoning_content of message 0 .* must be text or None, got int"):
            ChatInput([{"role": "user", "content": "x", "reasoning_content": 3}], kit.bytes(THINKING, False))


@pytest.mark.parametrize(
    ("name", "token"), [("chatml", "<|im_end|>"), ("llama", "<|eot_id|>"), ("mistral", "</s>"), ("plain", None)]
)
def test_end_of_turn_is_the_templates(kit, name, token):
    tokenizer = kit.bytes(kit.templates[name], trim_offsets=False)
    chat = ChatInput(user("Where is Anna?"), tokenizer)
    assert chat.end_of_turn == ([] if token is None else [tokenizer.convert_tokens_to_ids(token)])


def test_generation_stops_at_the_end_of_the_turn(kit, demo):
    """A model whose own configuration knows the end of a text alone would go on with the next turn."""
    model, _ = demo
    tokenizer = kit.embedded(kit.templates["plain"])
    chat = ChatInput(user("Anna lives in Rome. Where does Anna live?"), tokenizer)
    prompt = LocatedInput(chat, tokenizer)
    free = generated_answer(prompt, LanguageModel(model), {"max_new_tokens": 6, "do_sample": False})
    chat.__dict__["end_of_turn"] = [int(free[2])]
    first = free.tolist().index(int(free[2]))
    stopped = generated_answer(prompt, LanguageModel(model), {"max_new_tokens": 6, "do_sample": False})
    assert stopped.tolist() == free[:first].tolist()
