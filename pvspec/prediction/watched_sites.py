"""A family's sites, while they are patched for the predicted text: what is read of it is watched for other worlds."""

from __future__ import annotations

from pvspec.engine.errors import PatchError
from pvspec.engine.families import FamilySites, Outcome
from pvspec.engine.guards import CpuHasField, questions
from pvspec.engine.sites import FamilySite
from pvspec.engine.text import Text
from pvspec.prediction.family_sites import LenientSites, PassedOver
from pvspec.prediction.forms import FamilyForms
from pvspec.prediction.other_texts import BLOCK, OtherSite, OtherTexts, OtherWorld


class WatchedText(Text):
    """The predicted text; in `seen` the worlds are collected, a bit each, in which bytes differ that were read."""

    def __init__(self, text: Text, others: OtherTexts) -> None:
        super().__init__(text.buffer, text.base, text.executable)
        self.seen = 0
        self._others = others
        self._differing = others.differing

    def read(self, address: int, size: int) -> bytes:
        """As `Text.read`."""
        self._look(address, size)
        return super().read(address, size)

    def up_to(self, address: int, size: int) -> bytes:
        """As `Text.up_to`."""
        self._look(address, size)
        return super().up_to(address, size)

    def _look(self, address: int, size: int) -> None:
        for block in range(address >> BLOCK, (address + size - 1 >> BLOCK) + 1):
            if block in self._differing:
                self.seen |= self._others.at(address, size)
                return


class Watching(FamilySites):
    """A family's sites, while other worlds patch again what they can make otherwise."""

    text: WatchedText

    def watch(self, others: OtherTexts, unknown: frozenset[str]) -> None:
        """Begin to; `unknown`: the values of which nothing is known in any world."""
        self._others, self._unknown = others, unknown
        self._of_rule = others.of_rule(self.family)
        asked = (question for arm in self.family.rule for question in questions(arm.guard))
        self._flags = frozenset(question.field for question in asked if isinstance(question, CpuHasField))
        self._fields = [field.name for field in self.family.layout.fields]
        self._sites: dict[int, LenientSites] = {}  # by world
        self._forms: dict[tuple[int, frozenset[str]], FamilyForms] = {}
        self._number, self._place = -1, 0
        self.keeps_all = self.keeps_all and not self._of_rule

    def site(self, record: FamilySite) -> FamilySite | None:
        """As `FamilySites.site`."""
        self._number += 1
        self._place = record.get("site", 0)
        self.text.seen = self._of_rule
        found = super().site(record)
        if found is None and self.text.seen:
            self._patch_again(record, None)
        return found

    def outcome(self, site: FamilySite, record: int = 0) -> Outcome:
        """As `FamilySites.outcome`; the site is not written yet."""
        outcome = super().outcome(site, record)
        for name in self._flags:
            self.text.seen |= self._others.flipped.get(site[name], 0)
        if self.text.seen:
            self._patch_again(site, outcome)
        return outcome

    def _patch_again(self, record: FamilySite, predicted: Outcome | None) -> None:
        """Patch a record in the worlds that were seen, of which nothing is written yet in the predicted text."""
        fields = {name: record[name] for name in self._fields}
        if "site" in fields:
            fields["site"] = self._place  # as it is in the table
        begun = len(self._others.worlds)
        for number, world in self._others.again(self.text.seen):
            try:
                found = self._outcome_in(number, world, FamilySite(fields))
            except PatchError as error:
                self._others.stop(number, f"{self.family.name}: record {self._number}: {error}")
                continue
            settled = self._settled(number, world, predicted, found)
            lost = frozenset[str]() if found is None else self._unknown or found.site.unreadable
            if found is not None and (settled or lost):
                where = "" if found.arm is None else found.arm.where
                forms = (self._forms_in(number, lost), found.site) if lost else None
                name = self.family.name
                self._others.sites.append(
                    OtherSite(number, name, self._number, found.address, found.length, where, forms)
                )
        if len(self._others.worlds) > begun:
            self._of_rule = self._others.of_rule(self.family)

    def _settled(self, number: int, world: OtherWorld, predicted: Outcome | None, found: Outcome | None) -> bool:
        """Write what a world made of a record into its text; whether that is other than predicted."""
        if predicted is not None and found is not None and predicted[1:3] == found[1:3]:  # as nearly always
            code = predicted.before if predicted.code is None else predicted.code
            return self._others.settle(number, found.address, found.before if found.code is None else found.code, code)
        sites = {(outcome.address, outcome.length) for outcome in (predicted, found) if outcome is not None}
        for address, length in sites:  # what is there now stays there in this world, but for what it writes
            world.text.poke(address, world.text.up_to(address, length))
        if found is not None and found.code is not None:
            world.text.poke(found.address, found.code)
        to_be = {site: self._to_be(predicted, *site) for site in sites}
        return any(
            [self._others.settle(number, at, world.text.up_to(at, length), to_be[at, length]) for at, length in sites]
        )

    def _outcome_in(self, number: int, world: OtherWorld, record: FamilySite) -> Outcome | None:
        """What becomes of a record in a world, None if it has no site there; PatchError if the kernel stops."""
        sites = self._sites.get(number)
        if sites is None:
            sites = self._sites[number] = LenientSites(world.kernel, self.family, world.text, self.context.state)
        site = sites.site(record)
        if site is None:
            return None
        outcome = sites.outcome(site, self._number)
        if sites.named or outcome.code is not None:
            protected = {} if outcome.code is None else world.kernel.protected(self.family.names)
            sites.text.check(outcome.address, outcome.length, protected)
        return outcome

    def _to_be(self, predicted: Outcome | None, address: int, length: int) -> bytes:
        """The predicted text from an address on, as it will be once the record's site is written."""
        start = address - self.text.base
        code = bytearray(self.text.view[start : start + length])
        if predicted is not None and predicted.code is not None:
            for at, byte in enumerate(predicted.code, predicted.address - address):
                if 0 <= at < length:
                    code[at] = byte
        return bytes(code)

    def _forms_in(self, number: int, lost: frozenset[str]) -> FamilyForms:
        forms = self._forms.get((number, lost))
        if forms is None:
            forms = self._forms[number, lost] = FamilyForms(self._sites[number], lost)
        return forms


class WatchedSites(Watching, LenientSites):
    """The sites of a family, watched."""


class WatchedPassedOver(Watching, PassedOver):
    """The sites of a table that the predicted kernel does not go through, watched."""
