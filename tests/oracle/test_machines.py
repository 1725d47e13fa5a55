"""Machines made at random: what is predicted of some that nobody chose, and the parts that make and judge them."""

from __future__ import annotations

import json
import multiprocessing
import socket
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest

import pvspec
from pvspec.prediction.cpu import parse_cpuinfo

from . import fetch
from .cases import Kernel
from .machines import chance, command, coverage, records, shrink, stub, words
from .machines.bench import Bench, open_bench
from .machines.command import Outcome, tried
from .machines.described import KNOWN, Known, cpuinfo
from .machines.judge import ALIKE, ASKED, OPEN, WRONG, Verdict, fails, judge
from .machines.models import KVM, MODELS
from .machines.observe import Observation
from .machines.subject import Subject, numbers_in
from .machines.trial import PLAIN, Trial, TrialError, from_json

ROOT = Path(__file__).parents[2]
MACHINES = {
    Kernel("5.10", "amd64", "cloud-amd64"): 10,
    Kernel("6.1", "amd64", "cloud-amd64"): 10,
    Kernel("6.12", "amd64", "cloud-amd64"): 10,
    Kernel("6.1", "i386", "686-pae"): 30,
}
"""How many of a day's machines each kernel is tried on; of 32 bits three take as long as one of 64."""
MANY = 3000


def seed() -> str:
    """Other machines each day on which there was a commit, and the same ones for that commit; without git one day's."""
    told = subprocess.run(["git", "log", "-1", "--format=%cs"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip() or "2026-11-29"


@pytest.fixture(scope="module")
def outcomes() -> Mapping[str, Sequence[Outcome]]:
    """What came of a day's machines, by kernel."""
    packages, numbers = [kernel.package() for kernel in MACHINES], [range(many) for many in MACHINES.values()]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        found = pool.map(tried, packages, [seed()] * len(packages), numbers)
        return {kernel.name: told for kernel, told in zip(MACHINES, found, strict=True)}


# ---- what is predicted


def is_plain(trial: Trial) -> bool:
    """A CPU that is not changed as it boots, on bare metal: what KVM offers is in no file, and taken as QEMU's."""
    return not trial.late and trial.guest is None


@pytest.mark.parametrize("kernel", [kernel.name for kernel in MACHINES])
@pytest.mark.parametrize("known", KNOWN)
def test_a_days_machines(outcomes: Mapping[str, Sequence[Outcome]], kernel: str, known: Known) -> None:
    real = [one for one in outcomes[kernel] if known == "facts" or is_plain(one.trial)]
    verdicts = [(one, one.verdicts[known]) for one in real if one.verdicts is not None]
    wrong = [f"{command.told(found)}\n  {one.trial.to_json()}" for one, found in verdicts if fails(known, found)]
    assert not wrong, "\n".join([f"seed {seed()}, {kernel}:", *wrong])


@pytest.mark.parametrize("kernel", [kernel.name for kernel in MACHINES])
def test_most_machines_live(outcomes: Mapping[str, Sequence[Outcome]], kernel: str) -> None:
    died = [one.said for one in outcomes[kernel] if one.verdicts is None]
    assert len(died) < len(outcomes[kernel]) / 3, died


# ---- a kernel that is watched


@pytest.fixture(scope="module")
def bench() -> Bench:
    """The kernel that is fastest."""
    return open_bench(Kernel("6.1", "i386", "686-pae").package())


@pytest.fixture(scope="module")
def zen(bench: Bench) -> Observation:
    """A machine whose every part is told to be otherwise than QEMU has it."""
    return bench.observe(ZEN)


ZEN = Trial(
    vendor="AuthenticAMD",
    family=0x19,
    model=0x61,
    stepping=2,
    microcode=0xA601203,
    base="EPYC-Milan",
    flags=("-xsaves", "-invpcid", "-pcid", "-hypervisor", "+ibpb", "+topoext"),
    hidden=("BTC_NO", "VERW_CLEAR"),
    late=("-BUG_SYSRET_SS_ATTRS", "+BUG_RETBLEED"),
    cores=2,
    threads=2,
    words=("nosmt", "mitigations=auto"),
)


def names(bench: Bench, capabilities: tuple[int, ...]) -> set[str]:
    flags, bugs = bench.subject.shown(capabilities)
    return {*flags, *(f"bug {name}" for name in bugs)}


def test_a_machine_is_as_it_was_made(bench: Bench, zen: Observation) -> None:
    assert not zen.died
    before = names(bench, zen.before)
    assert {"ibpb", "bug retbleed", "bug spectre_v2"} <= before
    assert not {"hypervisor", "xsaves", "bug sysret_ss_attrs"} & before
    assert 32 * 20 + 5 in set(numbers_in(zen.before)), "VERW_CLEAR, which QEMU has no word for"
    assert (zen.present, zen.online, zen.threads) == (4, 2, 2), "the second threads stay off"
    assert zen.shown["meltdown"] == "Not affected"
    assert len(zen.text) > 4 << 20


def test_capabilities_are_what_is_read(bench: Bench) -> None:
    flags = ("-hypervisor", "+arch-capabilities", "+spec-ctrl")
    found = {
        bits: names(bench, bench.observe(replace(PLAIN, flags=flags, capabilities=bits)).before) for bits in (0, 1, 3)
    }
    assert "bug cpu_meltdown" in found[0]
    assert "bug cpu_meltdown" not in found[1], "RDCL_NO"
    assert "ibrs_enhanced" in found[3] - found[1]


def test_a_guest_of_kvm() -> None:
    kernel = open_bench(Kernel("6.12", "amd64", "cloud-amd64").package())
    trial = replace(PLAIN, guest=sum(1 << bit for bit in KVM.values()), cores=2)
    guest, bare = kernel.observe(trial), kernel.observe(replace(trial, guest=None))
    assert not guest.died
    assert kernel.differing(kernel.decided(guest.after), kernel.decided(bare.after)) == ("+PVUNLOCK", "+VCPUPREEMPT")
    assert judge(kernel, trial, guest, "facts").outcome == ALIKE


@pytest.mark.parametrize("limits", [{"_CPU_SECONDS": -1.0}, {"_WINDOW": 0.0, "_IDLE": 60.0}], ids=["busy", "halted"])
def test_a_guest_that_hangs_is_told_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, limits: Mapping[str, float]
) -> None:
    assert "no-such-cpu" in bench.observe(replace(PLAIN, base="no-such-cpu")).died
    monkeypatch.setattr("tests.oracle.machines.stub._PATIENCE", 0.001)  # no kernel patches itself as fast
    for name, limit in limits.items():
        monkeypatch.setattr(f"tests.oracle.machines.observe.{name}", limit)
    assert bench.observe(PLAIN).died == "the guest hangs"


def test_a_guest_that_ends_between_two_questions_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stub, "_PATIENCE", 0.01)
    place, ended = str(tmp_path / "gdb"), Event()
    with socket.socket(socket.AF_UNIX) as server, ThreadPoolExecutor(1) as pool:
        server.bind(place)
        server.listen()

        def answer_twice() -> None:
            with server.accept()[0] as guest:
                guest.recv(1024)
                guest.sendall(b"$#00$#00")
                ended.wait()

        answering = pool.submit(answer_twice)
        asking = stub.Stub(place, lambda: None)
        ended.set()
        answering.result()
        with pytest.raises(stub.Gone, match="the guest is gone"):
            asking.ask("c")
        asking.close()


def test_its_cpuinfo_says_what_the_kernel_would(bench: Bench, zen: Observation) -> None:
    cpu = parse_cpuinfo(cpuinfo(bench.subject, ZEN, zen), "cpuinfo")
    assert (cpu.vendor, cpu.family, cpu.model, cpu.stepping, cpu.count) == ("AuthenticAMD", 0x19, 0x61, 2, 2)
    assert {"ibpb", "bug retbleed"} <= cpu.flags
    lines = cpuinfo(bench.subject, ZEN, zen).splitlines()
    assert {"microcode\t: 0xa601203", "siblings\t: 2", "cpu cores\t: 1"} <= set(lines)


def test_a_text_is_predicted_as_by_predict(bench: Bench, zen: Observation) -> None:
    for line in ("", "mitigations=off", "spectre_v2=retpoline,lfence"):
        machine = pvspec.Machine(cpu=pvspec.read_cpu("Skylake-Client"), cmdline=line)
        whole = pvspec.predict(bench.subject.image, machine, spec=bench.whole)
        assert bench.predicted(bench.bind(machine)) == bench.digest(whole.text), line


def test_what_is_wrong_is_told(bench: Bench) -> None:
    seen = bench.observe(PLAIN)
    assert judge(bench, PLAIN, seen, "facts") == Verdict(ALIKE)
    compared = bench.masked(b"\xff" * len(seen.text))
    for compares, expected in ((255, Verdict(WRONG, (), 1)), (0, Verdict(ALIKE))):
        text = bytearray(seen.text)
        text[compared.index(compares)] ^= 1
        assert judge(bench, PLAIN, replace(seen, text=bytes(text)), "facts") == expected
    bit = min(bench.telling - set(numbers_in(seen.after)))
    after = [word | (1 << bit % 32 if at == bit // 32 else 0) for at, word in enumerate(seen.after)]
    other = judge(bench, PLAIN, replace(seen, after=tuple(after)), "facts")
    assert (other.outcome, other.features) == (WRONG, bench.differing([bit], []))


# ---- chance


@pytest.fixture(scope="module")
def subject() -> Subject:
    parameters = {"rodata=": True, "mem": True, "nosmp": True, "ftrace=": False}
    return cast(Subject, SimpleNamespace(parameters=parameters, image=SimpleNamespace(bits=64)))


def test_a_seed_and_a_number_give_one_machine(subject: Subject) -> None:
    made = [chance.trial(subject, "a", number) for number in range(40)]
    assert made == [chance.trial(subject, "a", number) for number in range(40)]
    assert made != [chance.trial(subject, "b", number) for number in range(40)]
    assert all(from_json(one.to_json()) == one for one in made)


def test_chance_comes_to_everything(subject: Subject) -> None:
    made = [chance.trial(subject, "a", number) for number in range(MANY)]
    models = {(model.vendor, model.family, number) for model in MODELS for number in model.models}
    assert models <= {(one.vendor, one.family, one.model) for one in made}
    said = {word for one in made for word in one.words}
    ordinary = {name if not value else f"{name}={value}" for name in words.VALUES for value in words.VALUES[name]}
    assert len(ordinary - said) < len(ordinary) / 50, "all but some of the rarest"
    assert {"--"} <= said
    assert any(word.startswith("rodata") for word in said), "a parameter of the kernel's own"
    assert not any(word.startswith("mem=") for word in said), "it would lay out memory"
    kinds = [one.kind for one in made]
    assert all(kinds.count(kind) > MANY / 8 for kind in chance.KINDS)
    assert {one.processors for one in made} == {1, 2, 4}
    guests = [one for one in made if one.guest is not None]
    assert MANY / 20 < len(guests) < MANY / 4
    assert all("-hypervisor" not in one.flags for one in guests)


def test_each_spelling_changes_something() -> None:
    chosen, word = Random("a"), "spectre_v2=retpoline,lfence"
    for spelling in words._SPELLINGS:
        assert any(spelling(chosen, word) != [word] for _ in range(9))


def test_a_machine_that_is_none_is_refused() -> None:
    for text in ("", "[]", "{", '{"colour": 1}', '{"words": "quiet"}', '{"cores": "2"}'):
        with pytest.raises(TrialError, match="not a machine"):
            from_json(text)


# ---- shrinking


class Fake:
    """A kernel that errs where the command line has a word and the CPU more than one thread."""

    def __init__(self) -> None:
        self.tried = 0

    def observe(self, trial: Trial) -> Trial:
        self.tried += 1
        return trial


def test_a_machine_shrinks_to_what_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(bench: Fake, trial: Trial, seen: Trial, known: Known) -> Verdict:
        errs = "pti=on" in trial.words and trial.threads > 1
        return Verdict(WRONG, ("+PTI", "-UP"), 1) if errs else Verdict(ALIKE)

    monkeypatch.setattr(shrink, "judge", judge)
    monkeypatch.setattr(Trial, "died", "", raising=False)
    big = replace(ZEN, words=("a", "pti=on", "b"), capabilities=0xFF)
    fake = Fake()
    small, verdict = shrink.shrunk(cast(Any, fake), big, "facts", Verdict(WRONG, ("+PTI",), 9))
    assert small == Trial(threads=2, words=("pti=on",))
    assert verdict == Verdict(WRONG, ("+PTI", "-UP"), 1)
    assert fake.tried < 60


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Verdict(WRONG, ("+A", "-B"), 3), Verdict(WRONG, ("+A",), 1), True),
        (Verdict(WRONG, ("+A",), 3), Verdict(WRONG, ("-A",), 1), False),
        (Verdict(WRONG, (), 3), Verdict(WRONG, (), 1), True),
        (Verdict(WRONG, (), 3), Verdict(WRONG, ("+A",), 1), False),
        (Verdict(WRONG, ("+A",), 3), Verdict(OPEN, ("+A",), 3), False),
        (Verdict(OPEN, ("+A",), 3), Verdict(OPEN, ("+A",), 3), False),
        (Verdict(ASKED, said="what"), Verdict(ASKED, said="what"), True),
    ],
)
def test_what_errs_alike(one: Verdict, other: Verdict, same: bool) -> None:
    assert shrink._same(one, other) is same


# ---- coverage


def test_what_machines_come_to(bench: Bench) -> None:
    met = coverage.Met()
    for name, line in (("a", "mitigations=off"), ("b", "spectre_v2=on")):
        machine = pvspec.Machine(cpu=pvspec.read_cpu("Skylake-Client"), cmdline=line)
        with coverage.watched(met, name):
            bound = bench.bind(machine)
        coverage.note(met, name, Trial(words=(line,)), bound)
    assert (met.words["mitigations=off"], met.words["spectre_v2=on"]) == ("a", "b")
    of_rtm = [question for said, question in coverage.asked(bench.spec) if said == "cpu has RTM"]
    assert [met.lacking(question) for question in of_rtm] == ["always false"]
    lines = list(coverage.report(bench, met, None))
    heads = [line.partition(":")[0].strip() for line in lines if not line.startswith("    ")]
    assert heads == ["decisions, both ways", "questions, both ways", "arms that win", "values of parameters"]
    assert "    retbleed=off: never" in lines
    assert "    mitigations=off: never" not in lines
    both = [guard for _, guard in coverage.guarded(bench.spec) if not met.lacking(guard)]
    assert both, "what mitigations=off turns off"
    assert any(met.answers[guard, True] == "b" for guard in both)
    assert bench.bind(machine).kernel.features == bound.kernel.features, "a kernel decides alike when it is watched"


# ---- records


def verdicts(*told: str) -> dict[Known, Verdict]:
    return {known: Verdict(outcome) for known, outcome in zip(KNOWN, told, strict=True)}


def outcome(number: int, kind: str, found: dict[Known, Verdict] | None) -> Outcome:
    return Outcome(number, Trial(kind=kind), found, "" if found else "it died")


class Machines:
    """What the command runs, in place of kernels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        self.found: dict[int, dict[Known, Verdict] | None] = {}
        monkeypatch.setattr(command, "_run", self.run)
        monkeypatch.setattr(command, "packages", lambda name: [("6.1-cloud-amd64", Path("kernel"))])
        image = SimpleNamespace(release="6.1.0-1-cloud-amd64")
        monkeypatch.setattr(command, "_bench", lambda package: SimpleNamespace(subject=SimpleNamespace(image=image)))
        monkeypatch.setattr(records, "made_by", lambda: "these")

    def run(self, package: Path, seed: str, numbers: Iterable[int], jobs: int) -> Iterable[Outcome]:
        for number in numbers:
            self.asked.append(number)
            yield outcome(number, "realistic", self.found.get(number, verdicts(ALIKE, ALIKE, OPEN)))


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    return Machines(monkeypatch)


def run(tmp_path: Path, *arguments: str) -> int:
    return command.main(["--records", str(tmp_path), "--shrink", "0", *arguments])


def test_what_is_recorded_is_not_run_again(machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, "--n", "10") == 0
    assert run(tmp_path, "--n", "13", "--resume") == 0
    assert machines.asked == [*range(10), *range(10, 13)]
    (line,) = (tmp_path / "6.1.0-1-cloud-amd64.jsonl").read_text().splitlines()
    assert json.loads(line) == {"seed": "0", "by": "these", "machines": " ".join(["raao"] * 13)}
    monkeypatch.setattr(records, "made_by", lambda: "others")
    machines.asked.clear()
    run(tmp_path, "--n", "13", "--resume")
    assert machines.asked == [*range(13)], "other code's machines are not known"


def test_a_record_is_no_part_of_what_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "predictor", " ".join)
    chosen = records.made_by().split()
    assert {"specs", "tests/oracle/machines/chance.py"} <= set(chosen)
    assert not any((ROOT / part in records.FOLDER.parents) or ROOT / part == records.FOLDER for part in chosen)


def test_a_wrong_one_is_said_and_is_no_success(
    machines: Machines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machines.found = {1: {**verdicts(ALIKE, ALIKE, ALIKE), "cpuinfo": Verdict(WRONG, ("+PTI",), 7)}, 2: None}
    assert run(tmp_path, "--n", "4", "--seed", "x") == 1
    assert "6.1-cloud-amd64 x.1 cpuinfo: wrong, +PTI, 7 bytes" in capsys.readouterr().out
    assert run(tmp_path, "--show") == 0
    shown = capsys.readouterr().out.splitlines()
    assert (
        "| 6.1.0-1-cloud-amd64 | realistic | 3 (1 more died) | 3 alike | 2 alike, 1 wrong | 1 alike, 2 open |" in shown
    )


def test_with_all_facts_nothing_is_open(machines: Machines, tmp_path: Path) -> None:
    for found, status in (
        (verdicts(ALIKE, OPEN, ASKED), 0),
        (verdicts(OPEN, ALIKE, ALIKE), 1),
        (verdicts(ASKED, ALIKE, ALIKE), 1),
    ):
        machines.found = {0: {**found, "cpuinfo": Verdict(OPEN)}}
        assert run(tmp_path, "--n", "1") == status


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--kernel", "6.1", "--machine", '{"colour": 1}']) == 2
    assert "a machine has no colour" in capsys.readouterr().err
    with pytest.raises(fetch.Unavailable, match=r"no kernel 9\.9"):
        command.main(["--kernel", "9.9"])
