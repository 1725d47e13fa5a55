"""Small specs that ask for much: each command ends within its limits, and says what was too much."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

MACHINE = 'machine m { bits 64 feature A 1 nops p { "90" } choose nops p }\n'
TABLE = 'table ".p" { addr u64 type u32 len u16 clobber u16 } max_len 254 registers { rax 1 }'


def many(number: int, text: str, separator: str = "\n") -> str:
    """A text so many times; `#` is the number of each."""
    return separator.join(text.replace("#", str(index)) for index in range(number))


def interface(body: str = "op o 1") -> str:
    return f"interface pv {{ {TABLE} {body} }}\n"


def backend(body: str = "otherwise = keep", name: str = "b") -> str:
    return f"backend {name} for pv {{ {body} }}\n"


def family(body: str) -> str:
    return f'family f {{ table ".f" {{ site u64 len u16 }} {body} }}\n'


BASE = MACHINE + interface() + backend()
BOMBS = {
    "chains of chains": MACHINE
    + interface()
    + 'chain c0 { asm "nop" when cpu has A nop when cpus == 1 }'
    + "".join(f"chain c{i + 1} {{ c{i} when cpus > {i} c{i} }}\n" for i in range(14))
    + backend("otherwise = c14"),
    "ops and chains": MACHINE
    + interface(many(1000, "op o# # len 9"))
    + "chain d {"
    + many(1000, 'asm "mov eax, #" when cpus > #')
    + "}"
    + backend(many(1000, "o# = d")),
    "backends and ops": MACHINE + interface(many(500, "op o# #")) + many(500, backend(name="b#")),
    "backends that adopt": MACHINE
    + interface(many(2000, "op o# #"))
    + backend(name="n")
    + many(1000, backend("otherwise = n", "b#")),
    "ranges of ops": MACHINE
    + interface(many(3000, "op o# #"))
    + backend("targets t { " + many(3000, "o0 .. o2999", ",") + "}"),
    "each": MACHINE
    + family("each r in " + many(4000, "x#", ",") + ' { bug "' + "$r" * 1000 + '" when kernel has $r }'),
    "statements": MACHINE + interface() + backend('o = asm """' + many(20_000, "mov eax, #") + '"""'),
    "labels": MACHINE + interface() + backend('o = asm "' + "x:" * 500_000 + '"'),
    "code": MACHINE + interface(many(2000, "op o# #")) + backend(many(2000, 'o# = bytes "' + "90 " * 254 + '"')),
    "unknown names": MACHINE + interface(many(5000, "op operation# #")) + backend(many(5000, "operatoin# = keep")),
    "syntax errors": MACHINE + interface(many(20_000, "op o# # $")),
    "sums": MACHINE + interface("op o " + many(300_000, "1", "+")) + backend(),
    "a string without an end": BASE + 'chain c { asm """' + "x y\n" * 300_000,
    "a long line": BASE.replace("\n", " ") + " " * 4_000_000 + "$ " * 1000,
    "answers of a rom": MACHINE
    + interface()
    + backend(
        "rom r (a u8) { returns { type u16 addr u48 } " + many(4000, "# a# = nop") + " otherwise = keep } o = r(1)"
    ),
    "nop tables": MACHINE.replace("nops p", many(3000, 'nops n# { "90" "66 90" }') + "nops p"),
    "long sites": MACHINE + family("nop") + "test f {" + many(3000, "at 4096 len 65535 => nops") + "}",
    "failing cases": BASE + "test b {" + many(3000, "o at # len 200 => nops") + "}",
}


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


def run(command: str, path: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pvspec", command, path.name]
    return subprocess.run(words, cwd=path.parent, capture_output=True, text=True, preexec_fn=limited)


@pytest.mark.parametrize("command", ["check", "fmt", "test", "prove"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_command_ends(tmp_path: Path, name: str, command: str) -> None:
    path = tmp_path / "bomb.pvs"
    path.write_text(BOMBS[name], encoding="utf-8")
    done = run(command, path)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert len(done.stderr) + len(done.stdout) < 2_000_000


def test_one_file_by_many_names(tmp_path: Path) -> None:
    """The files of a spec are one input, however many there are."""
    big = tmp_path / "big.pvs"
    big.write_text("#" + "x" * (15 << 20) + "\n", encoding="utf-8")
    for number in range(50):
        tmp_path.joinpath(f"{number}.pvs").hardlink_to(big)
    path = tmp_path / "bomb.pvs"
    path.write_text(many(50, 'include "#.pvs"'), encoding="utf-8")
    done = run("check", path)
    assert (done.returncode, done.stderr[:13]) == (1, "error[PV003]:")
