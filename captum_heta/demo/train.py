"""Train an embedded model: ``python -m captum_heta.demo.train --model gpt_neox --out FOLDER``.

Writes the weights, the tokenizer if it is the model's own, and a model card with the held-out accuracy that was
measured. Some minutes on two cores.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from captum_heta.demo import FOLDERS, MODELS, load_tokenizer
from captum_heta.demo.lessons import QUESTIONS, Asked, Lesson, training_text, written_out
from captum_heta.demo.recipes import RECIPES, Recipe
from captum_heta.demo.two_steps import PLACES
from captum_heta.demo.world import NAMES, RELATIONS

BATCH = 16
LEARNING_RATE = 1e-3
COPYING = 1  # the lesson before passages of two sentences: words that are repeated
LONGEST_COPY = 24  # words
LABEL_SMOOTHING = 0.05  # a model that is sure beyond rounding has nothing to differentiate
GUESS_WEIGHT = 0.02  # of the loss on tokens that cannot be known from what precedes them
END_WEIGHT = 0.1  # of the loss on what ends an answer; the answer itself has 1
PADDING = -1  # the segment of padding; the passage is segment 0, the questions 1, 2, ...


class Packed(NamedTuple):
    """Texts as tensors of one entry a token: (n,), or (B, n) as a batch."""

    ids: Tensor
    weights: Tensor
    segments: Tensor
    positions: Tensor


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: every text has tokens, and every name and value of the world is one."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1024,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def packed(tokenizer: Any, passage: str, asked: list[Asked]) -> Packed:
    """A passage once, and each question as if it alone followed. Only the answers and their ends can be known."""
    ids = tokenizer.encode(passage)
    ends = {tokenizer.encode(".")[-1], tokenizer.eos_token_id}
    start = len(ids)
    weights, segments, positions = [GUESS_WEIGHT] * start, [0] * start, list(range(start))
    for number, (question, answer, written) in enumerate(asked, start=1):
        cue = tokenizer.encode(f"{passage}\nQuestion: {question}\nAnswer:")[start:]
        given = tokenizer.encode(written, add_special_tokens=False) if written else []
        reply = [*tokenizer.encode(f" {answer}.", add_special_tokens=False), tokenizer.eos_token_id]
        ids += cue + given + reply
        # nothing of weight on the first token: what stands before it here is another question
        weights += [0.0] + [GUESS_WEIGHT] * (len(cue) - 1) + [0.0] * len(given)
        weights += [END_WEIGHT if token in ends else 1.0 for token in reply]
        segments += [number] * (len(ids) - len(segments))
        positions += range(start, start + len(ids) - len(positions))
    return Packed(torch.tensor(ids), torch.tensor(weights), torch.tensor(segments), torch.tensor(positions))


def repeated(tokenizer: Any, rng: random.Random) -> Packed:
    """Some words of the world in any order, twice. The second time each can be known.

    Looking back for a word and copying what followed it is most of finding a fact. From the usual random start, 650
    steps of these texts teach it; from passages alone, 2,500 steps did not tell two sentences apart.
    """
    everything = [*NAMES, *(value for relation in RELATIONS.values() for value in relation.values)]
    words = rng.sample(everything, rng.randint(6, LONGEST_COPY))
    ids = tokenizer.encode(" ".join(words + words))
    weights = [0.0] * (len(ids) - len(words) + 1) + [1.0] * (len(words) - 1)
    order = torch.arange(len(ids))
    return Packed(torch.tensor(ids), torch.tensor(weights), torch.zeros_like(order), order)


def batch(tokenizer: Any, rng: random.Random, longest: int, lesson: Lesson = training_text) -> Packed:
    """BATCH training texts, padded on the right."""
    rows = [
        repeated(tokenizer, rng) if longest == COPYING else packed(tokenizer, *lesson(rng, longest))
        for _ in range(BATCH)
    ]
    fillings = (tokenizer.pad_token_id, 0.0, PADDING, 0)
    return Packed(
        *(
            pad_sequence(list(column), batch_first=True, padding_value=filling)
            for column, filling in zip(zip(*rows, strict=True), fillings, strict=True)
        )
    )


def visible(segments: Tensor) -> Tensor:
    """Which token sees which, (B, 1, n, n) bool: the passage and its own question, as far as they precede it.

    A question that saw the others and their answers would learn to read the answers off them.
    """
    of_key, of_query = segments[:, None, None, :], segments[:, None, :, None]
    return ((of_key == 0) | (of_key == of_query)).tril()


def losses(model: PreTrainedModel, texts: Packed) -> tuple[Tensor, float]:
    """The weighted mean loss of a batch, and the share of its answers that are right."""
    ids, weights, segments, positions = texts
    mask = visible(segments[:, :-1])
    logits = model(ids[:, :-1], attention_mask=mask, position_ids=positions[:, :-1]).logits
    expected, weights = ids[:, 1:], weights[:, 1:]
    loss = cross_entropy(logits.transpose(1, 2), expected, reduction="none", label_smoothing=LABEL_SMOOTHING)
    right = (logits.argmax(-1) == expected)[weights == 1].float().mean().item()
    return (loss * weights).sum() / weights.sum(), right


def train(
    steps: int, seed: int, log: Callable[[str], object], recipe: Recipe = RECIPES["llama"]
) -> tuple[PreTrainedModel, Any]:
    """The trained model and its tokenizer. Texts get longer whenever the answers are mostly right."""
    rng = random.Random(seed)
    tokenizer: Any = load_tokenizer()
    if recipe.own_tokenizer:
        tokenizer = train_tokenizer(written_out(*recipe.task.lesson(rng, recipe.task.longest)) for _ in range(4000))
    torch.manual_seed(seed)
    model = recipe.untrained(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 100, 1.0, (steps - step) / (0.35 * steps))
    )
    longest, running = COPYING if recipe.copies_first else 2, 0.0
    for step in range(1, steps + 1):
        loss, right = losses(model, batch(tokenizer, rng, longest, recipe.task.lesson))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        running = 0.98 * running + 0.02 * right
        if running > 0.88 and longest < recipe.task.longest:
            longest, running = longest + 1, 0.5
        if step % 100 == 0:
            texts = "repeated words" if longest == COPYING else f"passages of up to {longest} {recipe.task.unit}"
            log(f"step {step}/{steps}: {texts}, {running:.0%} of the answers right")
    return model.eval(), tokenizer


def main() -> None:
    """Train, measure, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default=MODELS[0], help=f"default: {MODELS[0]}")
    parser.add_argument("--out", type=Path, help="default: the package's own")
    parser.add_argument("--steps", type=int, help="default: those of the package's own")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.model]
    steps = recipe.steps if arguments.steps is None else arguments.steps
    out = arguments.out or Path(__file__).parent / FOLDERS[arguments.model]
    start = time.perf_counter()
    model, tokenizer = train(steps, arguments.seed, lambda line: print(line, flush=True), recipe)
    minutes = (time.perf_counter() - start) / 60
    # of the parameters, which has a matrix that is tied to another once; a copy of each in another dtype is not tied
    model.save_pretrained(out, state_dict={name: w.to(recipe.stored) for name, w in model.named_parameters()})
    with torch.no_grad():
        for weight in model.parameters():  # what is measured is what is stored
            weight.copy_(weight.to(recipe.stored))
    if recipe.own_tokenizer:
        tokenizer.save_pretrained(out)
    measured = recipe.task.measure(model, tokenizer, 1000, 0)
    prompt, target = recipe.task.shown()
    threads = torch.get_num_threads()
    card = recipe.task.card.format(
        model=arguments.model,
        title=recipe.title,
        family=recipe.family,
        shape=recipe.shape,
        start=recipe.start,
        parameters=model.num_parameters(),
        megabytes=(out / "model.safetensors").stat().st_size / 1e6,
        dtype=str(recipe.stored).removeprefix("torch."),
        vocabulary=len(tokenizer),
        steps=steps,
        batch=BATCH,
        longest=recipe.task.longest,
        people=len(NAMES),
        relations=len(RELATIONS),
        places=len(PLACES),
        questions=QUESTIONS,
        seed=arguments.seed,
        smoothing=LABEL_SMOOTHING,
        minutes=minutes,
        cores=f"{threads} core{'s' * (threads > 1)}",
        prompt=prompt.replace("\n", "\n    "),
        target=target,
        **measured._asdict(),
    )
    (out / "README.md").write_text(card, encoding="utf-8")
    print(f"held-out accuracy {measured.accuracy:.3f} after {minutes:.1f} minutes; wrote {out}")


if __name__ == "__main__":
    main()
