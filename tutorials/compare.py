"""One answer explained by HETA and by three of Captum's methods: ``python tutorials/compare.py [picture.svg]``.

All run on the same input through Captum's own interface; to compare on a model of your own, replace `load_model`.
"""

import re
import sys

from captum.attr import (
    FeatureAblation,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    LLMAttribution,
    LLMGradientAttribution,
    TextTokenInput,
)
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from captum_heta import HETA, LLMTokenAttribution
from captum_heta.demo import examples, load_model
from captum_heta.inputs.offsets import token_spans
from captum_heta.visualization.terminal import shaded

model, tokenizer = load_model()
embeddings = model.get_input_embeddings()
methods = {
    "HETA": LLMTokenAttribution(HETA(model), tokenizer),
    "Feature Ablation": LLMAttribution(FeatureAblation(model), tokenizer),
    "Integrated Gradients": LLMGradientAttribution(LayerIntegratedGradients(model, embeddings), tokenizer),
    "Gradient x Activation": LLMGradientAttribution(LayerGradientXActivation(model, embeddings), tokenizer),
}

(item,) = examples(1)
inp = TextTokenInput(item.prompt, tokenizer, skip_tokens=["<s>"])
spans = token_spans(item.prompt, tokenizer)[1][1:]  # without <s>

picture = len(sys.argv) > 1
console = Console(width=96, record=picture, highlight=False)
for name, method in methods.items():
    result = method.attribute(inp, target=item.target)
    console.print(f"{name}: why{item.target}?", style="bold")
    console.print(shaded(item.prompt, spans, result.seq_attr.abs().tolist()), end="\n\n")

if picture:
    svg = console.export_svg(title="Which tokens is the answer from?", theme=DEFAULT_TERMINAL_THEME)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(re.sub(r"@font-face \{.*?\}\n *", "", svg, flags=re.DOTALL))  # they would be fetched from the web
