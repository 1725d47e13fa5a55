"""Program to the text of a Python module; the only door to jinja2."""

from pvspec.render.module import render

__all__ = ["render"]
