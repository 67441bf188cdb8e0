r"""Formulas of the pages as MathML, made while the site is built.

Browsers draw MathML by themselves, so that the site needs no script for formulas, and screen
readers read it. In the repository the same formulas, `$...$` and `$$...$$`, are drawn by GitHub.
"""

import html
import re

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(text, **_):
    return _FORMULA.sub(_mathml, text)


def _mathml(found):
    display = "inline" if found[2] == "(" else "block"
    drawn = convert(html.unescape(found[3]).strip(), display=display)
    name = '<mrow><mspace width="0.17em"/><mi>tanh</mi></mrow>'  # one part, which may have a power
    drawn = drawn.replace("<mi>tanh</mi>", name)
    return drawn if display == "inline" else f'<div class="formula">{drawn}</div>'
