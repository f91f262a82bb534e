"""Signs for characters that cannot be seen, or that must not reach a terminal."""

# A terminal obeys control characters: it moves the cursor or changes its colours. Unicode has pictures of them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}
_WITHOUT_PICTURE = (
    *range(0x80, 0xA0),  # the other control characters
    *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # those that turn the order of a line
    *range(0xD800, 0xE000),  # halves of a character, of bytes that are no UTF-8: nothing can write them
)
_PICTURES |= dict.fromkeys(_WITHOUT_PICTURE, 0xFFFD)

_WHITE_SPACE = {ord(" "): "\N{OPEN BOX}", ord("\n"): "\N{RETURN SYMBOL}", ord("\t"): "\N{RIGHTWARDS ARROW TO BAR}"}


def visible(text: str) -> str:
    r"""``text`` with a stand-in, as long, for each character that a terminal obeys or cannot write.

    These are control characters except newline and tab, those that change the direction of writing, and surrogates.

    >>> visible("a\x1b[1mb\u202ec")
    'a␛[1mb�c'
    """
    return text.translate(_PICTURES)


def label(text: str) -> str:
    r"""A token on one line, with signs for its white space.

    >>> label(" Rome\n")
    '␣Rome⏎'
    """
    return visible(text).translate(_WHITE_SPACE)


def blank_sign(text: str) -> str:
    r"""What stands for a text of nothing but white space, before it; nothing for another.

    >>> blank_sign("\n\n"), blank_sign(" a")
    ('⏎⏎', '')
    """
    return label(text) if text and text.isspace() else ""


def lead(text: str, start: int, width: int = 20) -> str:
    r"""What stands before a place of ``text``, on one line, from a whole word on where it is cut.

    >>> lead("The key of Karen is in the barn.", 27), lead("Anna lives", 5)
    ('...of Karen is in the ', 'Anna ')
    """
    before = text[max(0, start - width) : start]
    if start > width:
        before = "..." + before[before.find(" ") + 1 :]
    return visible(before).replace("\n", " ")
