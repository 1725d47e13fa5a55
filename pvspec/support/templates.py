"""Filling in templates; nothing else imports jinja2."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pvspec.support.paths import resource

if TYPE_CHECKING:
    from jinja2 import Environment


def fill(template: str, **values: object) -> str:
    """The filled-in text of a template in `templates/`; in an SVG values are escaped, elsewhere left as they are."""
    return _environment(template.endswith(".svg.jinja")).get_template(template).render(**values)


@cache
def _environment(escaped: bool) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(resource("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=escaped,
    )
