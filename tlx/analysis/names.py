"""Make a text from outside fit to be shown in one line of a page or a plot."""

import unicodedata

_JOINERS = "\u200c\u200d"  # spelling of Persian, Hindi and emoji; they order nothing
_UNSHOWN = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}


def shown(text: str, most: int = 80) -> str:
    """Replace what would break a line, reorder its neighbours or not encode by a visible sign, and cut the middle.

    Control characters, marks and overrides of direction, lone surrogates and the like become U+FFFD, line breaks an
    arrow; an empty text becomes an open box. A text longer than `most` keeps its two ends. Markup is left as it is:
    escaping it is up to whoever writes the page.

    >>> shown("cat\\ndog"), shown("a" * 50 + "z" * 50, most=9)
    ('cat↵dog', 'aaaaa…zzz')
    """
    if len(text) > most:
        ending = (most - 1) * 2 // 5
        text = f"{text[: most - 1 - ending]}…{text[len(text) - ending :]}"
    text = text.replace("\r\n", "↵").replace("\n", "↵").replace("\t", " ")
    line = "".join(c if c in _JOINERS or unicodedata.category(c) not in _UNSHOWN else "\ufffd" for c in text)
    return line if line.strip() else "␣"
