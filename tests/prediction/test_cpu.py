"""CPUs: shipped profiles, a machine's own /proc/cpuinfo, and what its kernel says of vulnerabilities."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pvspec.kernel.files import streams
from pvspec.prediction import cpu
from pvspec.prediction.cpu import CpuError, Processor, parse_cpuinfo, profiles, read_cpu

CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 85
model name\t: Intel(R) Xeon(R): a name
stepping\t: 7
flags\t\t: fpu vme sse2
bugs\t\t: spectre_v1 retbleed
bogomips\t: 5000.00

processor\t: 1
vendor_id\t: AuthenticAMD
cpu family\t: 25
flags\t\t: none
"""


def test_the_first_processor_counts() -> None:
    flags = frozenset({"fpu", "vme", "sse2", "bug spectre_v1", "bug retbleed"})
    assert parse_cpuinfo(CPUINFO, "cpuinfo") == Processor("GenuineIntel", 6, 85, 7, flags, 2)


def with_lines(*lines: str) -> str:
    """The CPU of CPUINFO with further lines."""
    return CPUINFO.replace("bogomips", "\n".join([*lines, "bogomips"]), 1)


class TestLinesThatSomeKernelsLeaveOut:
    def test_all_of_them(self) -> None:
        cpu = parse_cpuinfo(
            with_lines(
                "microcode\t: 0x5003604",
                "siblings\t: 32",
                "cpu cores\t: 16",
                "address sizes\t: 46 bits physical, 48 bits virtual",
            ),
            "cpuinfo",
        )
        assert (cpu.microcode, cpu.siblings, cpu.cores, cpu.physical_bits) == (0x5003604, 32, 16, 46)
        assert cpu.threads == 2

    def test_none_of_them(self) -> None:
        cpu = parse_cpuinfo(CPUINFO, "cpuinfo")
        assert (cpu.microcode, cpu.siblings, cpu.cores, cpu.physical_bits, cpu.threads) == (None,) * 5

    @pytest.mark.parametrize(
        ("siblings", "cores", "threads"),
        [(2, 2, 1), (1, 1, 1), (4, 2, 2), (8, 2, 4), (7, 4, 2), (0, 1, None), (2, 0, None)],
    )
    def test_threads_of_a_core(self, siblings: int, cores: int, threads: int | None) -> None:
        """Seven of four cores: one is offline. No core: the hypervisor did not think of it."""
        cpu = parse_cpuinfo(with_lines(f"siblings\t: {siblings}", f"cpu cores\t: {cores}"), "cpuinfo")
        assert cpu.threads == threads

    def test_one_line_tells_no_threads(self) -> None:
        assert parse_cpuinfo(with_lines("siblings\t: 2"), "cpuinfo").threads is None
        assert parse_cpuinfo(with_lines("cpu cores\t: 2"), "cpuinfo").threads is None

    @pytest.mark.parametrize(
        "line",
        [
            "microcode\t: new",
            "microcode\t: 0x100000000",
            "siblings\t: -1",
            "siblings\t: 65536",
            "cpu cores\t: two",
            "address sizes\t: 65 bits physical, 48 bits virtual",
            "address sizes\t: 46",
        ],
    )
    def test_what_no_kernel_writes(self, line: str) -> None:
        key = line.partition("\t")[0]
        with pytest.raises(CpuError, match=rf"^odd: not a /proc/cpuinfo: (its {key} is|invalid literal)"):
            parse_cpuinfo(with_lines(line), "odd")

    def test_a_guest(self) -> None:
        assert not parse_cpuinfo(CPUINFO, "cpuinfo").is_guest
        assert parse_cpuinfo(CPUINFO.replace("sse2", "sse2 hypervisor"), "cpuinfo").is_guest


def test_a_vendor_with_spaces() -> None:
    """Zhaoxin's name begins with two spaces and ends with two."""
    text = CPUINFO.replace("GenuineIntel", "  Shanghai  ")
    assert parse_cpuinfo(text, "cpuinfo").vendor == "  Shanghai  "


def test_no_bugs_and_no_number() -> None:
    text = "".join(line + "\n" for line in CPUINFO.splitlines()[1:7])
    assert parse_cpuinfo(text, "cpuinfo") == Processor("GenuineIntel", 6, 85, 7, frozenset({"fpu", "vme", "sse2"}), 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("vendor_id", "vendor", "lacks the line `vendor_id`"),
        ("cpu family", "family", "lacks the line `cpu family`"),
        ("flags", "Features", "lacks the line `flags`"),
        ("stepping\t: 7", "stepping\t: unknown", "invalid literal"),
    ],
)
def test_what_is_no_cpuinfo(old: str, new: str, message: str) -> None:
    first = CPUINFO.partition("\n\n")[0]
    with pytest.raises(CpuError, match=rf"^odd: not a /proc/cpuinfo: .*{message}"):
        parse_cpuinfo(first.replace(old, new), "odd")


@pytest.mark.parametrize("name", profiles())
def test_every_profile_is_one(name: str) -> None:
    cpu = read_cpu(name)
    assert "fpu" in cpu.flags
    assert cpu.vendor in ("GenuineIntel", "AuthenticAMD", "HygonGenuine")
    assert cpu.count == 0  # it is nobody's machine


def test_a_profile_comes_before_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("EPYC").write_text(CPUINFO)
    Path("mine").write_text(CPUINFO)
    assert read_cpu("EPYC").vendor == "AuthenticAMD"
    assert read_cpu("./EPYC") == read_cpu("mine")


SAID = {"retbleed": "Mitigation: Stuffing", "spectre_v2": "Mitigation: Retpolines; IBPB: conditional"}


class TestVulnerabilities:
    def test_a_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "vulnerabilities"
        folder.mkdir()
        for name, text in SAID.items():
            (folder / name).write_text(text + "\n")
        assert read_cpu("qemu64", str(folder)).vulnerabilities == SAID

    @pytest.mark.parametrize("where", ["", "/sys/devices/system/cpu/vulnerabilities/"])
    def test_a_file_as_grep_writes_it(self, tmp_path: Path, where: str) -> None:
        file = tmp_path / "said"
        file.write_text("\n".join(f"{where}{name}:{text}" for name, text in SAID.items()) + "\n\n")
        assert read_cpu("qemu64", str(file)).vulnerabilities == SAID

    def test_a_file_of_something_else(self, tmp_path: Path) -> None:
        file = tmp_path / "said"
        file.write_text("HOME=/root:PATH=/bin\n")
        with pytest.raises(CpuError, match="nothing about spectre_v2"):
            read_cpu("qemu64", str(file))

    def test_none(self) -> None:
        assert read_cpu("qemu64").vulnerabilities == {}

    @pytest.mark.parametrize("contents", [None, b"\xff\xfe\0"])
    def test_what_cannot_be_read(self, tmp_path: Path, contents: bytes | None) -> None:
        file = tmp_path / "said"
        if contents is not None:
            file.write_bytes(contents)
        with pytest.raises(CpuError, match=r"said: cannot be read \("):
            read_cpu("qemu64", str(file))


def test_a_file_without_end() -> None:
    with pytest.raises(CpuError, match=r"^/dev/zero: neither a profile nor a readable file \(it is larger than"):
        read_cpu("/dev/zero")
    with pytest.raises(CpuError, match=r"^/dev/zero: cannot be read \(it is larger than"):
        read_cpu("EPYC", "/dev/zero")


def test_a_pipe_without_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_MAX_PATIENCE", 0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CpuError, match="it is a pipe to which nobody has written"):
        read_cpu(str(tmp_path / "pipe"))
    with pytest.raises(CpuError, match="it is a pipe to which nobody has written"):
        read_cpu("EPYC", str(tmp_path / "pipe"))


@pytest.mark.parametrize(
    ("bound", "most", "text", "message"),
    [
        ("_MAX_CPUINFO", len(CPUINFO), CPUINFO + "x", "characters in"),
        ("_MAX_LINES", CPUINFO.count("\n"), CPUINFO + "\n", "characters in"),
        ("_MAX_LINE", max(map(len, CPUINFO.split("\n"))), CPUINFO + "x" * 4000, "a line of 4000 characters"),
        ("_MAX_NUMBER", 86, CPUINFO.replace("cpu family\t: 6", "cpu family\t: 86"), "its cpu family is '86'"),
        (
            "_MAX_NUMBER",
            86,
            CPUINFO.replace("cpu family\t: 6", "cpu family\t: " + "6" * 5000),
            "its cpu family is '666",
        ),
        ("_MAX_NUMBER", 86, CPUINFO.replace("cpu family\t: 6", "cpu family\t: -6"), "its cpu family is '-6'"),
        ("_MAX_MICROCODE", 86, with_lines("microcode\t: 0x56"), "its microcode is '0x56'"),
        ("_MAX_ADDRESS_BITS", 45, with_lines("address sizes\t: 46 bits physical"), "its address sizes is '46'"),
    ],
)
def test_more_than_a_cpuinfo_has(
    bound: str, most: int, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, bound, most)
    assert parse_cpuinfo(CPUINFO, "cpuinfo").count == 2
    with pytest.raises(CpuError, match=f"^cpuinfo: not a /proc/cpuinfo: .*{message}"):
        parse_cpuinfo(text, "cpuinfo")


def test_more_files_than_a_report_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spectre_v2").write_text("Mitigation: Retpolines")
    monkeypatch.setattr(cpu, "_MAX_FILES", 1)
    monkeypatch.setattr(cpu, "_MAX_REPORT", 22)
    assert read_cpu("EPYC", str(tmp_path)).vulnerabilities == {"spectre_v2": "Mitigation: Retpolines"}
    (tmp_path / "another").write_text("x")
    with pytest.raises(CpuError, match="it has more than 1 files"):
        read_cpu("EPYC", str(tmp_path))
    monkeypatch.setattr(cpu, "_MAX_FILES", 2)
    with pytest.raises(CpuError, match="its files have more than 22 bytes"):
        read_cpu("EPYC", str(tmp_path))


def test_what_is_no_text() -> None:
    with pytest.raises(CpuError, match="a /proc/cpuinfo is a text, and this bytes"):
        parse_cpuinfo(b"processor: 0", "cpuinfo")  # type: ignore[arg-type]  # what a caller may get wrong


def test_a_pipe_is_a_file(tmp_path: Path) -> None:
    """As in `--cpu <(ssh host cat /proc/cpuinfo)`; one among a folder's files is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["sh", "-c", 'cat >"$0"', tmp_path / "pipe"], stdin=subprocess.PIPE, text=True) as writer:
        assert writer.stdin is not None
        writer.stdin.write(CPUINFO)
        writer.stdin.close()
        assert read_cpu(str(tmp_path / "pipe")).count == 2
    with pytest.raises(CpuError, match="it says nothing about spectre_v2"):
        read_cpu("EPYC", str(tmp_path))


class TestHidden:
    """What a file tells of features that Linux shows in none."""

    TEXT = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 1\nstepping\t: 1\nflags\t\t: fpu\n"

    def test_a_kernel_tells_nothing(self) -> None:
        assert parse_cpuinfo(self.TEXT, "cpuinfo").hidden is None

    def test_all_of_them(self) -> None:
        assert parse_cpuinfo(self.TEXT + "hidden\t\t:\n", "cpuinfo").hidden == frozenset()
        assert parse_cpuinfo(self.TEXT + "hidden\t\t: A B\n", "cpuinfo").hidden == frozenset({"A", "B"})

    @pytest.mark.parametrize("name", profiles())
    def test_of_a_profile_all_is_known(self, name: str) -> None:
        cpu = read_cpu(name)
        assert (cpu.hidden, cpu.threads) == (frozenset(), 1)
