"""Facts of 2.6.23, computed by hand, that the model must get right before it may judge anything."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from .model import (
    CLBR_ANY,
    CLBR_EAX,
    CLBR_NONE,
    CONFIGS,
    OPS,
    Backend,
    Config,
    ModelBug,
    Nops,
    Outcome,
    World,
    alternatives,
    apply_paravirt,
    find_nop_table,
    pad,
    patch,
    smp_lock,
)

PLAIN = Config(highpte=False, pae=False)
PAE = Config(highpte=False, pae=True)
ADDR = 0xC0101000
PARAVIRT_NOP = 0xC0108000
NATIVE_FUNC = 0xC0200000
ORIGINAL = bytes(range(0xA0, 0xE0))

WORLD = World(
    targets=dict.fromkeys(range(5, 93), NATIVE_FUNC),
    paravirt_nop=PARAVIRT_NOP,
    symbols={"vcpu_info": 0xC0500000, "check_events": 0xC0400000, "irq_enabled": 0xC0600004},
)
ALL_BACKENDS: tuple[Backend, ...] = ("native", "vmi", "xen", "lguest")


def run(
    backend: Backend,
    op: str,
    length: int,
    clobber: int = CLBR_ANY,
    world: World = WORLD,
    config: Config = PLAIN,
) -> Outcome:
    number = OPS[config["highpte"], config["pae"]][op]
    return patch(backend, number, clobber, ADDR, length, ORIGINAL[:length], world, config)


def code(outcome: Outcome) -> str:
    return outcome.insnbuf[: outcome.used].hex(" ")


def kept(length: int) -> Outcome:
    return Outcome(length, ORIGINAL[:length])


def answering(kind: int, eip: int = 0, reserved: int = 0) -> Callable[[int], int]:
    return lambda call: reserved << 40 | kind << 32 | eip


def slot(op: str, target: int) -> World:
    return replace(WORLD, targets={OPS[False, False][op]: target})


# --- op numbers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "numbers"),
    [
        ("arch_setup", (5, 5, 5, 5)),
        ("clts", (18, 18, 18, 18)),
        ("read_cr0", (19, 19, 19, 19)),
        ("read_cr2", (21, 21, 21, 21)),
        ("read_cr3", (23, 23, 23, 23)),
        ("write_cr3", (24, 24, 24, 24)),
        ("save_fl", (28, 28, 28, 28)),
        ("restore_fl", (29, 29, 29, 29)),
        ("irq_disable", (30, 30, 30, 30)),
        ("irq_enable", (31, 31, 31, 31)),
        ("read_tsc", (37, 37, 37, 37)),
        ("pte_val", (78, 83, 79, 84)),
        ("pgd_val", (79, 85, 80, 86)),
        ("make_pte", (80, 86, 81, 87)),
        ("make_pgd", (81, 88, 82, 89)),
        ("pmd_val", (None, 84, None, 85)),
        ("make_pmd", (None, 87, None, 88)),
        ("kmap_atomic_pte", (None, None, 78, 78)),
        ("irq_enable_sysexit", (83, 90, 84, 91)),
        ("iret", (84, 91, 85, 92)),
    ],
)
def test_type_numbers(op: str, numbers: tuple[int | None, ...]) -> None:
    keys = [(False, False), (False, True), (True, False), (True, True)]
    assert tuple(OPS[key].get(op) for key in keys) == numbers


@pytest.mark.parametrize(("config", "words"), list(zip(CONFIGS, (85, 92, 86, 93), strict=True)))
def test_ops_fill_the_struct_behind_five_data_words(config: Config, words: int) -> None:
    assert list(OPS[config["highpte"], config["pae"]].values()) == list(range(5, words))


# --- bytes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("irq_disable", "fa"),
        ("irq_enable", "fb"),
        ("restore_fl", "50 9d"),
        ("save_fl", "9c 58"),
        ("iret", "cf"),
        ("irq_enable_sysexit", "fb 0f 35"),
        ("read_cr2", "0f 20 d0"),
        ("write_cr3", "0f 22 d8"),
        ("read_cr3", "0f 20 d8"),
        ("clts", "0f 06"),
        ("read_tsc", "0f 31"),
        ("make_pte", ""),
        ("pgd_val", ""),
        ("write_cr0", "e8 fb ef 0f 00"),  # 0xc0200000 - 0xc0101005
    ],
)
def test_native_bytes(op: str, expected: str) -> None:
    assert code(run("native", op, 10)) == expected


@pytest.mark.parametrize("op", ["pte_val", "pmd_val", "pgd_val", "make_pte", "make_pmd", "make_pgd"])
def test_native_identities_vanish_under_pae(op: str) -> None:
    assert run("native", op, 6, config=PAE) == Outcome(0, ORIGINAL[:6])


# Symbols: vcpu_info c0500000, check_events c0400000; the call at c0101000 + 12 has rel32
# c0400000 - c0101011 = 002fefef, the one at c0101000 + 22 has c0400000 - c010101b = 002fefe5.
@pytest.mark.parametrize(
    ("op", "length", "expected"),
    [
        ("irq_disable", 8, "64 c6 05 01 00 50 c0 01"),
        ("irq_enable", 17, "64 66 81 25 00 00 50 c0 ff 00 74 05 e8 ef ef 2f 00"),
        ("save_fl", 13, "64 f6 05 01 00 50 c0 ff 0f 94 c4 00 e4"),
        (
            "restore_fl",
            27,
            "f6 c4 02 64 0f 94 05 01 00 50 c0 64 66 83 3d 00 00 50 c0 01 74 05 e8 e5 ef 2f 00",
        ),
    ],
)
def test_xen_bytes_at_their_tightest(op: str, length: int, expected: str) -> None:
    assert run("xen", op, length) == Outcome(length, bytes.fromhex(expected))
    assert code(run("xen", op, length - 1)).startswith("e8"), "one byte short: the default rule calls"


@pytest.mark.parametrize(("op", "used"), [("irq_disable", 7), ("irq_enable", 16), ("save_fl", 12), ("restore_fl", 25)])
def test_xen_on_one_cpu_has_no_fs_prefix(op: str, used: int) -> None:
    outcome = run("xen", op, 32, world=replace(WORLD, smp=False))
    assert outcome.used == used
    assert 0x64 not in outcome.insnbuf[:used]


def test_xen_call_on_one_cpu_still_reaches_check_events() -> None:
    outcome = run("xen", "irq_enable", 16, world=replace(WORLD, smp=False))
    assert code(outcome) == "66 81 25 00 00 50 c0 ff 00 74 05 e8 f0 ef 2f 00"


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("irq_disable", "c7 05 04 00 60 c0 00 00 00 00"),
        ("irq_enable", "c7 05 04 00 60 c0 00 02 00 00"),
        ("restore_fl", "a3 04 00 60 c0"),
        ("save_fl", "a1 04 00 60 c0"),
        ("clts", "e8 fb ef 0f 00"),
    ],
)
def test_lguest_bytes_fit_a_c_site(op: str, expected: str) -> None:
    assert code(run("lguest", op, 10)) == expected


# --- the shared rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("clobber", [CLBR_NONE, CLBR_EAX, 2, 3, 4, 5, 6, 0xFFF8])
def test_a_call_that_clobbers_more_than_the_site_allows_is_declined(clobber: int) -> None:
    assert run("native", "write_cr0", 6, clobber) == kept(6)


def test_undefined_clobber_bits_do_not_matter_beside_any() -> None:
    assert run("native", "write_cr0", 6, 0xFFFF) == run("native", "write_cr0", 6, CLBR_ANY)


def test_a_call_needs_five_bytes_and_leaves_the_rest_original() -> None:
    assert run("native", "write_cr0", 4) == kept(4)
    assert run("native", "write_cr0", 6) == Outcome(5, bytes.fromhex("e8 fb ef 0f 00") + ORIGINAL[5:6])


def test_displacements_wrap_at_32_bits() -> None:
    assert code(run("native", "write_cr0", 5, world=slot("write_cr0", 0x1000))) == "e8 fb ff ef 3f"


def test_a_jump_ignores_clobbers_but_needs_five_bytes() -> None:
    assert code(run("xen", "iret", 7, CLBR_NONE)) == "e9 fb ef 0f 00"
    assert code(run("lguest", "irq_enable_sysexit", 5, CLBR_NONE)) == "e9 fb ef 0f 00"
    assert run("xen", "iret", 4, CLBR_NONE) == kept(4)


def test_the_same_number_is_a_jump_in_one_configuration_only() -> None:
    number = OPS[False, False]["iret"]
    assert patch("xen", number, CLBR_ANY, ADDR, 5, ORIGINAL[:5], WORLD, PLAIN).insnbuf[0] == 0xE9
    assert patch("xen", number, CLBR_ANY, ADDR, 5, ORIGINAL[:5], WORLD, PAE).insnbuf[0] == 0xE8


def test_a_null_slot_becomes_ud2_where_it_fits() -> None:
    world = slot("write_cr0", 0)
    assert run("native", "write_cr0", 2, CLBR_NONE, world) == Outcome(2, bytes.fromhex("0f 0b"))
    assert run("native", "write_cr0", 1, CLBR_NONE, world) == kept(1)


@pytest.mark.parametrize("op", ["write_cr0", "irq_enable_sysexit"])
def test_the_nop_function_empties_the_site_whatever_its_length(op: str) -> None:
    for length in (0, 1, 7):
        assert run("xen", op, length, CLBR_NONE, slot(op, PARAVIRT_NOP)) == Outcome(0, ORIGINAL[:length])


def test_native_code_longer_than_the_site_is_not_replaced_by_a_call() -> None:
    assert run("native", "irq_enable_sysexit", 2) == kept(2)
    assert run("native", "irq_disable", 0) == kept(0)


def test_a_c_site_under_xen_inlines_only_irq_disable() -> None:
    assert run("xen", "irq_disable", 10, CLBR_EAX).used == 8
    for op in ("irq_enable", "save_fl", "restore_fl"):
        assert run("xen", op, 10, CLBR_EAX) == kept(10)


def test_xen_without_vcpu_info_placement_calls() -> None:
    world = replace(WORLD, have_vcpu_info_placement=False)
    assert code(run("xen", "irq_disable", 10, world=world)) == "e8 fb ef 0f 00"


def test_lguest_code_that_does_not_fit_becomes_a_call() -> None:
    assert code(run("lguest", "irq_enable", 9)) == "e8 fb ef 0f 00"
    assert run("lguest", "irq_enable", 9, CLBR_EAX) == kept(9)


# --- vmi ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "call"),
    [
        ("irq_enable", 29),
        ("irq_disable", 30),
        ("save_fl", 31),
        ("restore_fl", 32),
        ("iret", 33),
        ("irq_enable_sysexit", 34),
    ],
)
def test_vmi_asks_the_rom(op: str, call: int) -> None:
    world = replace(WORLD, rom=lambda asked: 1 << 32 | 0xFC000000 + asked)
    rel = 0xFC000000 + call - ADDR - 5
    assert run("vmi", op, 5, CLBR_NONE, world).insnbuf == b"\xe8" + rel.to_bytes(4, "little")


@pytest.mark.parametrize("op", ["clts", "write_cr0", "pte_val", "read_tsc"])
def test_vmi_keeps_every_other_op_and_does_not_ask(op: str) -> None:
    assert run("vmi", op, 10) == kept(10)


def test_vmi_relocation_kinds() -> None:
    outcomes = [
        run("vmi", "irq_disable", 10, 0, replace(WORLD, rom=answering(kind, NATIVE_FUNC, 0x5A5A5A)))
        for kind in (0, 1, 2, 3)
    ]
    assert outcomes[0] == kept(10)
    assert code(outcomes[1]) == "e8 fb ef 0f 00"
    assert code(outcomes[2]) == "e9 fb ef 0f 00"
    assert outcomes[3] == Outcome(0, ORIGINAL[:10])


@pytest.mark.parametrize("kind", [1, 2, 4, 255])
def test_vmi_bugs(kind: int) -> None:
    with pytest.raises(ModelBug, match="vmi"):
        run("vmi", "irq_enable", 4, world=replace(WORLD, rom=answering(kind)))


# --- padding and the other families -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nops", "expected"),
    [
        ("intel", "908db42600000000 908d742600"),
        ("k8", "6666669066666690 6666906690"),
        ("k7", "8d04050000000090 8d44200090"),
    ],
)
def test_padding_takes_the_longest_nop_first(nops: Nops, expected: str) -> None:
    assert pad(Outcome(1, b"\xfa" + ORIGINAL[:13]), nops) == b"\xfa" + bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("nops", "one_to_seven"),
    [
        ("intel", "90 89f6 8d7600 8d742600 908d742600 8db600000000 8db42600000000"),
        ("k8", "90 6690 666690 66666690 6666906690 666690666690 66666690666690"),
        ("k7", "90 8bc0 8d0420 8d442000 8d44200090 8d8000000000 8d040500000000"),
    ],
)
def test_each_short_nop(nops: Nops, one_to_seven: str) -> None:
    padded = [pad(Outcome(0, bytes(length)), nops).hex() for length in range(1, 8)]
    assert padded == one_to_seven.split()


def test_padding_checks_what_was_used() -> None:
    assert pad(Outcome(4, ORIGINAL[:4]), "k8") == ORIGINAL[:4]
    with pytest.raises(ModelBug, match="used > len"):
        pad(Outcome(5, ORIGINAL[:4]), "k8")


@pytest.mark.parametrize(
    ("k8", "k7", "table"),
    [(True, True, "k8"), (True, False, "k8"), (False, True, "k7"), (False, False, "intel")],
)
def test_nop_table_choice(k8: bool, k7: bool, table: Nops) -> None:
    assert find_nop_table(k8, k7) == table


def test_apply_paravirt_end_to_end() -> None:
    final = apply_paravirt("native", 30, CLBR_EAX, ADDR, ORIGINAL[:10], WORLD, PLAIN)
    assert final == bytes.fromhex("fa 90 8db42600000000 90")


def test_apply_paravirt_refuses_sites_over_254_bytes() -> None:
    assert len(apply_paravirt("native", 30, CLBR_EAX, ADDR, bytes(254), WORLD, PLAIN)) == 254
    with pytest.raises(ModelBug, match="MAX_PATCH_LEN"):
        apply_paravirt("native", 30, CLBR_EAX, ADDR, bytes(255), WORLD, PLAIN)


@pytest.mark.parametrize("backend", ALL_BACKENDS)
def test_a_kept_or_shorter_outcome_is_always_as_long_as_the_site(backend: Backend) -> None:
    world = replace(WORLD, rom=answering(3))
    for length in range(65):
        for op in OPS[False, False]:
            outcome = run(backend, op, length, world=world)
            assert outcome.used <= len(outcome.insnbuf) == length


def test_alternatives() -> None:
    original, replacement = bytes.fromhex("f0 83 04 24 00"), bytes.fromhex("0f ae e8")
    assert alternatives(5, 3, True, original, replacement, "k8") == bytes.fromhex("0f ae e8 66 90")
    assert alternatives(5, 3, False, original, replacement, "k8") == original
    assert alternatives(3, 3, True, original[:3], replacement, "k8") == replacement
    assert len(alternatives(254, 0, True, bytes(254), b"", "k8")) == 254


@pytest.mark.parametrize(("instrlen", "replacementlen"), [(2, 3), (255, 0)])
@pytest.mark.parametrize("has_feature", [True, False])
def test_alternatives_check_the_record_before_the_feature(
    instrlen: int, replacementlen: int, has_feature: bool
) -> None:
    with pytest.raises(ModelBug):
        alternatives(instrlen, replacementlen, has_feature, bytes(instrlen), bytes(replacementlen), "intel")


def test_smp_locks() -> None:
    assert smp_lock(0xF0, True, "k7", True) == 0x90
    assert smp_lock(0x90, False, "k7", True) == 0xF0
    assert smp_lock(0xF0, True, "k7", False) == 0xF0
    assert smp_lock(0x90, False, "k7", False) == 0x90
