"""From program to the text of a Python module: the printed module."""

from pvspec.compiler.printout.module import render

__all__ = ["render"]
