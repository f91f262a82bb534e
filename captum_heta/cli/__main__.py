"""``python -m captum_heta.cli``, as `accelerate launch` starts it."""

from captum_heta.cli import main

main()
