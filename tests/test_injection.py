"""Names and strings made to break out of the generated module: they stay data, or are refused."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pvspec.compiler.pipeline import compile_spec, import_text

SEEN = ['"""', "'''", "\\", "\n", "\r", "\x0c", "{{ 7 * 7 }}", "{% for %}", "#}", "\u00a0"]
ESCAPES = [*SEEN, "\x1b[2J", "\u2028", "\u202e", "\u3164"]  # no spec's text may hold these, but a file's name
PAYLOAD = "__import__('os').abort()"
SPEC = """
machine i386 {{
    bits 32
    nops n {{ "90" }}
    choose nops n
}}
interface ops {{
    table "{section}" {{ addr u32  type u8  len u8 }}
    op clts 1
}}
backend native for ops {{
    # {comment}
    clts = asm "clts"  # {comment}
           else bug "{message}"
}}
passes {{ ops }}
"""


def module_of(path: Path) -> ast.Module:
    text = compile_spec(path)
    import_text(text, "pvspec.generated.injected")
    return ast.parse(text)


def own(text: str) -> str:
    """What a printed module has of its spec."""
    return text[text.index("# ==== the spec") : text.index("# ==== functions")]


def calls(tree: ast.Module) -> set[str]:
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


@pytest.mark.parametrize("escape", SEEN, ids=ascii)
def test_strings_and_comments_stay_data(escape: str, tmp_path: Path) -> None:
    inside = escape.replace('"', "'").replace("\n", " ").replace("\r", " ")
    attack = f"{inside}{PAYLOAD}{inside}"
    spec = tmp_path / "spec.pvs"
    spec.write_text(
        SPEC.format(section=attack, comment=f"{escape}{PAYLOAD}".replace("\n", " ").replace("\r", " "), message=attack)
    )
    tree = module_of(spec)
    assert "__import__" not in calls(tree)
    assert any(isinstance(n, ast.Constant) and isinstance(n.value, str) and PAYLOAD in n.value for n in ast.walk(tree))


@pytest.mark.parametrize("escape", ESCAPES, ids=ascii)
def test_file_names_stay_data(escape: str, tmp_path: Path) -> None:
    folder = tmp_path / f"{escape}{PAYLOAD}".replace("/", "")
    folder.mkdir()
    spec = folder / f"{escape}{PAYLOAD}.pvs"
    spec.write_text(SPEC.format(section=".t", comment="", message="no"))
    for path in (spec, folder):
        assert "__import__" not in calls(module_of(path))
        assert all(line.isascii() and line.isprintable() for line in own(compile_spec(path)).split("\n"))


@pytest.mark.parametrize("name", ["class", "None", "print", "Kernel", "bind", "SPEC", "len", "__init__"])
def test_names_of_the_output_can_be_names_of_the_spec(name: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.pvs"
    text = SPEC.format(section=".t", comment="", message="no").replace("backend native", f"backend {name}")
    spec.write_text(
        text.replace("interface ops", f"interface {name}")
        .replace("for ops", f"for {name}")
        .replace("{ ops }", f"{{ {name} }}")
    )
    module = import_text(compile_spec(spec), "pvspec.generated.injected")
    insnbuf = bytearray(6)
    assert module.bind(name).patch(1, 0, insnbuf, 0x1000, 6) == 2
    assert getattr(module, f"{name}_patch")(1, 0, insnbuf, 0x1000, 6) == 2
