"""Program to the text of a Python module; the only door to jinja2."""

from pvspec.compiler.printout.module import render

__all__ = ["render"]
