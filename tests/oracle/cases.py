"""The boots of the matrix: which kernels, on which CPUs, under which hypervisors, with which command lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from . import fetch
from .bare import KASLR
from .qemu import Machine


class Kernel(NamedTuple):
    """A Debian kernel: upstream's version, Debian's architecture and flavour."""

    version: str
    arch: str
    flavour: str

    @property
    def name(self) -> str:
        """Such as "6.1-cloud-amd64"."""
        return f"{self.version}-{self.flavour}"

    def package(self) -> Path:
        """The newest of them; raises Unavailable."""
        suite, abi = SUITES[self.version]
        return fetch.kernel_package(self.arch, self.flavour, abi, suite)


class Case(NamedTuple):
    """A kernel and the machine it is booted on."""

    kernel: Kernel
    machine: Machine

    @property
    def name(self) -> str:
        """Such as "6.1-cloud-amd64.native.EPYC.smp2.mitigations=off"."""
        machine = self.machine
        parts = [self.kernel.name, machine.hypervisor, machine.cpu, f"smp{machine.smp}", *machine.append.split()]
        return ".".join(parts)


SUITES = {
    "5.10": ("bullseye", r"5\.10\.0-\d+"),
    "6.1": ("bookworm", r"6\.1\.0-\d+"),
    "6.12": ("trixie", r"6\.12\.[\d.]+\+deb13"),
}
"""By version: the suite that has it, and what packages' names have before the flavour."""

FLAVOURS = [
    ("amd64", "cloud-amd64"),
    ("amd64", "amd64"),
    ("i386", "686-pae"),
    ("i386", "686"),
    ("amd64", "rt-amd64"),
    ("i386", "rt-686-pae"),
]
KERNELS = [
    Kernel(version, arch, flavour)
    for version in SUITES
    for arch, flavour in FLAVOURS
    if arch == "amd64" or version != "6.12"  # Debian 13 has no i386 kernel
]

ALL = r"(?!.*-rt-).*"
OLD = r"(5\.10|6\.1)-"
AMD64 = OLD + r"(cloud-)?amd64"
CLOUD, GENERIC = OLD + "cloud-amd64", OLD + "amd64"
I386 = OLD + r"686(-pae)?"
PAE, NO_PAE = OLD + "686-pae", OLD + "686"
V5, V6 = r"5\.10-(?!rt-).*", r"6\.\d+-(?!rt-).*"
RT, RT_AMD64, RT_I386 = r".*-rt-.*", r".*-rt-amd64", r".*-rt-686-pae"
NEW, NEW_CLOUD, NEW_GENERIC = r"6\.12-(?!rt-).*", r"6\.12-cloud-amd64", r"6\.12-amd64"


class Row(NamedTuple):
    """One machine for all kernels whose names match."""

    kernels: str
    hypervisor: str
    cpu: str
    smp: int
    append: str = ""


ROWS: Sequence[Row] = [
    Row(ALL, "native", "qemu64", 1),
    # CPUs
    Row(ALL, "native", "max", 2),
    Row(AMD64, "native", "EPYC", 1),
    Row(AMD64, "native", "EPYC-Milan", 2),
    Row(AMD64, "native", "Skylake-Client", 1),
    Row(AMD64, "native", "Cascadelake-Server", 2),
    Row(NEW, "native", "EPYC", 1),
    Row(NEW, "native", "EPYC-Milan", 2),
    Row(NEW, "native", "Skylake-Client", 1),
    Row(NEW, "native", "Cascadelake-Server", 2),
    Row(I386, "native", "qemu32", 1),
    # CPUs with words on the command line that concern locks alone
    Row(AMD64, "native", "Nehalem", 2, "nosmp"),
    Row(I386, "native", "athlon", 2, "nosmp"),
    Row(I386, "native", "pentium3", 1, "noreplace-smp"),
    # command lines
    Row(CLOUD, "native", "Skylake-Client", 2, "mitigations=off"),
    Row(GENERIC, "native", "EPYC", 2, "mitigations=off"),
    Row(I386, "native", "max", 1, "mitigations=off"),
    Row(CLOUD, "native", "EPYC", 1, "spectre_v2=retpoline,lfence noreplace-smp"),
    Row(GENERIC, "native", "Cascadelake-Server", 1, "spectre_v2=retpoline,lfence noreplace-smp"),
    Row(I386, "native", "Skylake-Client", 2, "spectre_v2=retpoline,lfence"),
    Row(NEW_CLOUD, "native", "Skylake-Client", 2, "mitigations=off"),
    Row(NEW_GENERIC, "native", "EPYC-Milan", 1, "mitigations=off"),
    Row(NEW, "native", "Skylake-Client", 2, "retbleed=stuff"),
    Row(NEW, "native", "EPYC-Milan", 2, "spec_rstack_overflow=ibpb"),
    Row(AMD64, "native", "EPYC-Milan", 2, "spec_rstack_overflow=ibpb"),
    # KVM; 5.10 cannot use the sizes that nested KVM says XSAVE has
    Row(V6, "kvm", "host", 2),
    Row(V5, "kvm", "host,-xsave", 2),
    Row(CLOUD, "kvm", "EPYC,-xsave", 1),
    Row(GENERIC, "kvm", "qemu64", 1),
    Row(I386, "kvm", "qemu32", 1),
    Row(CLOUD, "kvm", "host,-xsave,kvm-hint-dedicated=on", 2),
    Row(NEW, "kvm", "EPYC", 1),
    # Hyper-V; with retpolines, i386's hypercalls go astray: CALL_NOSPEC pushes, and then reads the stack for its target
    Row(r"6\..*-cloud-amd64", "hyperv", "host", 2),
    Row(r"5\.10-cloud-amd64", "hyperv", "host,-xsave", 2),
    Row(CLOUD, "hyperv", "EPYC,-xsave", 1),
    Row(GENERIC, "hyperv", "qemu64", 2),
    Row(PAE, "hyperv", "qemu64", 2, "mitigations=off"),
    Row(NO_PAE, "hyperv", "qemu32", 1),
    # Xen; where QEMU's CPU has SMAP, it cannot bring an exception to its guest. It refuses 6.12's cloud kernel as dom0.
    Row(CLOUD, "xen", "qemu64", 2),
    Row(GENERIC, "xen", "qemu64", 1),
    Row(CLOUD, "xen", "EPYC,-smap", 1),
    Row(GENERIC, "xen", "Skylake-Client,-smap", 2),
    Row(NEW_GENERIC, "xen", "qemu64", 1),
    Row(NEW_GENERIC, "xen", "max,-smap", 2),
    # KASLR: elsewhere in each boot that is made, and a kept boot stays where it was
    Row(r"6\.1-cloud-amd64", "native", "EPYC", 2, KASLR),
    Row(r"6\.1-686-pae", "native", "max", 2, KASLR),
    Row(r"6\.12-cloud-amd64", "native", "Skylake-Client", 2, KASLR),
    Row(r"5\.10-cloud-amd64", "native", "qemu64", 1, KASLR),
    Row(r"6\.1-amd64", "native", "Skylake-Client", 1, f"mitigations=off {KASLR}"),
    Row(r"5\.10-686", "native", "qemu32", 1, KASLR),
    # real time: interrupts are threads, and QEMU's serial line raises them in vain until the kernel gives it up
    Row(RT, "native", "qemu64", 1, "noirqdebug"),
    Row(RT_AMD64, "native", "EPYC-Milan", 2, "noirqdebug"),
    Row(RT_AMD64, "native", "Skylake-Client", 2, "noirqdebug mitigations=off"),
    Row(RT_I386, "native", "max", 2, "noirqdebug"),
]

MEMORY = {"xen": 1024}  # MiB; a third of it is Xen's


def cases(only: str = "") -> Iterator[Case]:
    """Those whose name the regular expression finds, in the order in which to boot them."""
    for row in ROWS:
        machine = Machine(row.cpu, row.smp, row.append, row.hypervisor, MEMORY.get(row.hypervisor, 512))
        for kernel in KERNELS:
            case = Case(kernel, machine)
            if re.fullmatch(row.kernels, kernel.name) and re.search(only, case.name):
                yield case
