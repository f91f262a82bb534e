"""One answer explained by HETA, twice, and by two of Captum's methods: ``python tutorials/compare.py [picture.svg]``.

All run on the same input through Captum's own interface; to compare on a model of your own, replace `load_model`.
"""

import re
import sys

from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from captum_heta import compare
from captum_heta.demo import examples, load_model
from captum_heta.visualization.terminal import shaded

model, tokenizer = load_model()
(item,) = examples(1)
found = compare(["targeted", "heta", "ablation", "ig"], tokenizer, item.prompt, item.target, model=model)

picture = len(sys.argv) > 1
console = Console(width=96, record=picture, highlight=False)
for name, scores in zip(found.names, found.matrix("none").tolist(), strict=True):
    console.print(f"{name}: why{item.target}?", style="bold")
    console.print(shaded(found.prompt, found.spans, found.spread(scores)), end="\n\n")

if picture:
    svg = console.export_svg(title="Which tokens is the answer from?", theme=DEFAULT_TERMINAL_THEME)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        file.write(re.sub(r"@font-face \{.*?\}\n *", "", svg, flags=re.DOTALL))  # they would be fetched from the web
