"""`predict` and `diff-text` on a small kernel with a table of each kind, and what they refuse."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from pvspec.kernel import KernelImage, open_kernel
from tests.kernel.moving import table
from tests.prediction.kernel import CPUINFO, SOURCE, build

from .conftest import Outcome, Run

SPEC = "--spec", "kernel.pvs", "--cpu", "cpuinfo"


@pytest.fixture
def vmlinux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("cpuinfo").write_text(CPUINFO, encoding="utf-8")
    return build()


def core(image: KernelImage, memory: bytes, *, paged: bool = True) -> bytes:
    """An ELF core as QEMU writes it: all the image's memory in two pieces; if not `paged` with physical addresses."""
    half = len(memory) // 2
    offset, headers = 64 + 3 * 56, [struct.pack("<IIQQQQQQ", 4, 0, 64 + 3 * 56, 0, 0, 0, 0, 0)]
    for start, part in ((0, memory[:half]), (half, memory[half:])):
        address = image.base + start
        places = (address, 0) if paged else (0, address - 0xFFFFFFFF80000000)
        headers.append(struct.pack("<IIQQQQQQ", 1, 0, offset + start, *places, len(part), len(part), 0))
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    return ident + struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0) + b"".join(headers) + memory


def running(image: KernelImage) -> bytes:
    """The image's memory with its jump label on."""
    memory = bytearray(image.memory)
    address = image.symbols.address("key")
    assert address is not None
    memory[address - image.base] = 1
    return bytes(memory)


def test_the_text_is_written(run: Run, vmlinux: Path) -> None:
    done = run("predict", vmlinux, *SPEC, "--cpu", "cpuinfo", "-o", "text")
    assert (done.code, done.err) == (0, "")
    image = open_kernel(vmlinux)
    start, end = (image.symbols.address(name) for name in ("_text", "_etext"))
    assert start is not None
    assert end is not None
    assert f"text: {end - start} bytes of text from {start:#x} on" in done.out
    assert re.search(r"^alternatives +1 +1 +1 +0$", done.out, re.M)
    assert re.search(r"^trampolines +2 +2 +1 +2$", done.out, re.M)
    assert len(Path("text").read_bytes()) == end - start
    assert Path("text").read_bytes() != image.read(start, end - start)


def test_predict_as_json(run: Run, vmlinux: Path) -> None:
    value = run("predict", vmlinux, *SPEC, "--cpu", "cpuinfo", "--json").json
    own = {"kernel", "text", "features", "open", "warnings", "tables", "absent", "sites"}
    assert value.keys() == {"command", "ok", "diagnostics", "errors"} | own
    assert value["features"] == ["XMM2"]
    (label,) = (site for site in value["sites"] if site["table"] == "jump_labels")
    assert label | {"address": 0} == {
        "table": "jump_labels",
        "address": 0,
        "length": 5,
        "before": "0f1f440000",
        "after": "e90c000000",
        "rule": label["rule"],
        "others": [{"code": "0f1f440000", "rule": label["others"][0]["rule"], "when": None}],
    }
    line = int(label["rule"].removeprefix("kernel.pvs:"))
    assert "jmp to" in Path("kernel.pvs").read_text().splitlines()[line - 1]


def test_two_cpus_alike_are_the_same(run: Run, vmlinux: Path) -> None:
    """By name, by file, and by features; and one that lacks a feature."""
    texts = []
    for options in (["--cpu", "cpuinfo"], ["--features", "XMM2,UNRET"], ["--cpu", "cpuinfo", "--features=-XMM2"]):
        assert run("predict", vmlinux, *SPEC, *options, "-o", "text").code == 0
        texts.append(Path("text").read_bytes())
    assert texts[0] == texts[1] != texts[2]


def test_as_many_processors_as_the_file_has(run: Run, vmlinux: Path) -> None:
    one = CPUINFO.partition("\n\n")[0]
    Path("one").write_text(one, encoding="utf-8")
    Path("none").write_text(one.partition("\n")[2], encoding="utf-8")

    def unlocked(*options: str) -> bool:
        sites = run("predict", vmlinux, *SPEC, *options, "--json").json["sites"]
        return any(site["table"] == "smp_locks" and site["after"] == "3e" for site in sites)

    assert [unlocked(), unlocked("--cpu", "one"), unlocked("--cpu", "none")] == [False, True, False]
    assert [unlocked("--cpus", "1"), unlocked("--cpu", "one", "--cpus", "2")] == [True, False]


class TestState:
    def predicted(self, run: Run, vmlinux: Path, contents: bytes) -> bytes:
        Path("dump").write_bytes(contents)
        done = run("predict", vmlinux, *SPEC, "--cpu", "cpuinfo", "--state", "dump", "-o", "text")
        assert (done.code, done.err) == (0, "")
        assert re.search(r"^jump_labels +1 +1 +0 +0$", done.out, re.M)
        return Path("text").read_bytes()

    def test_every_kind_of_dump(self, run: Run, vmlinux: Path) -> None:
        image = open_kernel(vmlinux)
        memory = running(image)
        segments = b"".join(memory[a - image.base : a - image.base + size] for a, size in image.segments)
        contents = memory, segments, core(image, memory), core(image, memory, paged=False)
        assert len({self.predicted(run, vmlinux, dump) for dump in contents}) == 1

    @pytest.mark.parametrize(
        ("dump", "message"),
        [
            (lambda image: running(image)[:-1], "is neither an ELF core nor a flat dump: it is 20485 bytes long"),
            (lambda image: b"", "is neither an ELF core nor a flat dump: it is 0 bytes long"),
            (lambda image: bytes(len(image.memory)), "not a dump of vmlinux (9.9.0-test): 4130 of 8192 bytes"),
            (lambda image: core(image, bytes(len(image.memory))), "differ (first at 0xffffffff81001000); no banner"),
            (lambda image: core(image, running(image))[:-0x4000], "is truncated: its headers describe 20718 bytes"),
            (lambda image: core(image, running(image))[:100], "ELF program headers are outside the file"),
            (lambda image: Path("vmlinux").read_bytes(), "is an ELF file, but not a core dump"),
            (lambda image: core(image, running(image)).replace(bytes([1, 0, 0, 0]), bytes(4)), "lacks memory at"),
        ],
        ids=["short", "empty", "zeros", "zeros in a core", "core cut", "headers cut", "no core", "no pieces"],
    )  # fmt: skip
    def test_what_is_no_dump_of_it(self, run: Run, vmlinux: Path, dump: object, message: str) -> None:
        assert callable(dump)
        Path("dump").write_bytes(dump(open_kernel(vmlinux)))
        done = run("predict", vmlinux, *SPEC, "--state", "dump", "-o", "text")
        assert_refused(done, message, "dump: ")


class TestKaslr:
    """The kernel with the table that its bzImage would have: its one field that moves is a pointer to a function."""

    SLIDE = 0x1E00000

    @pytest.fixture
    def kernel(self, vmlinux: Path) -> Path:
        place = open_kernel(vmlinux).symbols.address("__SCK__hook")
        assert place is not None
        vmlinux.write_bytes(vmlinux.read_bytes() + table([[], [], [place]]))
        return vmlinux

    def dump(self, kernel: Path) -> Path:
        """A core of the kernel as it runs, moved."""
        image = open_kernel(kernel).moved(self.SLIDE)
        Path("dump").write_bytes(core(image, running(image)))
        return Path("dump")

    def test_the_slide_is_given(self, run: Run, kernel: Path) -> None:
        plain = run("predict", kernel, *SPEC, "-o", "plain")
        done = run("predict", kernel, *SPEC, "--kaslr", "0x1e00000", "-o", "text")
        assert (done.code, done.err) == (0, "")
        assert "text 0xffffffff82e00000 to 0xffffffff82e00066, moved by 0x1e00000" in done.out
        assert "moved" not in plain.out
        assert Path("text").read_bytes() == Path("plain").read_bytes()  # all in it is relative

    def test_as_json(self, run: Run, kernel: Path) -> None:
        plain, moved = (run("predict", kernel, *SPEC, "--kaslr", s, "--json").json for s in ("0", str(self.SLIDE)))
        assert [value["kernel"]["slide"] for value in (plain, moved)] == [0, self.SLIDE]
        assert moved["text"]["start"] - plain["text"]["start"] == self.SLIDE
        assert plain["sites"][0]["address"] + self.SLIDE == moved["sites"][0]["address"]

    def test_the_dump_says_it(self, run: Run, kernel: Path) -> None:
        done = run("predict", kernel, *SPEC, "--state", self.dump(kernel), "-o", "text")
        assert (done.code, done.err) == (0, "")
        assert "moved by 0x1e00000" in done.out
        assert re.search(r"^jump_labels +1 +1 +0 +0$", done.out, re.M)

    def test_the_dump_is_elsewhere(self, run: Run, kernel: Path) -> None:
        done = run("predict", kernel, *SPEC, "--state", self.dump(kernel), "--kaslr", "0x200000", "-o", "text")
        assert_refused(done, "its kernel is 0x1e00000 bytes above where it was linked, not 0x200000", "dump: ")

    def test_two_texts(self, run: Run, kernel: Path) -> None:
        """A moved dump is compared where it lies; which that is must be said."""
        dump = self.dump(kernel)
        assert run("predict", kernel, *SPEC, "--state", dump, "-o", "text").code == 0
        Path("text").rename("predicted")
        done = run("diff-text", kernel, "predicted", dump, *SPEC, "--state", dump)
        assert "0xffffffff82e" in done.out
        unknown = run("diff-text", kernel, "predicted", dump, *SPEC, "--kaslr", "0x1e00000").out
        assert "4 sites, 3 of which hold codes that they may have" in unknown  # without state they have two forms
        assert "  (it may hold both)" in unknown
        found, forms = (re.findall(r"^0x\w+", out, re.M) for out in (done.out, unknown))
        assert found == forms
        assert_refused(run("diff-text", kernel, "predicted", dump, *SPEC), "--kaslr 0x1e00000", "dump: ")

    def test_other_commands(self, run: Run, kernel: Path) -> None:
        assert run("explain", kernel, "labelled", *SPEC, "--kaslr", "0x1e00000").out.startswith("0xffffffff82e0000")
        assert run("apply", kernel, *SPEC, "--kaslr", "0x1e00000", "-o", "patched").code == 0
        assert open_kernel("patched").base == 0xFFFFFFFF82E00000
        assert run("apply", kernel, *SPEC, "-o", "patched", "--json").json["kernel"]["slide"] == 0

    @pytest.mark.parametrize(
        ("slide", "message"),
        [("0x1000", "must be a multiple of 0x200000"), ("0x40000000", "must not be above 0xffffffffc0000000")],
    )
    def test_where_it_cannot_lie(self, run: Run, kernel: Path, slide: str, message: str) -> None:
        assert_refused(run("predict", kernel, *SPEC, "--kaslr", slide, "-o", "text"), message, "vmlinux: ")

    @pytest.mark.parametrize("slide", ["-1", "x", "", "0x10000000000000000"])
    def test_what_is_no_slide(self, run: Run, kernel: Path, slide: str) -> None:
        assert run("predict", kernel, *SPEC, f"--kaslr={slide}").code == 2

    def test_without_the_table(self, run: Run, vmlinux: Path) -> None:
        done = run("predict", vmlinux, *SPEC, "--kaslr", "0x200000", "-o", "text")
        assert_refused(done, "lacks a relocation table after its ELF file: use the kernel's bzImage", "vmlinux: ")
        assert run("predict", vmlinux, *SPEC, "--kaslr", "0").code == 0

    def test_a_module(self, run: Run, kernel: Path) -> None:
        done = run("apply", "kernel.o", *SPEC, "--kaslr", "0x200000", "-o", "text")
        assert_refused(done, "is a module: KASLR moves the kernel that loads it", "kernel.o: ")


def assert_refused(done: Outcome, message: str, start: str = "") -> None:
    assert done.code == 1
    assert done.err.startswith(f"error: {start}")
    assert message in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert not Path("text").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--features", "XMM2,SSE9"), "there is no feature 'SSE9'; there are: BUG_RETBLEED, UNRET, XMM2"),
        (("--cpu", "cpuinfo", "--features=-SSE9"), "there is no feature 'SSE9'"),
        (("--cpu", ""), "no CPU given: use --cpu"),
        (("--cpu", "", "--vulnerabilities", "cpuinfo"), "--vulnerabilities requires --cpu"),
        (
            ("--cpu", "Nehalem2"),
            "Nehalem2: neither a profile nor a readable file (No such file or directory); profiles: ",
        ),
        (("--cpu", "."), ".: neither a profile nor a readable file"),
        (("--cpu", "kernel.o"), "kernel.o: neither a profile nor a readable file"),
        (("--cpu", "kernel.pvs"), "kernel.pvs: not a /proc/cpuinfo: it lacks the line `cpu family`"),
        (("--cpu", "cpuinfo", "--vulnerabilities", "nowhere"), "nowhere: cannot be read (No such file or directory)"),
        (("--hypervisor", "bhyve"), "there is no backend 'bhyve'"),
        (("--nops", "k8"), "there is no nop table 'k8'; there are: p6"),
        (("--state", "nowhere"), "nowhere: cannot be read: No such file"),
        (("--symbols", "nowhere"), "nowhere: cannot be read"),
        (("--option", "smp=true"), "there is no option 'smp'"),
        (("-o", "nowhere/text"), "nowhere/text cannot be written"),
    ],
)
def test_options_that_are_wrong(run: Run, vmlinux: Path, options: tuple[str, ...], message: str) -> None:
    assert_refused(run("predict", vmlinux, *SPEC, "-o", "text", *options), message)


@pytest.mark.parametrize("kept", [0, 3, 64, 200, 0x1000, 0x2800])
def test_a_kernel_cut_short(run: Run, vmlinux: Path, kept: int) -> None:
    vmlinux.write_bytes(vmlinux.read_bytes()[:kept])
    assert_refused(run("predict", vmlinux, *SPEC, "-o", "text"), "vmlinux: ")


def test_an_unknown_version(run: Run, vmlinux: Path) -> None:
    done = run("predict", vmlinux, "-o", "text")
    described = "Linux 5.10, 6.1, 6.12 on x86_64; Linux 5.10, 6.1 on i386"
    assert_refused(done, f"no shipped spec for 9.9.0-test on x86_64, only for {described}; name one with --spec")


class TestSystemMap:
    def given(self, run: Run, vmlinux: Path, lines: str) -> Outcome:
        Path("System.map").write_text(lines)
        return run("predict", vmlinux, *SPEC, "--symbols", "System.map", "-o", "text")

    def own(self, vmlinux: Path) -> str:
        return "".join(f"{s.address:016x} {s.kind} {s.name}\n" for s in open_kernel(vmlinux).symbols)

    def test_its_own(self, run: Run, vmlinux: Path) -> None:
        assert self.given(run, vmlinux, self.own(vmlinux)).code == 0

    def test_of_another_build(self, run: Run, vmlinux: Path) -> None:
        """The first function that lies elsewhere is named."""
        line = next(line for line in self.own(vmlinux).splitlines() if line.endswith(" function"))
        address = int(line.split()[0], 16)
        moved = self.own(vmlinux).replace(line, line.replace(f"{address:x}", f"{address + 16:x}"))
        message = f"symbols of another build: function is at {address + 16:#x}, but in vmlinux at {address:#x}"
        assert_refused(self.given(run, vmlinux, moved), message)

    def test_of_another_kernel(self, run: Run, vmlinux: Path) -> None:
        message = "System.map: symbols of another kernel: it lacks all functions of vmlinux"
        assert_refused(self.given(run, vmlinux, "ffffffff81000000 T somebody\n"), message)

    def test_data_may_differ(self, run: Run, vmlinux: Path) -> None:
        """Symbols of data say nothing: kallsyms of i386 lacks most, and those of all CPUs are offsets."""
        line = next(line for line in self.own(vmlinux).splitlines() if line.endswith(" key"))
        done = self.given(run, vmlinux, self.own(vmlinux) + line.replace("ffffffff", "0000000f", 1) + "\n")
        assert done.code == 0

    @pytest.mark.parametrize(("at", "code"), [(0, 0), (16, 1), (-(1 << 30), 1)])
    def test_of_a_kernel_without_symbols(self, run: Run, vmlinux: Path, at: int, code: int) -> None:
        """Its banner must lie where the map has it."""
        image = open_kernel(vmlinux)
        banner = image.base + image.memory.index(b"Linux version 9.9.0")
        lines = self.own(vmlinux) + f"{banner + at:016x} D linux_banner\n"
        subprocess.run(["strip", str(vmlinux)], check=True)
        done = self.given(run, vmlinux, lines)
        assert done.code == code
        if code:
            assert_refused(done, f"linux_banner is at {banner + at:#x}, where vmlinux has something else")

    @pytest.mark.parametrize("lines", ["\0\0\0", "one two\n", "zz T start\n", "ffffffffffffffff B The real one\n"])
    def test_what_is_none(self, run: Run, vmlinux: Path, lines: str) -> None:
        assert_refused(self.given(run, vmlinux, lines), "not a System.map line")


class TestDiffText:
    def test_two_predictions(self, run: Run, vmlinux: Path) -> None:
        """What does mitigations=off change?"""
        for name, words in (("one", ""), ("two", "mitigations=off")):
            assert run("predict", vmlinux, *SPEC, "--cpu", "cpuinfo", "--cmdline", words, "-o", name).code == 0
        done = run("diff-text", vmlinux, "one", "two", *SPEC)
        assert done.code == 0
        assert "5 bytes differ, at 1 sites" in done.out or "at 1 sites" in done.out
        value = run("diff-text", vmlinux, "one", "two", *SPEC, "--json").json
        (site,) = value["sites"]
        assert site["table"] == "returns"
        assert site["second"] == "c3cccccccc"
        assert value["tables"] == {"returns": {"sites": 1, "bytes": value["tables"]["returns"]["bytes"]}}

    def test_a_prediction_and_a_dump(self, run: Run, vmlinux: Path) -> None:
        """A dump is known by its size; bytes that are no table's are told as runs."""
        image = open_kernel(vmlinux)
        assert run("predict", vmlinux, *SPEC, "--cpu", "cpuinfo", "-o", "text").code == 0
        memory, start = bytearray(running(image)), image.symbols.address("start")
        assert start is not None
        memory[start - image.base : start - image.base + 3] = b"\xcc\xcc\xcc"
        Path("dump").write_bytes(memory)
        value = run("diff-text", vmlinux, "text", "dump", *SPEC, "--json").json
        assert {site["table"] for site in value["sites"]} >= {None, "alternatives", "jump_labels", "static_calls"}
        (alien,) = (site for site in value["sites"] if site["table"] is None)
        assert (alien["address"], alien["second"]) == (start, "cccccc")
        assert value["tables"]["none"] == {"sites": 1, "bytes": 3}

    def test_nothing_differs(self, run: Run, vmlinux: Path) -> None:
        assert run("predict", vmlinux, *SPEC, "-o", "text").code == 0
        assert run("diff-text", vmlinux, "text", "text", *SPEC).out.startswith("0 bytes differ, at 0 sites")

    @pytest.mark.parametrize("contents", [None, b"", b"\xcc" * 7])
    def test_what_is_no_text(self, run: Run, vmlinux: Path, contents: bytes | None) -> None:
        if contents is not None:
            Path("odd").write_bytes(contents)
        done = run("diff-text", vmlinux, "odd", "odd", *SPEC)
        assert_refused(done, "odd: ")


def test_tables_that_lie(run: Run, vmlinux: Path) -> None:
    """They point outside the text, or overlap: nothing is skipped that a kernel goes through, nothing written."""
    for old, new, message in (
        (
            ".long return_site - .",
            ".long key - .",
            "returns: record 0, site 0x[0-9a-f]+: its 5 bytes are outside the text",
        ),
        (".long locked - .,", ".long 0x7fffffff,", "smp_locks: record 0, site 0x[0-9a-f]+: its 1 bytes are outside"),
        ("__start_calls: .long called", "__start_calls: .long alternative + 3", "overlaps site 0x[0-9a-f]+ of static_"),
    ):
        assert old in SOURCE
        build(SOURCE.replace(old, new))
        done = run(
            "predict", vmlinux, *SPEC, "--features", "XMM2", "--cpus", "1", "--cmdline", "mitigations=off", "-o", "text"
        )
        assert_refused(done, "vmlinux: ")
        assert re.search(message, done.err)
