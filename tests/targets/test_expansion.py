"""What one kernel gets of a spec, as text: it is the same spec, and nothing of other kernels is in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from pvspec import SpecError, TargetError, check_spec, expand_spec, load_spec
from pvspec.engine.value import Value
from pvspec.lang.expansion import without
from pvspec.lang.parse import Cut
from pvspec.lang.parse.cuts import GUARDS
from pvspec.support.paths import resource

from .conftest import MACHINE, TARGETS

CONFIG = {"STRICT": True}
SHIPPED = [("5.10", "i386"), ("5.10", "x86_64"), ("6.1", "i386"), ("6.1", "x86_64"), ("6.12", "x86_64")]


def told(value: object) -> object:
    """A value of the engine without the places in files."""
    if isinstance(value, frozenset):
        return sorted(map(repr, map(told, value)))
    if isinstance(value, Mapping):
        return [(told(key), told(part)) for key, part in value.items()]
    if isinstance(value, Value):
        fields = [name for name in value._fields if name != "where"]
        return type(value).__name__, [(name, told(getattr(value, name))) for name in fields]
    return [told(part) for part in value] if isinstance(value, tuple) else value


def written(folder: Path, spec: Path, kernel: str, machine: str, in_one: bool) -> Path:
    """What a kernel gets, in a new folder."""
    folder.mkdir()
    files = expand_spec(spec, kernel=kernel, machine=machine, in_one=in_one)
    if in_one:
        folder.joinpath("all.pvs").write_text("\n".join(file.text for file in files), encoding="utf-8")
        return folder
    for file in files:
        path = folder / file.path
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(file.text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("in_one", [False, True])
@pytest.mark.parametrize(("kernel", "machine"), TARGETS)
def test_it_is_the_same_spec(tmp_path: Path, spec: Path, kernel: str, machine: str, in_one: bool) -> None:
    folder = written(tmp_path / "expanded", spec, kernel, machine, in_one)
    assert told(load_spec(folder)) == told(load_spec(spec, kernel=kernel, machine=machine))
    assert [str(target) for target in check_spec(folder).programs] == [f"Linux {kernel} on {machine}"]
    text = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.pvs"))
    assert not re.search(r"\b(since|before)\b", text)
    assert f"kernels {kernel} on {machine}\n" in text


@pytest.mark.parametrize("in_one", [False, True])
@pytest.mark.parametrize(("kernel", "machine"), SHIPPED)
def test_shipped_specs(tmp_path: Path, kernel: str, machine: str, in_one: bool) -> None:
    spec = resource("specs", "linux")
    folder = written(tmp_path / "expanded", spec, kernel, machine, in_one)
    assert told(load_spec(folder)) == told(load_spec(spec, kernel=kernel, machine=machine))


def test_as_a_reviewer_reads_it(spec: Path) -> None:
    texts = {file.path: file.text for file in expand_spec(spec, kernel="6.1", machine="i386")}
    assert (
        texts["machine.pvs"]
        == """\
# The kernels.
kernels 6.1 on i386

machine i386 {
    # Of each.
    feature FAST    1
    feature LOCKED  2

    # Of the first ones, some.
    feature STRICT

    nops short { "90"  "66 90" }
    nops long { "90"  "66 90"  "0f 1f 00" }
    choose nops long when cpu has FAST or cpu has LOCKED else short
}

# The narrow one.
machine i386 {
    bits 32
}
"""
    )
    text = texts["spec.pvs"]
    assert "wide" not in text
    assert 'include "machine.pvs"\n' in text
    assert "    let fast = cpu has FAST\n    let old = not on i386\n" in text
    assert "    if fast {\n        set LOCKED when mode is auto and not old\n    } else {\n" in text
    assert "        clear LOCKED when old or (not fast and mode is on)\n    }\n" in text
    assert "    if config STRICT { set STRICT }\n    if mode is on and config LOOSE {\n" in text
    assert "policy { first }\n" in text
    assert "    registers { eax 1 }\n    op halt 1\n    op idle 2\n" in text
    assert '    halt = nop\n    idle = keep when cpu has LOCKED else bytes "90"\n' in text
    assert '    # Both.\n    bytes "c3" when cpu has LOCKED\n    chosen\n' in text
    assert "passes { locks }\n" in text
    assert "Only the newest" not in text
    assert "As it was" not in text


def test_with_a_configuration(spec: Path) -> None:
    (text,) = [f.text for f in expand_spec(spec, kernel="6.1", machine="i386", config=CONFIG) if f.path == "spec.pvs"]
    assert "config" not in text
    assert "    set STRICT\n    if mode is auto {\n        set FAST\n    } else {\n" in text


def test_what_is_outside_is_written_inside(tmp_path: Path, spec: Path) -> None:
    inner = spec.parent / "inner"
    inner.mkdir()
    inner.joinpath("spec.pvs").write_text('include "../spec.pvs"\n', encoding="utf-8")
    files = expand_spec(inner, kernel="6.1", machine="i386", include=[spec.parent])
    assert [file.path for file in files] == ["up/machine.pvs", "up/spec.pvs", "spec.pvs"]
    assert files[-1].text == 'include "up/spec.pvs"\n'
    assert 'include "machine.pvs"' in files[1].text


def test_a_file_of_which_nothing_is_left(spec: Path) -> None:
    paths = [file.path for file in expand_spec(spec, kernel="5.10", machine="x86_64")]
    assert paths == ["machine.pvs", "spec.pvs"]  # wide.pvs is for later kernels
    assert "include" in expand_spec(spec, kernel="5.10", machine="x86_64")[1].text
    assert "wide" not in expand_spec(spec, kernel="5.10", machine="x86_64")[1].text


def test_errors(spec: Path) -> None:
    with pytest.raises(TargetError, match="describes several kernels"):
        expand_spec(spec, kernel="6.1")
    spec.parent.joinpath("machine.pvs").write_text(MACHINE.replace("since 5.10.100", "since 7.0"), encoding="utf-8")
    with pytest.raises(SpecError, match="PV105"):
        expand_spec(spec, kernel="6.1", machine="i386")
    spec.write_text("machine {", encoding="utf-8")
    with pytest.raises(SpecError, match="PV002"):
        expand_spec(spec)


def test_each_guard_is_known() -> None:
    grammar = resource("grammar", "pvspec.lark").read_text(encoding="utf-8")
    primary = re.search(r"^_primary: (.*?)\n(?=\w)", grammar, re.M | re.S)
    assert primary is not None
    rules = set(re.findall(r"\b[a-z_]+\b", primary[1])) - {"guard"}
    assert rules | {"any_of", "all_of", "negated"} == GUARDS


TEXT = """\
# a block

# of one
one  # its end
# of both
two
three

{
    # of nothing
    four

    # stays

    # above the end
}
"""


@pytest.mark.parametrize(
    ("words", "unwraps", "lines"),
    [
        (["one"], False, ["# a block", "", "# of both", "two"]),
        (["two"], False, ["# of one", "one  # its end", "# of both", "three"]),
        (["two", "three"], False, ["one  # its end", "", "{"]),
        (["four"], False, ["{", "", "    # stays", "", "    # above the end", "}"]),
        (["four"], True, ["{", "    # of nothing", "", "    # stays"]),
        (["one"], True, ["# of one", "  # its end", "# of both"]),
    ],
)
def test_comments_of_what_stays_stay(words: list[str], unwraps: bool, lines: list[str]) -> None:
    places = [TEXT.index(word, TEXT.index("one  ")) for word in words]
    cuts = [Cut(start, start + len(word), "", unwraps) for start, word in zip(places, words, strict=True)]
    assert "\n".join(lines) in without(TEXT, cuts)
    assert not any(re.search(rf"^ *{word}\b", without(TEXT, cuts), re.M) for word in words)
