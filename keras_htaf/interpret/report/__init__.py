"""The analysis as one HTML file, and as tables and pictures.

page.py        the file: content and templates put together
payload.py     what the page's script works on
selection.py   which samples and images are shown
pictures.py    images in a few large ones
places.py      maps of bits on the images that are shown
charts.py      numbers as lines and bars
exports.py     CSV, JSON and PNG
templates/     templates, style and script
"""

from keras_htaf.interpret.report.exports import write_exports
from keras_htaf.interpret.report.page import write_report

__all__ = ["write_exports", "write_report"]
