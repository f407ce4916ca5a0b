"""Text of a stranger as text: no HTML, link, code, table or metadata of its own."""

import re

_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;"} | {ord(c): f"\\{c}" for c in "\\[]|"}


def text(value: object) -> str:
    """``value`` as plain text in Markdown, also in a table: one line, no HTML, link or markup."""
    return line(value).translate(_ESCAPES | {ord(c): f"\\{c}" for c in "*`~"})


def paragraph(value: object) -> str:
    """``value`` as one paragraph that may stress words, but holds no HTML, link or image and begins no other block."""
    text = line(value).translate(_ESCAPES)
    text = re.sub(r"^(\d+)([.)])", r"\1\\\2", text)
    return re.sub(r"^([#>+\-=~|]|\*(?=\s)|```)", r"\\\1", text)


def code(value: object) -> str:
    """``value`` where Markdown shows code: one line, and nothing that could end the code."""
    return re.sub(r"[]`\"\\<>|[]", "'", line(value))


def line(value: object) -> str:
    """``value`` on one line, also for the metadata, where YAML itself quotes what it has to."""
    return " ".join(str(value).split())
