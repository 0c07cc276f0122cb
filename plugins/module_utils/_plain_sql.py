# Copyright: (c) 2026, schedgen.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a plain SQL dump, statement by statement. Pure; private to this collection.

The dump is never given to psql, so that none of psql's own commands can run: statements go to the server one by one.
Text is bytes throughout: every encoding of a PostgreSQL server leaves ASCII as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

TRAILER = b"-- PostgreSQL database dump complete"
# Client encodings in which a byte of a longer character can be a quote or a backslash.
_UNSAFE = ("big5", "gb18030", "gbk", "johab", "sjis", "shift_jis_2004", "uhc", "shiftjis", "mskanji", "windows932")
_IDENTIFIER = rb'"(?:[^"]|"")+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*'
_TOKEN = re.compile(
    rb"(?P<line>--)|(?P<block>/\*)|(?P<escape>[eE]')|(?P<string>')|(?P<quoted>\")"
    rb"|(?P<dollar>\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$)"
    rb"|(?P<end>;)|(?P<meta>\\)|(?P<open>\()|(?P<close>\))|(?P<word>[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)"
)
_ESCAPED = re.compile(rb"\\.|''|'", re.DOTALL)
_COPY_TABLE = re.compile(rb"\s*COPY\s+(?:(" + _IDENTIFIER + rb")\.)?(" + _IDENTIFIER + rb")", re.IGNORECASE)
_EXTENSION = re.compile(
    rb"\s*CREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?(" + _IDENTIFIER + rb")(?:\s+WITH)?(?:\s+SCHEMA\s+("
    + _IDENTIFIER + rb"))?", re.IGNORECASE
)  # fmt: skip
_OWNER = re.compile(rb"\bOWNER\s+TO\s+(" + _IDENTIFIER + rb")\s*;\s*\Z", re.IGNORECASE)
_VERSION = re.compile(rb"-- Dumped (from database|by pg_dump) version (\d+)")


class Refused(ValueError):
    """A dump that must not be run; the message says why."""


@dataclass(frozen=True)
class Piece:
    """A part of a dump: a statement, with the words outside of its quotes in lower case, or a command of psql's own.

    ``kind`` is statement, copy (rows follow) or meta.
    """

    kind: str
    text: bytes
    words: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Inspection:
    """What a whole dump holds. ``rows`` are the COPY rows of each table, ``owners`` the roles that it names."""

    statements: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    inserts: int = 0
    extensions: tuple[tuple[str, str], ...] = ()
    owners: tuple[str, ...] = ()
    version: int = 0
    defaults: int = 0


def unquote(name: bytes) -> str:
    """Return an identifier as it is in the catalogue."""
    if name.startswith(b'"'):
        return name[1:-1].replace(b'""', b'"').decode("utf-8", "replace")
    return name.decode("utf-8", "replace").lower()


class Reader:
    """Split the lines of a plain dump into pieces. After a ``copy`` piece its rows are taken with :meth:`rows`."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self.line = 0
        self.trailer = False
        self.version = 0

    def _next(self) -> bytes | None:
        line = next(self._lines, None)
        if line is not None:
            self.line += 1
        return line

    def rows(self) -> Iterator[bytes]:
        """Yield the rows of the COPY that was just given. Raises :class:`Refused` when the file ends in them."""
        while True:
            line = self._next()
            if line is None:
                raise Refused(f"the file ends in the middle of a table's rows (line {self.line})")
            if line.rstrip(b"\r\n") == b"\\.":
                return
            yield line

    def pieces(self) -> Iterator[Piece]:
        """Yield every piece. Raises :class:`Refused` when the file ends in the middle of a statement."""
        buffer: list[bytes] = []
        words: list[str] = []
        mode, tag = "", b""
        depth = parens = begins = 0
        began = 0
        while (line := self._next()) is not None:
            position = 0
            if not mode and not buffer:
                self._notice(line)
            while position < len(line):
                if mode == "block":
                    match = re.compile(rb"/\*|\*/").search(line, position)
                    end = match.end() if match else len(line)
                    if match:
                        depth += 1 if match.group() == b"/*" else -1
                        mode = mode if depth else ""
                elif mode == "escape":
                    match = _ESCAPED.search(line, position)
                    end = match.end() if match else len(line)
                    if match and match.group() == b"'":
                        mode = ""
                elif mode:
                    found = line.find(tag, position)
                    end = found + len(tag) if found >= 0 else len(line)
                    mode = "" if found >= 0 else mode
                else:
                    match = _TOKEN.search(line, position)
                    if match is None:
                        if buffer or line[position:].strip():
                            buffer.append(line[position:])
                            began = began or self.line
                        break
                    kind = match.lastgroup
                    if kind == "line":
                        if buffer or line[position : match.start()].strip():
                            buffer.append(line[position : match.start()] + b"\n")
                        break
                    if kind == "meta":
                        if buffer or line[position : match.start()].strip():
                            raise Refused(f"line {self.line} has a backslash in the middle of a statement")
                        yield Piece("meta", line[match.start() :].strip(), (), self.line)
                        break
                    end = match.end()
                    began = began or self.line
                    if kind == "word":
                        word = match.group().decode("utf-8", "replace").lower()
                        if len(words) < 12 or words[0] == "copy":
                            words.append(word)
                        begins = _begins(words, word, begins, parens)
                    elif kind == "block":
                        mode, depth = "block", 1
                    elif kind == "escape":
                        mode = "escape"
                    elif kind in ("string", "quoted", "dollar"):
                        mode, tag = kind, match.group()
                    elif kind == "open":
                        parens += 1
                    elif kind == "close":
                        parens = max(0, parens - 1)
                    elif kind == "end" and not parens and not begins:
                        buffer.append(line[position:end])
                        text = b"".join(buffer)
                        piece = Piece(_kind(words), text, tuple(words), began)
                        buffer, words, began, position = [], [], 0, end
                        if piece.kind == "copy" and line[end:].strip():
                            raise Refused(f"line {self.line} goes on after a COPY")
                        if piece.words:
                            yield piece
                        if piece.kind == "copy":
                            break
                        continue
                buffer.append(line[position:end])
                position = end
        if mode or b"".join(buffer).strip():
            raise Refused(f"the file ends in the middle of a statement that begins in line {began}")

    def _notice(self, line: bytes) -> None:
        if line.startswith(TRAILER):
            self.trailer = True
        elif line.strip() and not line.startswith((b"--", b"\\unrestrict")):
            self.trailer = False  # something follows: a second dump in the same file has to end as well
        found = _VERSION.match(line)
        if found:
            self.version = max(self.version, int(found.group(2)))


def _begins(words: list[str], word: str, begins: int, parens: int) -> int:
    """Count BEGIN ATOMIC … END of a function's body, as psql does: semicolons in it end no statement."""
    makes = words[:2] in (["create", "function"], ["create", "procedure"]) or (
        words[:3] == ["create", "or", "replace"] and words[3:4] in (["function"], ["procedure"])
    )
    if not makes or parens:
        return begins
    if word == "begin":
        return begins + 1
    if word == "case" and begins:
        return begins + 1
    return begins - 1 if word == "end" and begins else begins


def _kind(words: list[str]) -> str:
    if words[:1] != ["copy"]:
        return "statement"
    pairs = list(zip(words, words[1:]))
    return (
        "copy"
        if ("from", "stdin") in pairs and not {("from", "program"), ("to", "program")} & set(pairs)
        else "other copy"
    )


def refusal(piece: Piece, restricted: list[bytes]) -> str:
    """Return why a piece must not be run, '' when it may. ``restricted`` keeps the word of pg_dump's own bracket."""
    if piece.kind == "meta":
        parts = piece.text.split()
        # pg_dump itself brackets its output so, against what is being refused here.
        if parts[0] == b"\\restrict" and len(parts) == 2 and not restricted:
            restricted.append(parts[1])
            return ""
        if parts[0] == b"\\unrestrict" and parts[1:] == restricted:
            return ""
        word = parts[0][:20].decode("utf-8", "replace")
        return f"line {piece.line} has psql's own command {word}: such a command can reach beyond the database"
    if piece.kind == "other copy":
        return f"line {piece.line} has a COPY that is no COPY FROM stdin: it would read or write files, or run programs"
    words = piece.words
    text = piece.text.lower()
    if words[:1] == ("set",) and "standard_conforming_strings" in words and b"off" in text:
        return f"line {piece.line} sets standard_conforming_strings off"
    if "client_encoding" in words[:3] and any(name in text.decode("latin-1") for name in _UNSAFE):
        return f"line {piece.line} sets a client encoding that is not safe to split"
    if words[:2] in (("drop", "database"), ("create", "database")):
        return f"line {piece.line} makes or drops a database: the dump was taken with --create"
    return ""


def passed_over(piece: Piece) -> str:
    """Return why a statement is left out, '' when it is to be run.

    The role that loads the dump has no right to do these; what they would have set is set afterwards, or told.
    """
    words = piece.words
    if words[:1] == ("alter",) and _OWNER.search(piece.text) and piece.kind == "statement":
        return "owner"
    if words[:3] == ("alter", "default", "privileges"):
        return "default privileges"
    if words[:3] == ("comment", "on", "extension"):
        return "comment"
    return ""


def inspect(lines: Iterable[bytes]) -> Inspection:
    """Read a whole dump and return what it holds. Raises :class:`Refused` for one that is incomplete or unsafe."""
    reader = Reader(lines)
    statements = inserts = defaults = 0
    rows: dict[str, int] = {}
    extensions: dict[str, str] = {}
    owners: set[str] = set()
    restricted: list[bytes] = []
    for piece in reader.pieces():
        why = refusal(piece, restricted)
        if why:
            raise Refused(why)
        if piece.kind == "meta":
            continue
        statements += 1
        if piece.kind == "copy":
            named = _COPY_TABLE.match(piece.text)
            if named is None:
                raise Refused(f"line {piece.line} has a COPY whose table cannot be read")
            table = ".".join(unquote(part) for part in named.groups() if part)
            rows[table] = rows.get(table, 0) + sum(1 for _row in reader.rows())
        elif piece.words[0] == "insert":
            inserts += 1
        found = _EXTENSION.match(piece.text)
        if found:
            extensions[unquote(found.group(1))] = unquote(found.group(2)) if found.group(2) else ""
        owner = _OWNER.search(piece.text) if passed_over(piece) == "owner" else None
        if owner:
            owners.add(unquote(owner.group(1)))
        defaults += passed_over(piece) == "default privileges"
    if not statements:
        raise Refused("the file holds no statement")
    if not reader.trailer:
        raise Refused("the line 'PostgreSQL database dump complete' is missing at its end: the dump was cut off")
    return Inspection(
        statements, rows, inserts, tuple(sorted(extensions.items())), tuple(sorted(owners)), reader.version, defaults
    )
