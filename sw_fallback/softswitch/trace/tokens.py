"""A trace filter's text as tokens: names of the program, operators, and addresses and numbers as their values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import AddressValueError, IPv4Address, IPv6Address

__all__ = ["FilterError", "Kind", "Token", "tokens"]


class FilterError(Exception):
    """A filter that cannot be: what is wrong, and where in its text."""

    def __init__(self, message: str, text: str, at: int) -> None:
        super().__init__(f"{message}\n  {text}\n  {' ' * at}^")


class Kind(Enum):
    """What a token is."""

    NAME = auto()
    NUMBER = auto()
    PREFIX = auto()
    OPERATOR = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a filter."""

    kind: Kind
    text: str
    """An operator in its one spelling: `&&` for `and` too."""
    at: int
    """Where it starts in the filter's text."""
    end: int
    """Where it ends."""
    value: int = 0
    """Of a number, or of an address; of a prefix the address as written."""
    width: int = 0
    """Bits of an address; zero for a plain number."""
    length: int = 0
    """Of a prefix: how many of its bits count."""


_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}(?![\w:.])")
_ADDRESS = re.compile(r"([0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*|\d+\.[\d.]*)(?:/(\d+))?(?![\w:.])")
_NUMBER = re.compile(r"(0[xX][0-9A-Fa-f]+|\d+)(?![\w:.])")
_PART = r"[A-Za-z_$][\w$]*(?:\[\d+\])?"
_NAME = re.compile(rf"{_PART}(?:\.{_PART})*(?:\(\))?")
_OPERATOR = re.compile(r"&&|\|\||==|!=|<=|>=|<<|>>|[!<>&|^+()-]")
_OTHER = re.compile(r"[\w.:/]+|\S")
_WORDS = {"and": "&&", "or": "||", "not": "!"}


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a filter, the last one `END`. Raises `FilterError`."""
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            yield Token(Kind.END, "the end", at, at)
            return
        token = _literal(text, at) or _word(text, at)
        if token is None:
            found = _OTHER.match(text, at)
            raise FilterError(f"{found[0] if found else text[at]!r} is no name, number, address or operator", text, at)
        yield token
        at = token.end


def _literal(text: str, at: int) -> Token | None:
    if found := _MAC.match(text, at):
        return Token(Kind.NUMBER, found[0], at, found.end(), int(found[0].replace(":", ""), 16), 48)
    if found := _ADDRESS.match(text, at):
        return _address(found, text)
    if found := _NUMBER.match(text, at):
        return Token(Kind.NUMBER, found[0], at, found.end(), int(found[0], 16 if found[0][1:2] in "xX" else 10))
    return None


def _address(found: re.Match[str], text: str) -> Token:
    at, end = found.span()
    try:
        address = IPv6Address(found[1]) if ":" in found[1] else IPv4Address(found[1])
    except AddressValueError as error:
        raise FilterError(f"no address: {error}", text, at) from None
    width = address.max_prefixlen
    if found[2] is None:
        return Token(Kind.NUMBER, found[0], at, end, int(address), width)
    length = int(found[2])
    if length > width:
        raise FilterError(f"no prefix: an address has {width} bits", text, at)
    return Token(Kind.PREFIX, found[0], at, end, int(address), width, length)


def _word(text: str, at: int) -> Token | None:
    if found := _NAME.match(text, at):
        if found[0] in _WORDS:
            return Token(Kind.OPERATOR, _WORDS[found[0]], at, found.end())
        return Token(Kind.NAME, found[0], at, found.end())
    if found := _OPERATOR.match(text, at):
        return Token(Kind.OPERATOR, found[0], at, found.end())
    return None
