"""Specs that mean harm: each gets a located error, soon, without a traceback, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import SPEC, Run

SEVERAL = """{items}
machine m {{ bits 64  feature A 1  nops p {{ "90" }}  choose nops p when cpu has A else p }}
cmdline {{ variable v = off {{ on, off }}  variable n = 1  {line} }}
decide d in "d.c" {{
{steps}
}}
policy {{ d }}
"""


def several(items: str = "", steps: str = "set A when v is on", line: str = "") -> bytes:
    """A spec with a policy, and more."""
    return SEVERAL.format(items=items, steps=steps, line=line).encode()


NEST = "machine m { bits 32 feature f %s }"
CASES = {
    "empty": b"",
    "binary": bytes(range(256)) * 64,
    "zeros": bytes(4096),
    "no_utf8": SPEC.encode().replace(b"irq_disable", "irq_d\xefsable".encode("latin-1")),
    "utf16": SPEC.encode("utf-16"),
    "surrogate": SPEC.encode().replace(b'"cli"', b'"\xed\xa0\x80"'),
    "line_of_10_mb": b"# " + b"x" * (10 << 20) + b"\nmachine m {",
    "word_of_10_mb": b"machine " + b"x" * (10 << 20),
    "brackets": (NEST % ("(" * 100_000 + "1" + ")" * 100_000)).encode(),
    "open_brackets": (NEST % ("(" * 100_000)).encode(),
    "sum": (NEST % ("1" + " + 1" * 20_000)).encode(),
    "guards": SPEC.replace('"cli"', '"cli" when ' + "not (" * 50_000 + "pae" + ")" * 50_000).encode(),
    "huge_number": (NEST % ("9" * 100_000)).encode(),
    "huge_hex": (NEST % ("0x" + "f" * 100_000)).encode(),
    "huge_product": (NEST % " * ".join(["0xffffffffffffffff"] * 1000)).encode(),
    "huge_bits": SPEC.replace("addr u32", "addr u999").encode(),
    "huge_len": SPEC.replace("max_len 254", "max_len 99999999999999999999").encode(),
    "huge_pad": SPEC.replace("clobber u16", "clobber u16 pad 99999999999999").encode(),
    "many_options": SPEC.replace(
        "max_len", f"option {', '.join(f'o{n}' for n in range(64))} : bool = false max_len"
    ).encode(),
    "far_site": SPEC.replace("0xc0101000", "0xfffffffffffffffffffff").encode(),
    "far_bytes": SPEC.replace("len 6", "len 99999999999").encode(),
    "long_site": SPEC.replace(
        "test native {\n    irq_disable",
        'family f { table ".f" { site u32  len u32 } nop }\ntest f {\n   ',
    )
    .replace("len 6", "len 50000000")
    .encode(),
    "self_include": b'include "case.pvs"',
    "missing_include": b'include "nowhere.pvs"',
    "folder_include": b'include "."',
    "device_include": b'include "/dev/zero"',
    "long_include": b'include "' + b"x" * 100_000 + b'"',
    "nul_include": b'include "a\0b"',
    "open_string": SPEC.encode() + b'"',
    "open_long_string": SPEC.encode() + b'"""' + b"x\n" * 100_000,
    "assembler_bomb": SPEC.replace('"cli"', '"' + ".rept 1000000000; nop; .endr" + '"').encode(),
    "assembler_include": SPEC.replace('"cli"', '".incbin /etc/passwd"').encode(),
    "assembler_nesting": SPEC.replace('"cli"', '"mov eax, ' + "(" * 20_000 + "1" + ")" * 20_000 + '"').encode(),
    "assembler_number": SPEC.replace('"cli"', '"mov eax, ' + "9" * 50_000 + '"').encode(),
    "many_kernels": several(f"kernels {', '.join(f'6.{n}' for n in range(5000))}"),
    "many_point_releases": several(f"kernels {', '.join(f'6.{n}.{m}' for n in range(99) for m in range(99))}"),
    "many_lines_of_kernels": several("\n".join(f"kernels 7.{n} on m" for n in range(5000))),
    "many_machines": several("".join(f"machine m{n} {{ bits 64 }}\n" for n in range(5000))),
    "large_for_each_kernel": several(
        f"kernels {', '.join(f'6.{n}' for n in range(32))}", "set A when cpu has A\n" * 12_000
    ),
    "ifs": several(steps="if cpu has A { " * 60_000 + "set A" + " }" * 60_000),
    "open_ifs": several(steps="if cpu has A { " * 60_000),
    "ifs_of_versions": several("kernels 6.1\n" + "if since 6.1 { " * 60_000 + " }" * 60_000),
    "else_ifs": several(steps="if cpu has A { } " + "else if cpu has A { set A } " * 20_000),
    "many_ifs": several(steps="if cpu has A { set A } else { clear A }\n" * 20_000),
    "many_lets": several(steps="".join(f"let l{n + 1} = not l{n}\n" for n in range(50_000))),
    "many_parameters": several(line="".join(f'early_param "p{n}" -> v = on\n' for n in range(50_000))),
    "many_variables": several(line="".join(f"variable w{n} = 1\n" for n in range(50_000))),
    "many_values": several(line=f"variable w = a0 {{ {', '.join(f'a{n}' for n in range(100_000))} }}"),
    "many_assignments": several(line=f"""early_param "w" -> {", ".join(["v = on"] * 50_000)}"""),
    "many_ranges": several(steps=f"set A when n in {', '.join(f'{2 * n} .. {2 * n + 1}' for n in range(50_000))}"),
    "huge_version": several("kernels 99999999999.9999999999"),
    "many_conditions": several("kernels 6.1", steps="set A " + "since 6.1 " * 50_000),
    "escapes": SPEC.replace("backend native", "backend \x1b[2Jnative").encode(),
}


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("case.pvs")
    path.write_bytes(CASES[request.param])
    return path


def pvspec(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own: a hang is cut off, and so is a memory that grows without end."""
    command = f'ulimit -v 4000000; exec "{sys.executable}" -m pvspec "$@"'
    return subprocess.run(
        ["sh", "-c", command, "pvspec", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("case", CASES, indirect=True)
@pytest.mark.parametrize("command", ["test", "fmt"])
def test_is_refused(case: Path, command: str) -> None:
    before = case.read_bytes()
    done = pvspec(command, case.name)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1 or command == "fmt"
    assert done.returncode in (0, 1)
    assert done.stderr.startswith("error") or done.returncode == 0
    assert len(done.stderr) < 100_000
    assert done.returncode == 0 or case.read_bytes() == before
    assert os.listdir() == [case.name]


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_nothing_is_compiled(case: Path) -> None:
    done = pvspec("compile", case.name, "-o", "out.py", "--json")
    assert done.stderr == ""
    value = json.loads(done.stdout)
    assert value["ok"] == (done.returncode == 0)
    assert Path("out.py").exists() == value["ok"]


def test_files_that_include_each_other(run: Run, spec: Path) -> None:
    Path("a.pvs").write_text('include "b.pvs"')
    Path("b.pvs").write_text('include "c.pvs"')
    Path("c.pvs").write_text('include "a.pvs"')
    done = run("check", "a.pvs")
    assert done.code == 1
    assert "PV004" in done.err
    assert "a.pvs -> b.pvs -> c.pvs -> a.pvs" in done.err


def test_a_long_chain_of_includes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3000):
        Path(f"{number}.pvs").write_text(f'include "{number + 1}.pvs"')
    Path("3000.pvs").write_text(SPEC)
    done = pvspec("check", "0.pvs")
    assert "PV003" in done.stderr
    assert "more than 64 deep" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_a_folder_of_specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("i386", "x86_64"):
        Path("linux", name).mkdir(parents=True)
        Path("linux", name, "spec.pvs").write_text(SPEC)
    done = pvspec("check", "linux")
    assert "linux contains no .pvs file; its folders do: i386, x86_64" in done.stderr
    assert done.returncode == 1


def test_a_folder_that_is_no_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder/spec.txt").write_text(SPEC)
    done = pvspec("check", "folder")
    assert "PV001" in done.stderr
    assert "folder contains no .pvs file\n" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    "name", ["missing.pvs", "folder", "folder.pvs", "pipe.pvs", "/dev/zero", "a\0b", "x" * 5000, ""]
)
@pytest.mark.parametrize("command", ["check", "fmt"])
def test_what_is_no_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, command: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("folder.pvs").mkdir()
    os.mkfifo("pipe.pvs")
    if "\0" in name:
        name = "a\udc80b"  # no argument can hold a NUL; a byte that is no UTF-8 it can
    done = pvspec(command, name)
    assert done.returncode == 1
    assert done.stderr.startswith("error")
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir()) == ["folder", "folder.pvs", "pipe.pvs"]


def test_a_pipe_in_a_folder_of_specs(spec: Path) -> None:
    Path("all").mkdir()
    os.mkfifo("all/pipe.pvs")
    done = pvspec("check", "all")
    assert done.returncode == 1
    assert "pipe.pvs" in done.stderr


NASTY = "\x1b]0;owned\x07\x1b[31m\u202e\x9b2J"


@pytest.mark.parametrize(
    "text",
    [
        SPEC.replace("irq_disable  1", f"irq_disable  1 {NASTY}"),
        SPEC.replace('"cli"', f'"cli {NASTY}"'),
        SPEC.replace('"cli"', f'bytes "{NASTY}"'),
        SPEC.replace('"ff 15"', f'"{NASTY}"'),
        SPEC.replace('asm "cli"', f'bug "{NASTY}"'),
        SPEC + f'include "{NASTY}"\n',
        SPEC + f"# {NASTY}\nmachine\n",
    ],
)
@pytest.mark.parametrize("command", ["check", "test", "fmt"])
def test_the_terminal_is_safe_from_the_text(run: Run, spec: Path, text: str, command: str) -> None:
    spec.write_text(text, encoding="utf-8")
    assert_safe(run(command, spec))


@pytest.mark.parametrize("command", ["check", "test", "fmt", "apply", "explain"])
@pytest.mark.parametrize("exists", [True, False])
def test_the_terminal_is_safe_from_names(run: Run, spec: Path, command: str, exists: bool) -> None:
    name = f"{NASTY}.pvs"
    if exists:
        Path(name).write_text(SPEC)
    more = {"apply": ["-o", "out"], "explain": ["0"]}
    assert_safe(run(command, name, *more.get(command, [])))


def test_the_terminal_is_safe_from_arguments(run: Run, spec: Path) -> None:
    assert_safe(run("compile", spec, "-o", f"{NASTY}/x.py"))
    assert_safe(run(NASTY))
    assert_safe(run("check", spec, f"--{NASTY}"))
    assert_safe(run("explain", "vmlinux", NASTY))
    assert_safe(run("apply", "vmlinux", "-o", "out", "--option", NASTY))


def assert_safe(done: object) -> None:
    text = getattr(done, "out", "") + getattr(done, "err", "")
    assert [character for character in text if not character.isprintable() and character != "\n"] == []


def test_a_name_that_is_code(run: Run, spec: Path) -> None:
    """What a spec says never becomes code in the module: not by a string, not by a file's name."""
    nasty = '"""); import os; os.mkdir("pwned") #'
    spec.write_text(SPEC.replace('asm "cli"', "bug \"'); import os; os.mkdir('pwned') #\""), encoding="utf-8")
    Path(f"{nasty}.pvs").write_bytes(spec.read_bytes())
    assert run("compile", f"{nasty}.pvs", "-o", "out.py").code == 0
    subprocess.run([sys.executable, "-I", "-S", "out.py"], check=True)
    assert not Path("pwned").exists()
