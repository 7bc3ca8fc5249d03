"""Whether an output is what was expected, for every mode that needs no program.

Both files are a stranger's: lines of a gigabyte, no line at all, NULs, bytes that are no text. So
they are read in blocks, no more than two blocks of each are held, and what is longer than that (a
word, a line, a run of white space) is compared piece by piece. What is equal is compared by the
interpreter's own loops; Python looks at single words only where two blocks differ.

Each mode turns an output into a sequence of units, equal exactly if the outputs are. A unit with a
newline in it is no part of an output: it says that the unit before goes on, or how many empty
lines come here.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import BinaryIO

from khala.model.cases import Check, CheckMode, Difference, Judgement, Verdict
from khala.model.equal import equal_bytes
from khala.model.limits import CASE_TEXT_BYTES

_BLOCK_BYTES = 256 * 1024
_UNIT_BYTES = 64 * 1024
_GOES_ON = b"\n+"
_SPACES = b" \t\n\r\x0b\x0c"
_WORD = re.compile(rb"\S+")
_NUMBER = re.compile(rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\Z|[+-]?(?:inf|infinity|nan)\Z", re.I)
#: What is longer is compared as a word.
_NUMBER_BYTES = 1024
#: Shown of what is equal, where a difference is far behind the beginning.
_BEFORE_BYTES = CASE_TEXT_BYTES // 4

Same = Callable[[bytes, bytes], bool]


class Stopped(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two outputs, and how they are compared."""

    check: Check
    expected: BinaryIO
    actual: BinaryIO
    #: Asked at every block.
    stopped: Callable[[], bool] = lambda: False

    def judge(self) -> Judgement:
        """Not for the modes `regex` and `program`. Raises OSError, Stopped."""
        mode = self.check.mode
        difference = self._first_byte()
        if difference is not None and mode is not CheckMode.EXACT:
            difference = self._first_unit(mode)
        if difference is None:
            return Judgement(verdict=Verdict.AC)
        verdict = Verdict.WA
        if mode in (CheckMode.EXACT, CheckMode.LINES):
            misplaced = self._first_unit(CheckMode.TOKENS) is None
            verdict = Verdict.PE if misplaced else Verdict.WA
        return Judgement(verdict=verdict, difference=difference)

    def _first_byte(self) -> Difference | None:
        line = 1
        blocks = zip_longest(self._read(self.expected), self._read(self.actual), fillvalue=b"")
        for expected, actual in blocks:
            if expected != actual:
                at = equal_bytes(expected, actual)
                return Difference(
                    line=line + expected.count(b"\n", 0, at),
                    expected=_line_around(expected, at),
                    actual=_line_around(actual, at),
                )
            line += expected.count(b"\n")
        return None

    def _first_unit(self, mode: CheckMode) -> Difference | None:
        blocks_of = _line_blocks if mode is CheckMode.LINES else _word_blocks
        same = _tolerant(self.check) if mode is CheckMode.FLOAT else _never
        expected, actual = (blocks_of(self._read(file)) for file in (self.expected, self.actual))
        return _first_difference(expected, actual, same)

    def _read(self, file: BinaryIO) -> Iterator[bytes]:
        file.seek(0)
        while data := file.read(_BLOCK_BYTES):
            if self.stopped():
                raise Stopped
            yield data


# ---- units --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Block:
    units: Sequence[bytes]
    #: The line that a unit is in.
    line_of: Callable[[int], int]


def _word_blocks(pieces: Iterator[bytes]) -> Iterator[_Block]:
    line, rest = 1, b""
    for piece in pieces:
        data = rest + piece
        end = max(map(data.rfind, _SPACES)) + 1
        whole, rest = data[:end], data[end:]
        units = _cut_all(whole.split())
        while len(rest) > _UNIT_BYTES:
            units += [rest[:_UNIT_BYTES], _GOES_ON]
            rest = rest[_UNIT_BYTES:]
        yield _block_of_words(units, whole, line)
        line += whole.count(b"\n")
    yield _block_of_words(_cut_all(rest.split()), rest, line)


def _block_of_words(units: list[bytes], text: bytes, first_line: int) -> _Block:
    def line_of(index: int) -> int:
        left = index
        for word in _WORD.finditer(text):
            left -= len(_cut(word[0]))
            if left < 0:
                return first_line + text.count(b"\n", 0, word.start())
        return first_line + text.count(b"\n")

    return _Block(units, line_of)


def _cut_all(words: list[bytes]) -> list[bytes]:
    if max(map(len, words), default=0) <= _UNIT_BYTES:
        return words
    return [unit for word in words for unit in _cut(word)]


def _cut(word: bytes) -> list[bytes]:
    units = [word[:_UNIT_BYTES]]
    for at in range(_UNIT_BYTES, len(word), _UNIT_BYTES):
        units += [_GOES_ON, word[at : at + _UNIT_BYTES]]
    return units


def _line_blocks(pieces: Iterator[bytes]) -> Iterator[_Block]:
    lines = _Lines()
    rest = b""
    for piece in pieces:
        data = rest + piece
        *whole, rest = data.split(b"\n")
        if not lines.take_short(whole):
            for line in whole:
                lines.take(line, ends=True)
        while len(rest) > _UNIT_BYTES:
            lines.take(rest[:_UNIT_BYTES], ends=False)
            rest = rest[_UNIT_BYTES:]
        yield lines.block()
    lines.take(rest, ends=True)
    yield lines.block()


@dataclass(slots=True)
class _Lines:
    """Lines without the white space at their ends. Empty ones are counted and told of before the
    next that is not, so those at the end of the output are not told of at all."""

    units: list[bytes] = field(default_factory=list)
    #: The line of each.
    numbers: list[int] = field(default_factory=list)
    #: Of the next line, from 1.
    number: int = 1
    empty: int = 0
    #: Of a line that is taken in pieces: something of it was told.
    begun: bool = False
    #: White space that ends the line, unless it goes on: how much, and which.
    white: int = 0
    digest: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def take_short(self, lines: list[bytes]) -> bool:
        """Many at once, unless one of them has to be taken in pieces."""
        if self.begun or self.white or max(map(len, lines), default=0) > _UNIT_BYTES:
            return False
        for number, line in enumerate(map(bytes.rstrip, lines), self.number):
            if not line:
                self.empty += 1
                continue
            if self.empty:
                self._tell(b"\n%d" % self.empty, number)
                self.empty = 0
            self.units.append(line)
            self.numbers.append(number)
        self.number += len(lines)
        return True

    def take(self, line: bytes, *, ends: bool) -> None:
        """A line, or its next piece, which begins at a multiple of the length of a unit."""
        for at in range(0, max(len(line), 1), _UNIT_BYTES):
            self._take_piece(line[at : at + _UNIT_BYTES])
        if ends:
            self.empty += not self.begun
            self.begun = False
            self._forget_white()
            self.number += 1

    def _take_piece(self, piece: bytes) -> None:
        text = piece.rstrip()
        if text:
            if self.begun:
                self._tell(b"%b%d %b" % (_GOES_ON, self.white, self.digest.digest()), self.number)
            else:
                if self.empty:
                    self._tell(b"\n%d" % self.empty, self.number)
                    self.empty = 0
                if self.white:
                    # Blank pieces came first; where they end is where this one begins.
                    self._tell(b"\n %d %b" % (self.white, self.digest.digest()), self.number)
            self._tell(text, self.number)
            self.begun = True
            self._forget_white()
        self.white += len(piece) - len(text)
        self.digest.update(piece[len(text) :])

    def _forget_white(self) -> None:
        if self.white:
            self.white = 0
            self.digest = hashlib.blake2b(digest_size=16)

    def _tell(self, unit: bytes, number: int) -> None:
        self.units.append(unit)
        self.numbers.append(number)

    def block(self) -> _Block:
        block = _Block(self.units, self.numbers.__getitem__)
        self.units, self.numbers = [], []
        return block


# ---- comparing ----------------------------------------------------------------------------------


def _first_difference(
    expected: Iterator[_Block], actual: Iterator[_Block], same: Same
) -> Difference | None:
    left, right = _Cursor(expected), _Cursor(actual)
    while True:
        ours, theirs = left.ahead(), right.ahead()
        size = min(len(ours), len(theirs))
        if size == 0:
            break
        if ours[:size] != theirs[:size]:
            for one, other in zip(ours[:size], theirs[:size], strict=True):
                if one != other and not same(one, other):
                    break
                left.at, right.at = left.at + 1, right.at + 1
            else:
                continue
            break
        left.at, right.at = left.at + size, right.at + size
    if left.line is None and right.line is None:
        return None
    line = right.line if left.line is None else left.line
    return Difference(
        line=line or 1,
        expected=_show(left.unit, right.unit),
        actual=_show(right.unit, left.unit),
    )


class _Cursor:
    """A place in a sequence of blocks."""

    def __init__(self, blocks: Iterator[_Block]) -> None:
        self._blocks = blocks
        self._block = _Block((), lambda _: 1)
        self.at = 0

    def ahead(self) -> Sequence[bytes]:
        """Some of the units from here on; nothing at the end."""
        while self.at == len(self._block.units):
            block = next(self._blocks, None)
            if block is None:
                return ()
            self._block, self.at = block, 0
        return self._block.units[self.at :]

    @property
    def unit(self) -> bytes | None:
        return self._block.units[self.at] if self.at < len(self._block.units) else None

    @property
    def line(self) -> int | None:
        return self._block.line_of(self.at) if self.at < len(self._block.units) else None


def _never(_: bytes, __: bytes) -> bool:
    return False


def _tolerant(check: Check) -> Same:
    """Whether two words are numbers that are near enough. NaN is NaN, infinity is infinity."""

    def same(expected: bytes, actual: bytes) -> bool:
        one, other = _number(expected), _number(actual)
        if one is None or other is None:
            return False
        if one == other or (math.isnan(one) and math.isnan(other)):
            return True
        distance = abs(one - other)
        if not math.isfinite(distance):
            return False
        return distance <= check.absolute or distance <= check.relative * abs(one)

    return same


def _number(word: bytes) -> float | None:
    """None also for one that is too large to be told from its neighbours."""
    if len(word) > _NUMBER_BYTES or not _NUMBER.match(word):
        return None
    value = float(word)
    return None if math.isinf(value) and word[-1:].isdigit() else value


# ---- showing ------------------------------------------------------------------------------------


def cut_text(data: bytes, limit_bytes: int) -> str:
    """Text of at most so many bytes of UTF-8, whatever the bytes are."""
    text = data[:limit_bytes].decode("utf-8", "replace")
    return text.encode()[:limit_bytes].decode("utf-8", "ignore")


def _show(unit: bytes | None, other: bytes | None) -> str | None:
    """The part of it that matters."""
    if unit is None:
        return None
    if unit[:1] == b"\n":
        return ""
    equal = equal_bytes(unit, other or b"")
    return _window(unit, equal)


def _line_around(data: bytes, at: int) -> str | None:
    """The line of `data` that has byte `at`, with its newline; None if it has nothing there."""
    start = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at) + 1 or len(data)
    return _window(data[start:end], at - start) if start < len(data) else None


def _window(text: bytes, at: int) -> str:
    start = 0 if at < CASE_TEXT_BYTES // 2 else at - _BEFORE_BYTES
    while start and start < len(text) and 0x80 <= text[start] < 0xC0:
        start += 1  # not in the middle of a character
    return cut_text(text[start:], CASE_TEXT_BYTES)
