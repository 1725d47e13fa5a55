"""Commands on a spec for several kernels: all of them, or the one that is named; what one gets, as text and files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.prediction.kernel import CPUINFO, build

from .conftest import Run

SPEC = """\
kernels 5.10, 6.1 on i386
kernels 6.1 on x86_64

machine i386 {
    bits 32
}
machine x86_64 {
    bits 64
}
machine i386, x86_64 {
    feature FAST 1
    nops short { "90"  "66 90" }
    choose nops short
}

# Of the later one.
config STRICT = kernel has strict_start

family locks {
    table ".sites" { site u32  len u8 }
    bytes "c3" since 6.1 when cpu has FAST
    nop when config STRICT
}

test locks {
    at 0x1000 len 1 original "cc" with cpu has FAST => "c3"
}
"""


@pytest.fixture
def several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec for three kernels; it expects of the oldest one what only the others do."""
    monkeypatch.chdir(tmp_path)
    path = Path("several.pvs")
    path.write_text(SPEC, encoding="utf-8")
    return path


def test_all_are_checked(run: Run, several: Path) -> None:
    assert (run("check", several).out, run("check", several).code) == ("several.pvs: fine\n", 0)
    several.write_text(SPEC.replace("    nop when", "    nop before 6.1 when"), encoding="utf-8")
    assert run("check", several).out == "several.pvs: fine\n"  # what is for one only is not unused
    several.write_text(SPEC.replace("FAST 1", "FAST 1 since 6.1"), encoding="utf-8")
    done = run("check", several)
    assert (done.code, done.out) == (1, "")
    assert re.fullmatch(
        r"(error\[PV101\]: unknown feature `FAST`\n[\s\S]*?note: for Linux 5\.10 on i386\n\n)", done.err
    )
    assert run("check", several, "--kernel", "6.1").code == 0
    assert run("check", several, "--kernel", "5.10").code == 1


def test_all_are_tested(run: Run, several: Path) -> None:
    done = run("test", several)
    assert (done.code, done.out) == (1, "several.pvs: 2 passed, 1 failed\n")
    assert "error[PV501]" in done.err
    assert done.err.endswith("note: for Linux 5.10 on i386\n\n")
    assert run("test", several, "--kernel", "6.1", "--machine", "i386").out == "several.pvs: 1 passed, 0 failed\n"
    cases = run("test", several, "--json").json["cases"]
    assert [(case["kernel"], case["passed"]) for case in cases] == [
        ("Linux 5.10 on i386", False),
        ("Linux 6.1 on i386", True),
        ("Linux 6.1 on x86_64", True),
    ]


def test_all_are_proven(run: Run, several: Path) -> None:
    done = run("prove", several)
    assert done.code == 0
    assert re.findall(r"^several\.pvs: (.*)$", done.out, re.M) == [
        "Linux 5.10 on i386",
        "Linux 6.1 on i386",
        "Linux 6.1 on x86_64",
    ]
    assert run("prove", several, "--kernel", "5.10").out.startswith("several.pvs\n")
    assert [proof["kernel"] for proof in run("prove", several, "--machine", "x86_64", "--json").json["proofs"]] == [
        "Linux 6.1 on x86_64"
    ]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "several.pvs describes several kernels: Linux 5.10, 6.1 on i386; Linux 6.1 on x86_64; name one with"),
        (("--kernel", "6.1"), "Linux 6.1 on i386; Linux 6.1 on x86_64; name the machine with --machine"),
        (("--kernel", "6.6"), "several.pvs describes Linux 5.10, 6.1 on i386; Linux 6.1 on x86_64, not Linux 6.6"),
        (("--kernel", "new"), "'new' is no version of a kernel"),
        (("--machine", "arm"), "several.pvs describes i386, x86_64, not arm"),
    ],
)
@pytest.mark.parametrize("command", ["compile", "simulate", "expand"])
def test_one_has_to_be_named(run: Run, several: Path, command: str, options: tuple[str, ...], why: str) -> None:
    output = ("-o", "out.py") if command == "compile" else ()
    done = run(command, several, *options, *output)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert why in done.err
    assert not Path("out.py").exists()


def test_one_is_compiled(run: Run, several: Path) -> None:
    assert run("compile", several, "--machine", "x86_64", "-o", "new.py").code == 0
    assert run("compile", several, "--kernel", "5.10.9", "-o", "old.py").code == 0
    assert Path("old.py").read_text() != Path("new.py").read_text()


def test_it_is_printed(run: Run, several: Path) -> None:
    done = run("expand", several, "--machine", "x86_64")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("# several.pvs\n\nkernels 6.1 on x86_64\n\nmachine x86_64 {\n    bits 64\n}\n")
    assert '    bytes "c3" when cpu has FAST\n    nop when config STRICT\n' in done.out
    Path("printed.pvs").write_text(done.out)
    assert run("check", "printed.pvs").out == "printed.pvs: fine\n"
    done = run("expand", several, "--kernel", "5.10")
    assert "len u8 }\n    nop when config STRICT\n" in done.out
    assert "Of the later one" in done.out


def test_with_a_configuration(run: Run, several: Path) -> None:
    Path("config").write_text("CONFIG_STRICT=y\n")
    done = run("expand", several, "--kernel", "5.10", "--config", "config")
    assert "len u8 }\n    nop\n" in done.out
    assert "STRICT" not in done.out
    assert "Of the later one" not in done.out
    Path("config").write_text("STRICT=y\n")
    done = run("expand", several, "--kernel", "5.10", "--config", "config")
    assert (done.code, done.err) == (
        1,
        "error: config: line 1 is none of a kernel's configuration, such as CONFIG_SMP=y\n\n",
    )


def test_it_is_written(run: Run, several: Path) -> None:
    done = run("expand", several, "--kernel", "5.10", "-o", "out")
    assert (done.code, done.out) == (0, "out/several.pvs: written\n")
    assert run("expand", several, "--kernel", "5.10", "-o", "out").out == "out/several.pvs: unchanged\n"
    assert run("check", "out").code == 0
    value = run("expand", several, "--kernel", "5.10", "--json").json
    assert value["files"] == [{"path": "several.pvs", "text": Path("out", "several.pvs").read_text()}]
    assert run("expand", several, "--kernel", "5.10", "-o", "several.pvs").code == 1
    Path("file").touch()
    done = run("expand", several, "--kernel", "5.10", "-o", "file/below")
    assert (done.code, done.err) == (1, "error: file/below cannot be made: Not a directory\n\n")


def test_an_image_chooses(run: Run, several: Path) -> None:
    """The small kernel says that it is 9.9.0-test."""
    vmlinux = build()
    Path("cpuinfo").write_text(CPUINFO, encoding="utf-8")
    given = (vmlinux, "--cpu", "cpuinfo", "--spec", "kernel.pvs")
    assert run("predict", *given).code == 0
    spec = Path("kernel.pvs")
    text = spec.read_text(encoding="utf-8")
    spec.write_text(f"kernels 9.8, 9.9 on x86_64\n{text}", encoding="utf-8")
    assert run("predict", *given).code == 0
    spec.write_text(f"kernels 9.8, 9.10 on x86_64\n{text}", encoding="utf-8")
    done = run("predict", *given)
    assert (done.code, done.out) == (1, "")
    assert "kernel.pvs describes Linux 9.8, 9.10 on x86_64, not Linux 9.9.0 on x86_64" in done.err


def test_a_configuration_decides(run: Run, several: Path) -> None:
    vmlinux = build()
    Path("cpuinfo").write_text(CPUINFO, encoding="utf-8")
    spec = Path("kernel.pvs")
    text = spec.read_text(encoding="utf-8")
    spec.write_text(f"config PLAIN = kernel has no_such_symbol\n{text}", encoding="utf-8")
    assert "when config PLAIN" not in text
    family = re.search(r"^family alternatives[^}]*}[^}]*?\n(?=    \w+.*\n)", text, re.M)
    assert family is not None
    changed = f"{text[: family.end()]}    keep when config PLAIN\n{text[family.end() :]}"
    spec.write_text(f"config PLAIN = kernel has no_such_symbol\n{changed}", encoding="utf-8")
    given = (vmlinux, "--cpu", "cpuinfo", "--spec", "kernel.pvs")
    assert re.search(r"^alternatives +1 +1 +1 ", run("predict", *given).out, re.M)
    Path("config").write_text("CONFIG_PLAIN=m\n")
    assert re.search(r"^alternatives +1 +1 +0 ", run("predict", *given, "--config", "config").out, re.M)
    Path("config").write_text("CONFIG_OTHER=y\n")
    assert re.search(r"^alternatives +1 +1 +1 ", run("predict", *given, "--config", "config").out, re.M)
