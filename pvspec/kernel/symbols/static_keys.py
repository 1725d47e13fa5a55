"""The keys of static calls, whose trampolines are functions and so have symbols: __SCK__name to __SCT__name.

On i386 a key is a struct static_call_key, which begins with the function that is called (include/linux/static_call.h).
In a newly built kernel the trampoline jumps to that function, or returns if there is none
(arch/x86/include/asm/static_call.h). Three things show which word is the key of a trampoline:

* data: a struct tracepoint or bpf_dispatcher holds a pointer to the key, then one to the trampoline;
* code that calls __static_call_update(key, trampoline, function), with arguments in eax, edx and ecx; or, if that was
  inlined, stores the function in the key and calls arch_static_call_transform(NULL, trampoline, function, 0);
* the word itself, if it is the only one in the data that holds the function, because the key must hold it. Functions'
  addresses are also in the table of __fentry__ calls, which contains no keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count

from pvspec.kernel.symbols.code_view import CodeView
from pvspec.kernel.symbols.table import Symbol

_KEY, _TRAMPOLINE = "__SCK__", "__SCT__"
_UPDATE, _TRANSFORM = "__static_call_update", "arch_static_call_transform"
_MAX_TRAMPOLINES = 10_000
"""Trampolines of static calls whose keys are looked for in an i386 kernel; if it has more, none are found."""
_MAX_CODE = 256 << 10
"""Bytes of functions in which keys of static calls are looked for: ten times those of a kernel. Others are passed over.
"""
_SEARCH_WORK = 2_000_000  # units, for as much code as that
_EAX, _ECX, _EDX = 0, 1, 2

Pair = tuple[int, int]
"""The addresses of a key and of a trampoline."""


def find_keys(view: CodeView, no_keys: range) -> list[Symbol]:
    """The symbols of the keys that are certain; there are no keys at the addresses `no_keys`."""
    names = {s.address: s.name for s in view.symbols if s.name.startswith(_TRAMPOLINE)}
    if len(names) > _MAX_TRAMPOLINES:
        return []
    view.work.add(_SEARCH_WORK if names else 0, "the search for keys of static calls")
    functions = {at: function for at in names if (function := _function(view, at)) is not None}
    places = view.mentions(functions, _pages(functions))
    pairs_found = {pair for pair in (*_in_data(view, places), *_in_code(view, places)) if _fits(view, functions, *pair)}
    done = {trampoline for _, trampoline in pairs_found}
    left = {trampoline: function for trampoline, function in functions.items() if function and trampoline not in done}
    pairs = [*pairs_found, *_sole_holders(view, left, no_keys)]
    keys, trampolines = Counter(key for key, _ in pairs), Counter(trampoline for _, trampoline in pairs)
    return [
        Symbol(key, "D", _KEY + names[trampoline].removeprefix(_TRAMPOLINE))
        for key, trampoline in pairs
        if keys[key] == trampolines[trampoline] == 1
    ]


def _function(view: CodeView, trampoline: int) -> int | None:
    """What a trampoline jumps to, 0 if it returns; None if it is not a trampoline."""
    if not view.is_text(trampoline) or not view.is_text(trampoline + 4):
        return None
    opcode = view.memory[trampoline - view.base]
    return view.target(trampoline) if opcode == 0xE9 else 0 if opcode == 0xC3 else None


def _pages(addresses: Iterable[int]) -> set[int]:
    return {address >> 16 for address in addresses}


def _fits(view: CodeView, functions: dict[int, int], key: int, trampoline: int) -> bool:
    return trampoline in functions and view.is_data(key) and view.word(key) == functions[trampoline]


def _in_data(view: CodeView, places: Iterable[int]) -> Iterator[Pair]:
    """The pairs of pointers whose second one is at one of these addresses."""
    for place in places:
        if view.is_data(place) and view.is_data(place - 4):
            yield view.word(place - 4), view.word(place)


def _in_code(view: CodeView, places: Iterable[int]) -> Iterator[Pair]:
    """The arguments of updates in the functions around these addresses."""
    updates = {s.address for s in view.symbols if s.name.partition(".")[0] == _UPDATE}
    transform = view.named(_TRANSFORM)
    room = _MAX_CODE
    for start, end in sorted({view.function(place) for place in places if view.is_text(place)}):
        room -= end - start
        if room >= 0 and start not in updates:
            yield from _updates(view, start, end, updates, transform)


def _updates(view: CodeView, start: int, end: int, updates: set[int], transform: int | None) -> Iterator[Pair]:
    values = _Values()
    for address, code in view.instructions(start, end):
        if code[0] not in (0xE8, 0xE9):
            values.step(code)
            continue
        target = view.target(address)
        if target in updates:
            yield values.of(_EAX), values.of(_EDX)
        elif target == transform:
            function = values.of(_ECX)
            yield from ((key, values.of(_EDX)) for key, value in values.stored.items() if value == function)
        values.forget()


class _Values:
    """The values of registers and of stored words along straight-line code: constants, or marks below 0.

    Equal marks stand for the same unknown value.
    """

    def __init__(self) -> None:
        self._marks = count(-1, -1)
        self._known: dict[int, int] = {}
        self.stored: dict[int, int] = {}

    def of(self, register: int) -> int:
        """The value of a register, by its number in an instruction."""
        if register not in self._known:
            self._known[register] = next(self._marks)
        return self._known[register]

    def forget(self) -> None:
        """Forget all values."""
        self._known.clear()
        self.stored.clear()

    def step(self, code: bytes) -> None:
        """Follow an instruction: moves, pushes and xor; any other one may change anything."""
        opcode, last = code[0], int.from_bytes(code[-4:], "little")
        if 0xB8 <= opcode <= 0xBF and len(code) == 5:
            self._known[opcode - 0xB8] = last
        elif opcode == 0xA3 and len(code) == 5:
            self.stored[last] = self.of(_EAX)
        elif code[:2] == b"\xc7\x05":
            self.stored[int.from_bytes(code[2:6], "little")] = last
        elif opcode in (0x31, 0x33, 0x89, 0x8B):
            self._with_registers(opcode, code[1], last)
        elif not (0x50 <= opcode <= 0x57 or opcode in (0x68, 0x6A)):
            self.forget()

    def _with_registers(self, opcode: int, modrm: int, last: int) -> None:
        """Xor and mov, to r/m (31, 89) or from r/m (33, 8b)."""
        register, other = modrm >> 3 & 7, modrm & 7
        if opcode == 0x89 and modrm < 0xC0:
            if modrm & 0xC7 == 5:
                self.stored[last] = self.of(register)
            return
        target, source = (other, register) if opcode in (0x31, 0x89) else (register, other)
        value = self.of(source) if opcode in (0x89, 0x8B) and modrm >= 0xC0 else next(self._marks)
        self._known[target] = value


def _sole_holders(view: CodeView, functions: dict[int, int], no_keys: range) -> Iterator[Pair]:
    """For each trampoline the word in the data that holds its function, if it is the only one."""
    wanted = set(functions.values())
    places = view.mentions(wanted, _pages(wanted))
    holders = [place for place in places if view.is_data(place) and place not in no_keys]
    numbers = Counter(map(view.word, holders))
    holder = {view.word(place): place for place in holders}
    for trampoline, function in functions.items():
        if numbers[function] == 1:
            yield holder[function], trampoline
