"""Values to a picture, by a template; whatever the values hold comes out as text."""

from __future__ import annotations

from typing import Any

from pvspec.resources import resource


def render_picture(template: str, **values: Any) -> str:
    """The text of an SVG; every value is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(resource("templates")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    return environment.get_template(template).render(**values)
