"""What the docstrings' style needs to become Markdown: examples as blocks of code.

`>>>` at the start of a line is a quotation of a quotation in Markdown.
"""

import re

import griffe

_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *$).+)*", re.MULTILINE)
_TITLE = re.compile(r"^(Example|Reference|References|Call arguments|Output shape):", re.MULTILINE)


class Examples(griffe.Extension):
    """Fences doctests, and sets their titles, which are no sections of Google's style, in bold."""

    def on_instance(self, *, obj, **_):
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    text = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
    return _TITLE.sub(r"**\1:**", text)
