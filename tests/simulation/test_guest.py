"""The guest is what a kernel is to the generated module: sites, a table of ops, a text_poke."""

from __future__ import annotations

import pytest

from pvspec.engine.slots import find_table, read_targets
from pvspec.simulation.guest import RETURN, STACKS, TEXT, WINDOW, Guest, SimulationError, build
from pvspec.simulation.kernel_text import OPS, function
from pvspec.simulation.second_cpu import RIGHT, SecondCpu
from pvspec.x86.emulator.machine import PAGE, REGISTERS, Stop

from .conftest import spec


def test_the_engine_finds_the_table_of_ops_by_the_sites(guest: Guest) -> None:
    machine = guest.machine()
    start = find_table(guest.interface, 4, guest.table(guest.sites), 0, machine.read)
    assert start is not None
    targets = read_targets([site.type for site in guest.sites], start, 4, machine.read)
    assert targets == {site.type: guest.symbols[function(guest.backend, site.op)] for site in guest.sites}


def test_the_sites(guest: Guest) -> None:
    assert [(site.op, site.len, site.clobber) for site in guest.sites] == [
        ("pgd_val", 6, 7),
        ("save_fl", 10, 1),
        ("irq_disable", 10, 1),
        ("restore_fl", 10, 1),
    ]
    for site in guest.sites:
        assert guest.text[site.addr - TEXT.start :].startswith(site.original)
        assert guest.name(site.addr).partition("+")[0] == ("lookup_address" if site.op == "pgd_val" else "vmap")


def test_text_poke_writes_to_protected_text_and_keeps_registers(guest: Guest) -> None:
    machine, place, stack = guest.machine(), TEXT.start + 0x800, STACKS[0].start + PAGE - 128
    machine.write(stack, RETURN.to_bytes(4, "little"))
    machine.write(stack + 32, b"\x01\x02\x03\x04\x05")
    registers = {name: 0x1000 + number for number, name in enumerate(REGISTERS)}
    registers |= {"eax": place, "edx": stack + 32, "ecx": 5, "esp": stack, "eip": guest.symbols["text_poke"]}
    registers |= {"eflags": 0x202}
    assert machine.run(registers, RETURN, 1000) == Stop(RETURN)
    assert machine.read(place - 1, 7) == b"\xcc\x01\x02\x03\x04\x05\xcc"
    after = machine.registers()
    assert after["esp"] == stack + 4
    assert {name: after[name] for name in ("ebx", "ebp", "esi", "edi")} == {
        name: registers[name] for name in ("ebx", "ebp", "esi", "edi")
    }
    ran = {executed.address for executed in machine.trace}
    assert ran >= {site.addr for site in guest.sites}, "its way leads through all of the sites"


def test_the_window_is_where_vmap_thinks(guest: Guest) -> None:
    assert guest.machine().entry(WINDOW) == guest.symbols["window_entry"]


def test_a_patched_site_does_what_it_did(guest: Guest) -> None:
    """Registers that are alive, interrupt flag, data and stack: old code and new leave the same."""
    for site in guest.sites:
        cpu = SecondCpu(guest, site)
        assert len(cpu.outcomes) == 1, site.op
        assert cpu.finish(cpu.start, guest.patched(site)).end == RIGHT
        nothing = cpu.finish(cpu.start, b"\x90" * site.len).end
        assert nothing == ("torn" if site.op == "pgd_val" else "wrong"), "and it is seen if that is missing"


def test_what_lies_on_the_stack_must_stay(guest: Guest) -> None:
    cpu = SecondCpu(guest, guest.sites[0])
    assert cpu.finish(cpu.start, bytes.fromhex("89 44 24 04 66 90")).end == "wrong"  # mov [esp + 4], eax


def test_a_detour_does_what_the_site_does(guest: Guest) -> None:
    for site in guest.sites:
        cpu = SecondCpu(guest, site)
        for tail in (site.original[1:], guest.patched(site)[1:], bytes(site.len - 1)):
            assert cpu.finish(cpu.start, b"\xcc" + tail).end == RIGHT


def test_an_unknown_backend() -> None:
    with pytest.raises(SimulationError, match="no backend 'kvm'; there are: lguest, native, vmi, xen"):
        build(spec(), "kvm")


def test_a_spec_without_the_ops() -> None:
    whole = spec()
    assert whole.interface is not None
    numbers = {(): {n: op for n, op in whole.interface.numbers[False, False].items() if op != "save_fl"}}
    interface = whole.interface.changed(numbers=numbers, names=whole.interface.names.changed(options={}))
    with pytest.raises(SimulationError, match="the op save_fl, which paravirt_ops lacks"):
        build(whole.changed(interface=interface), "native")


def test_a_spec_for_64_bits() -> None:
    whole = spec()
    with pytest.raises(SimulationError, match="the spec does not fit the guest"):
        build(whole.changed(machine=whole.machine.changed(bits=64)), "native")


def test_every_op_has_a_site(guest: Guest) -> None:
    assert {site.op for site in guest.sites} == OPS.keys()
