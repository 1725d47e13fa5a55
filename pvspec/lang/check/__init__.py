"""Syntax to model: what names and numbers mean.

Each part of a spec has its file here; `spec` puts them together.
"""

from pvspec.lang.check.spec import check

__all__ = ["check"]
