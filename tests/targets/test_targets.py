"""Which of the kernels that a spec describes is meant."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pvspec import Target, TargetError, check_spec, compile_spec, load_spec, prove, prove_all, run_tests
from pvspec.compiler.cached import load_for
from pvspec.lang.target import Wanted, listed, wanted

from .conftest import TARGETS

ALL = tuple(Target(tuple(map(int, version.split("."))), machine) for version, machine in TARGETS)


def test_all_of_them_are_checked(spec: Path) -> None:
    checked = check_spec(spec)
    assert [str(finding) for finding in checked.diagnostics] == []
    assert tuple(checked.programs) == ALL


@pytest.mark.parametrize(
    ("kernel", "machine", "count"),
    [("6.1", None, 2), ("6.12", None, 1), (None, "i386", 2), ("5.10", "i386", 1), ("5.10.7", "i386", 1)],
)
def test_some_of_them_are_checked(spec: Path, kernel: str | None, machine: str | None, count: int) -> None:
    found = check_spec(spec, kernel=kernel, machine=machine).programs
    assert len(found) == count
    for target in found:
        assert machine in (None, target.machine)
        assert kernel is None or target.version == tuple(map(int, kernel.split(".")))


@pytest.mark.parametrize(
    ("kernel", "machine", "why"),
    [
        (None, None, "spec.pvs describes several kernels: Linux 5.10, 6.1, 6.12 on x86_64; Linux 5.10, 6.1 on i386; "
         "name one with --kernel and --machine"),
        ("6.1", None, "several kernels: Linux 6.1 on x86_64; Linux 6.1 on i386; name the machine with --machine"),
        (None, "i386", "several kernels: Linux 5.10, 6.1 on i386; name one with --kernel"),
        ("6.12", "i386", "on x86_64; Linux 5.10, 6.1 on i386, not Linux 6.12 on i386"),
        ("6.6", None, "6.1 on i386, not Linux 6.6"),
        ("6.1", "arm", "not Linux 6.1 on arm"),
        (None, "arm", "spec.pvs describes i386, x86_64, not arm"),
        ("6", None, "'6' is no version of a kernel, such as 6.1 or 5.10.223"),
        ("6.1-rc1", None, "'6.1-rc1' is no version"),
        ("6.1.2.3", None, "'6.1.2.3' is no version"),
        ("6.1\n", None, "is no version"),
    ],
)  # fmt: skip
def test_one_has_to_be_meant(spec: Path, kernel: str | None, machine: str | None, why: str) -> None:
    for call in (load_spec, compile_spec, prove):
        with pytest.raises(TargetError) as error:
            call(spec, kernel=kernel, machine=machine)
        assert why in str(error.value)


def test_the_error_comes_back_whole(spec: Path) -> None:
    with pytest.raises(TargetError) as caught:
        load_spec(spec)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.targets) == (str(caught.value), ALL)


@pytest.mark.parametrize(
    ("version", "machine", "exactly", "found"),
    [
        ((6, 1), None, True, [1, 4]),
        ((6, 1, 9), "i386", True, [4]),
        ((6, 10), None, False, []),
        (None, "i386", True, [3, 4]),
        ((5, 10), "arm", False, []),
    ],
)
def test_among(version: tuple[int, ...] | None, machine: str | None, exactly: bool, found: list[int]) -> None:
    meant = Wanted(version, machine, exactly).among(ALL)
    assert [target.machine for target in meant] == [ALL[index].machine for index in found]
    assert all(version is None or target.version == version for target in meant)


def test_a_series_is_not_a_beginning() -> None:
    """6.1 is not 6.12, nor 6.10."""
    assert Wanted((6, 10), "x86_64").among(ALL) == ()
    assert Wanted((6, 1), "x86_64").among(ALL) == (ALL[1],)


def test_without_versions_machines_part() -> None:
    two = (Target(None, "i386"), Target(None, "x86_64"))
    assert Wanted(None, "i386").among(two) == two[:1]
    assert Wanted((6, 1), "i386").among(two) == ()
    assert Wanted((6, 1), "i386", exactly=False).among(two) == two[:1]
    assert Wanted((6, 1), "sparc", exactly=False).among(two[:1]) == two[:1]  # that it has other bits is told later


@pytest.mark.parametrize(
    ("version", "asked", "since"),
    [
        ((5, 10), (5, 10), True),
        ((5, 10), (5, 10, 224), True),  # a series is its newest point release
        ((5, 10), (5, 11), False),
        ((5, 10, 223), (5, 10, 224), False),
        ((5, 10, 224), (5, 10, 224), True),
        ((5, 10, 0), (5, 10), True),
        ((6, 1), (6, 12), False),
        ((6, 12), (6, 2), True),
        ((10, 0), (9, 9, 9), True),
    ],
)
def test_since(version: tuple[int, ...], asked: tuple[int, ...], since: bool) -> None:
    assert Target(version, "x86_64").is_since(asked) is since


def test_listed() -> None:
    assert listed(ALL) == "Linux 5.10, 6.1, 6.12 on x86_64; Linux 5.10, 6.1 on i386"
    assert listed([Target(None, "i386"), Target((6, 1, 3), None)]) == "i386; Linux 6.1.3"
    assert (str(Target()), str(wanted("5.10.3", None).version)) == ("any kernel", "(5, 10, 3)")


def test_a_point_release_is_read_as_such(spec: Path) -> None:
    names = [
        set(load_spec(spec, kernel=kernel, machine="i386").machine.features) & {"FIXED"}
        for kernel in ("5.10.99", "5.10.100", "5.10", "6.1")
    ]
    assert names == [set(), {"FIXED"}, {"FIXED"}, set()]


def test_a_file_that_only_one_machine_includes(spec: Path) -> None:
    found = {target: list(program.spec.families) for target, program in check_spec(spec).all_sound().items()}
    assert [target.machine for target in found if "wide" in found[target]] == ["x86_64", "x86_64"]


def test_tests_of_all(spec: Path) -> None:
    results = run_tests(spec)
    assert [(result.target, result.passed) for result in results] == [
        (target, True) for target in ALL for _ in range(1 if target.version == (5, 10) else 2)
    ]
    assert {result.target for result in run_tests(spec, kernel="6.12")} == {ALL[2]}


def test_a_failure_of_some(spec: Path) -> None:
    text = spec.read_text(encoding="utf-8")
    spec.write_text(text.replace('kind 5 => "c3"', 'kind 5 => "c3"\n    at 0x1000 len 1 original "90" kind 6 => "c3"'))
    failed = [result for result in run_tests(spec) if not result.passed]
    assert [result.target for result in failed] == list(ALL)
    told = [finding for result in failed for finding in result.diagnostics]
    assert [finding.code for finding in told] == ["PV501"]  # the same for all: said once, of all
    assert not any(note.startswith("for Linux") for finding in told for note in finding.notes)

    spec.write_text(text.replace('kind 4 => "90"', 'kind 4 => "c3"'))
    told = [finding for result in run_tests(spec) for finding in result.diagnostics]
    assert [finding.code for finding in told] == ["PV501"]  # and of all that have the case
    other = '    bytes "c3" before 6.12 when kind == 4\n    bytes "90" since 6.12'
    spec.write_text(text.replace('    bytes "90" since 6.1', other))
    told = [finding for result in run_tests(spec) for finding in result.diagnostics]
    assert [finding.notes[-1] for finding in told] == ["for Linux 6.1 on x86_64; Linux 6.1 on i386"]


def test_all_are_proven(spec: Path) -> None:
    proofs = prove_all(spec)
    assert [proof.target for proof in proofs] == list(ALL)
    (one,) = prove_all(spec, kernel="6.12")
    assert one.target == prove(spec, kernel="6.12").target == ALL[2]


def test_each_kernel_has_a_place_of_its_own_in_the_cache(spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PVSPEC_CACHE", str(spec.parent.parent / "cache"))
    first = [load_spec(spec.parent, kernel=kernel, machine=machine) for kernel, machine in TARGETS]
    assert len({repr(one.families) + repr(one.machine) for one in first}) == len(TARGETS)
    monkeypatch.setattr("pvspec.compiler.pipeline.check_the_one", lambda *_: pytest.fail("compiled again"))
    assert [load_spec(spec.parent, kernel=kernel, machine=machine) for kernel, machine in TARGETS] == first


def test_an_image_chooses(spec: Path) -> None:
    assert load_for(spec, Wanted((6, 1, 7), "x86_64", exactly=False)) == load_spec(spec, kernel="6.1", machine="x86_64")
