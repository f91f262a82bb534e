"""What a person may begin with: texts, a chat and documents that any language model reads, the embedded one best."""

import random

from captum_heta.app.links import NONE, Shown
from captum_heta.app.prompts import ChatPrompt, DocumentsPrompt, TextPrompt
from captum_heta.demo.world import draw_facts, prompt_of

_SENTENCES = 45  # of the long text, which is looked at coarse to fine


def shown_examples(prompt: str) -> dict[str, Shown]:
    """The examples by their names; the first is there when the page opens.

    Args:
        prompt: the text of the first.
    """
    passage = "Anna lives in Rome. Ben lives in Oslo. Clara works as a baker. Ben likes to eat rice."
    facts = f"{passage}\nQuestion: Where does Ben live?\nAnswer:"
    return {
        "A fact among others": Shown(TextPrompt(prompt)),
        "Why Oslo, and not Rome?": Shown(TextPrompt(facts), target="Oslo", contrast="Rome"),
        "Against Integrated Gradients": Shown(TextPrompt(facts), beside="ig"),
        "A chat": Shown(
            ChatPrompt(
                (("system", f"{passage} Anna has a cat at home."), ("user", "Question: Which pet does Anna have?"))
            )
        ),
        "Documents": Shown(
            DocumentsPrompt(
                (
                    ("Register", "Anna lives in Rome. Ben lives in Oslo."),
                    ("Jobs", "Clara works as a baker. Ben works as a pilot."),
                    ("Menu", "Ben likes to eat rice."),
                ),
                "What is the job of Ben?",
            )
        ),
        "A long text, coarse to fine": Shown(TextPrompt(_long()), beside=NONE),
    }


def _long() -> str:
    rng = random.Random(0)
    facts = draw_facts(rng, _SENTENCES, people=12, relations=6)
    question, _ = facts[_SENTENCES // 2].ask(for_name=False)
    return prompt_of([fact.state(rng) for fact in facts], question)
