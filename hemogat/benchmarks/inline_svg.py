"""matplotlib's pictures as SVG that stands inside an HTML page, without references to elsewhere."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET

import matplotlib
from matplotlib.figure import Figure

_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """Return a picture as an ``svg`` element.

    Args:
        figure: the picture.
        name: letters, digits and dashes, unique in the page: its identifiers start with it.
        description: what the picture shows, for those who cannot see it.
    """
    written = io.StringIO()
    # Text stays text: it can be searched, and is smaller than outlines. The salt makes equal
    # pictures equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hemogat"}):
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(written.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            _local(key): _renamed(_local(key), value, name) for key, value in element.attrib.items()
        }
    title = ET.Element("title")
    title.text = description
    root.insert(0, title)
    root.attrib.pop("width")  # the page decides; the view box keeps the proportions
    root.attrib.pop("height")
    root.set("role", "img")
    root.set("style", f"--inches: {figure.get_figwidth():g}")  # so that all texts are of one size
    return ET.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    """Return a tag or attribute without its namespace, which HTML knows by itself."""
    return name.rpartition("}")[2]


def _renamed(attribute: str, value: str, name: str) -> str:
    if attribute == "id":
        return f"{name}-{value}"
    if attribute == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return _REFERENCE.sub(rf"url(#{name}-\1)", value)
