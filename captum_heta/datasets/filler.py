"""Sentences about nothing in particular, which hide a fact in a long text.

They have no word that is a name or a value of `captum_heta.datasets.vocabulary`, and none is from another text.
"""

import random
from collections.abc import Iterator

THINGS = (
    "bell boat bridge bus candle chair clock cloud curtain door fence field flag fountain ladder lake lamp leaf map "
    "mirror mountain path river road rope shadow stone table tent tower train tree tunnel wall wheel window wind"
).split()
LOOKS = (
    "big bright broad calm clean cold dark deep dry dusty famous flat heavy high large light lonely long modern narrow "
    "new old plain quiet round short small smooth soft strange tall thick thin warm wet wide"
).split()
PLACES = (
    "airport bakery bank beach castle church corner factory farm gate harbor hotel market mill museum park shop square "
    "station street theater valley village yard"
).split()
TIMES = (
    "in the morning,in the evening,at night,at noon,in spring,in summer,in autumn,in winter,last week,last year,"
    "a long time ago,after the storm,before sunset,after the rain,for many years,for a while"
).split(",")
COUNTS = "two three four five six seven eight nine ten eleven twelve".split()

FORMS = (
    "The {thing} was {look}.",
    "The {thing} stood still {time}.",
    "The {thing} near the {place} looked {look} {time}.",
    "Nobody noticed the {look} {thing} behind the {place}.",
    "People often talk about the {thing} by the {place}.",
    "There was a {look} {thing} next to the {place}.",
    "It took {count} days to repair the {thing} at the {place}.",
    "Some visitors like the {look} {thing} more than the {place}.",
    "The {place} was closed {time}, and so was the way to the {thing}.",
    "Between the {place} and the {thing} there were {count} steps.",
    "Every {thing} in this part of the country seemed {look} {time}.",
    "From the {place} one could see a {thing} that was {look} and {other}.",
)


def filler(rng: random.Random) -> Iterator[str]:
    """Sentences without end."""
    while True:
        look, other = rng.sample(LOOKS, 2)
        words = {"thing": THINGS, "place": PLACES, "time": TIMES, "count": COUNTS}
        chosen = {name: rng.choice(some) for name, some in words.items()}
        yield rng.choice(FORMS).format(look=look, other=other, **chosen)
