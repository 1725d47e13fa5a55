"""The texts of other worlds, without patching all of them anew.

A record comes out in another world as it was predicted if that world's kernel answers its rule alike, and if no byte
that was read for it is another one there. So what the predicted passes read is watched: a record that a world answers
otherwise, or for which a byte was read that differs there, is patched once more, by that world's kernel in its text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import NamedTuple, TypeAlias

from pvspec.engine.apply import Kernel
from pvspec.engine.errors import PatchError
from pvspec.engine.guards import CpuHasField, questions
from pvspec.engine.patch import UNCHANGED, Row
from pvspec.engine.records import PatchSite
from pvspec.engine.sites import FamilySite
from pvspec.engine.spec import Family
from pvspec.engine.text import Text
from pvspec.kernel import ImageError
from pvspec.kernel.work import Work
from pvspec.prediction.alike import rules_alike
from pvspec.prediction.forms import FamilyForms
from pvspec.prediction.worlds import MAX_WORLDS, World, Worlds, name_of

_AGAIN_WORK = 110  # units: to patch a record once more
BLOCK = 4  # bits of an address in a block

Kind: TypeAlias = tuple[int, int, int]
"""Type, length and clobber mask of an interface's site."""


class OtherText(Text):
    """Another world's text: the predicted one as it is now, but for the bytes of its `own`, by address."""

    def __init__(self, predicted: Text) -> None:
        super().__init__(predicted.buffer, predicted.base, predicted.executable)
        self.own: dict[int, int] = {}

    def read(self, address: int, size: int) -> bytes:
        """As `Text.read`."""
        return self.over(address, super().read(address, size))

    def up_to(self, address: int, size: int) -> bytes:
        """As `Text.up_to`."""
        return self.over(address, super().up_to(address, size))

    def poke(self, address: int, insnbuf: bytes) -> None:
        """As `Text.poke`."""
        self.own.update(enumerate(insnbuf, address))

    def over(self, address: int, predicted: bytes) -> bytes:
        """What this world has where the predicted text has these bytes."""
        own = self.own
        if not own or own.keys().isdisjoint(range(address, address + len(predicted))):
            return predicted
        return bytes([own.get(at, byte) for at, byte in enumerate(predicted, address)])


class OtherWorld:
    """A world, its kernel and its text so far; `failed`: why the kernel stops there."""

    def __init__(self, world: World, kernel: Kernel, predicted: Text) -> None:
        self.world = world
        self.kernel = kernel
        self.text = OtherText(predicted)
        self.failed = ""


class OtherSite(NamedTuple):
    """What a world made of a record, other than predicted, and the rule's place; `forms`: where it leaves several."""

    world: int
    table: str
    record: int
    address: int
    length: int
    where: str
    forms: tuple[FamilyForms, FamilySite] | None = None

    def legal(self, final: bytes) -> Iterator[tuple[str, str]]:
        """The codes that it may have there, of which `final` is the world's, and the rules that give them."""
        yield final.hex(" "), self.where
        if self.forms is not None:
            forms, site = self.forms
            yield from ((form.code, form.where) for form in forms.forms(site))


class OtherTexts:
    """The texts of all worlds but the predicted one, while the passes are made; `sites`: what differs, pass by pass.

    A world in which all is otherwise that is so in one of two others, and nothing else, has the differences of both, as
    long as no record is patched otherwise in both of them. So it only begins where that happens.
    """

    def __init__(self, worlds: Worlds, text: Text, work: Work) -> None:
        self.predicted = worlds.predicted
        self.worlds: list[OtherWorld] = []
        self.sites: list[OtherSite] = []
        self.differing: dict[int, int] = {}  # worlds by block of the text, a bit each
        self.flipped: dict[int, int] = {}  # worlds by feature that they decided otherwise
        self.alive = 0
        self.work = work
        self._worlds, self._text = worlds, text
        self._waiting: list[tuple[World, World, World]] = []  # with two of which it has the differences
        self._including: dict[int, list[int]] = {}
        self._together: dict[int, int] = {}  # worlds that are seen at a record, and those that begin there besides
        others = [world for world in worlds.worlds[1:] if world.kernel is not None]
        for world in sorted(others, key=lambda world: len(world.decided)):
            parts = _parts(world, others)
            if parts is None:
                self._begin(world)
            else:
                self._waiting.append((world, *parts))

    def own(self, world: World) -> dict[int, int] | None:
        """The bytes that differ in a world, by address; None if its kernel stops, or cannot decide."""
        if world.kernel is None:
            return None
        own: dict[int, int] = {}
        for other in self.worlds:  # those that decide less otherwise come first
            if other.world.decided <= world.decided:
                if other.failed:
                    return None
                own |= other.text.own
        return own

    def including(self, number: int) -> list[int]:
        """A world, and those in which all is otherwise that is so in it, and more."""
        found = self._including.get(number)
        if found is None:
            decided = self.worlds[number].world.decided
            others = (at for at, other in enumerate(self.worlds) if not other.failed and decided < other.world.decided)
            found = self._including[number] = [number, *others]
        return found

    def together(self, worlds: int) -> int:
        """The worlds, and those in which all is otherwise that is so in several of them; such a world begins here."""
        found = self._together.get(worlds)
        if found is None:
            found = worlds
            numbers = [*bits(worlds & self.alive)]
            for one, other in combinations(numbers, 2):
                both = self._worlds.both(self.worlds[one].world, self.worlds[other].world)
                if both is not None:
                    found |= 1 << self._begin(both)
            found = found if found == worlds else self.together(found)
            self._together[worlds] = found
        return found

    def wake(self, alike: Callable[[Kernel, Kernel], bool]) -> None:
        """Let waiting worlds begin of which a rule is another one than by those whose differences they have."""
        for world, *parts in [*self._waiting]:
            kernel, one, other = (part.kernel or self.predicted for part in (world, *parts))
            as_one = alike(kernel, one) and alike(self.predicted, other)
            if not as_one and not (alike(kernel, other) and alike(self.predicted, one)):
                self._begin(world)

    def _begin(self, world: World) -> int:
        """A world's number; its text begins, if it has not begun yet."""
        for number, other in enumerate(self.worlds):
            if other.world.decided == world.decided:
                return number
        if len(self.worlds) == MAX_WORLDS:
            raise ImageError(f"what is open of its machine makes more than {MAX_WORLDS} texts; --assume settles some")
        number, kernel = len(self.worlds), world.kernel
        assert kernel is not None, "a world that cannot be has no text"
        own = self.own(world) or {}
        self._waiting = [waiting for waiting in self._waiting if waiting[0].decided != world.decided]
        self.worlds.append(OtherWorld(world, kernel, self._text))
        self._including.clear()
        self.worlds[number].text.own = own
        self.alive |= 1 << number
        for block in {address >> BLOCK for address in own}:
            self.differing[block] = self.differing.get(block, 0) | 1 << number
        for feature in kernel.features ^ self.predicted.features:
            self.flipped[feature] = self.flipped.get(feature, 0) | 1 << number
        return number

    def at(self, address: int, size: int) -> int:
        """The worlds in which some of these bytes differ."""
        blocks = range(address >> BLOCK, (address + size - 1 >> BLOCK) + 1)
        near = 0
        for block in blocks:
            near |= self.differing.get(block, 0)
        place = range(address, address + size)
        return sum(1 << number for number in bits(near) if not self.worlds[number].text.own.keys().isdisjoint(place))

    def may_differ(self, family: Family) -> bool:
        """Whether other worlds may make something else of a family's sites."""
        self.wake(lambda one, other: rules_alike(one, other, family))
        asked = (question for arm in family.rule for question in questions(arm.guard))
        flags = self.flipped and any(isinstance(question, CpuHasField) for question in asked)
        return bool(flags or self.differing or self.of_rule(family))

    def of_rule(self, family: Family) -> int:
        """The worlds in which a family's rule is another one, whatever the record."""
        alike = (rules_alike(self.predicted, world.kernel, family) for world in self.worlds)
        return self.alive & sum(1 << number for number, same in enumerate(alike) if not same)

    def again(self, worlds: int) -> Iterator[tuple[int, OtherWorld]]:
        """Those of the worlds that nothing stopped yet, and what begins with them: each patches something once more."""
        for number in bits(self.together(worlds) & self.alive):
            self._count()
            yield number, self.worlds[number]

    def _count(self) -> None:
        """Count that a record is patched once more; ImageError, which says what to settle, if it is too much."""
        try:
            self.work.add(_AGAIN_WORK, "")
        except ImageError:
            asked = (question for world in self.worlds for question in world.world.answers[0])
            names = sorted({name_of(self.predicted.spec, question) for question in asked})
            raise ImageError(
                "to follow what is open of its machine would take more time than any kernel's; settle some of it "
                f"(--assume, --cpus): {', '.join(names)}"
            ) from None

    def stop(self, number: int, why: str) -> None:
        """A world's kernel stops."""
        self.worlds[number].failed = why
        self.alive &= ~(1 << number)

    def settle(self, number: int, address: int, code: bytes, predicted: bytes) -> bool:
        """Write what a world has at an address, where these bytes are predicted; whether they differ there.

        Only bytes that differ are its own; the blocks in which they are are watched.
        """
        own = self.worlds[number].text.own
        if code == predicted:
            if own:
                for at in range(address, address + len(code)):
                    own.pop(at, None)
            return False
        for at, (byte, other) in enumerate(zip(code, predicted, strict=True), address):
            if byte != other:
                own[at] = byte
            else:
                own.pop(at, None)
        for block in range(address >> BLOCK, (address + len(code) - 1 >> BLOCK) + 1):
            self.differing[block] = self.differing.get(block, 0) | 1 << number
        return True

    def interface(self, name: str, records: Sequence[PatchSite], before: Sequence[bytes]) -> None:
        """What other worlds make of an interface's records; `before`: what the predicted text held at their sites."""
        kinds = {(type_, length, clobber) for _, type_, length, clobber in records}
        rows = _Rows(kinds)
        self.wake(lambda one, other: rows[one] == rows[other])
        flipped, begun = self._flipped_kinds(name, rows), len(self.worlds)
        for record, (address, type_, length, clobber) in enumerate(records):
            kind = type_, length, clobber
            seen = flipped[kind] | self.at(address, length)
            for number, world in self.again(seen) if seen else ():
                held = world.text.over(address, before[record])
                try:
                    row = world.kernel.row(type_, clobber, length)
                    code = held if row is UNCHANGED else world.kernel.placed(row, address)
                except PatchError as error:
                    self.stop(number, f"{name}: record {record}, site {address:#x}: {error}")
                    continue
                start = address - world.text.base
                if self.settle(number, address, code, bytes(world.text.view[start : start + length])):
                    self.sites.append(OtherSite(number, name, record, address, length, row.where))
            if len(self.worlds) > begun:
                flipped, begun = self._flipped_kinds(name, rows), len(self.worlds)

    def _flipped_kinds(self, name: str, rows: _Rows) -> dict[Kind, int]:
        """The worlds in which an interface's sites become something else, by kind; those stop that cannot patch one."""
        predicted = rows[self.predicted]
        assert not isinstance(predicted, str), "the predicted kernel patches all of them"
        flipped = dict.fromkeys(predicted, 0)
        for number in bits(self.alive):
            found = rows[self.worlds[number].kernel]
            if isinstance(found, str):
                self.stop(number, f"{name}: {found}")
                continue
            for kind, row in found.items():
                flipped[kind] |= (row != predicted[kind]) << number
        return flipped


class _Rows(dict[Kernel, "dict[Kind, Row] | str"]):
    """What sites of these kinds become, by kernel; or why one cannot be patched."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        super().__init__()
        self._kinds = kinds

    def __missing__(self, kernel: Kernel) -> dict[Kind, Row] | str:
        found: dict[Kind, Row] | str
        try:
            found = {kind: kernel.row(kind[0], kind[2], kind[1]) for kind in self._kinds}
        except PatchError as error:
            found = str(error)
        self[kernel] = found
        return found


def _parts(world: World, others: Iterable[World]) -> tuple[World, World] | None:
    """Two worlds that together decide what a third one does, None if there are none."""
    inside = {other.decided: other for other in others if other.decided < world.decided}
    for decided, other in inside.items():
        rest = inside.get(world.decided - decided)
        if rest is not None:
            return other, rest
    return None


def bits(mask: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
