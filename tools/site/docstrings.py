"""What the docstrings' style needs to become Markdown: examples and lists of files as blocks.

`>>>` at the start of a line is a quotation of a quotation in Markdown.
"""

import re

import griffe

_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *$).+)*", re.MULTILINE)
_FILES = re.compile(r"^(?:[\w/]+(?:\.py|/) {2,}\S.*\n?(?: {4,}\S.*\n?)*)+", re.MULTILINE)
_TITLE = re.compile(r"^(Example|Reference|References|Call arguments|Output shape):", re.MULTILINE)


class Examples(griffe.Extension):
    """Fences doctests, and sets their titles, which are no sections of Google's style, in bold."""

    def on_instance(self, *, obj, **_):
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    text = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
    text = _FILES.sub(lambda found: f"```text\n{found[0].rstrip()}\n```\n", text)
    return _TITLE.sub(r"**\1:**", text)
