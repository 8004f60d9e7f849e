"""The names that a trace filter may use: the program's headers and fields, and the port."""

from __future__ import annotations

from difflib import get_close_matches

from softswitch.program import Program
from softswitch.program.expressions import FieldRef, HeaderRef

__all__ = ["UnknownName", "Vocabulary"]

_PORT = "port"
_SCALARS = "scalars"
"""The header that p4c gathers local variables and the fields of metadata structs in."""
_METADATA = ("meta.", "metadata.")
_PACKET_HEADERS = "hdr."
_VALID = ".isValid()"


class UnknownName(Exception):
    """A name that the program does not have, with those that look alike."""


class Vocabulary:
    """Names of one program as its P4 source writes them.

    `ipv4` is a header, `ipv4.ttl` or `hdr.ipv4.ttl` a field of it, `mpls[0]` a member of a stack, `meta.vip_id` a field
    of the program's metadata struct, `standard_metadata.packet_length` one of the target's.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._headers = {
            header.name: HeaderRef(header.name) for header in program.headers.values() if not header.metadata
        }
        self._fields = {
            f"{header.name}.{field.name}": FieldRef(header.name, field.name, field.width, field.signed)
            for header in program.headers.values()
            for field in header.type.fields
            if header.name != _SCALARS and not field.varbit
        }
        self._add_scalars()
        port = program.intrinsic("ingress_port")
        if port is not None:
            self._fields.setdefault(_PORT, port)

    def _add_scalars(self) -> None:
        """Metadata fields are found by the struct's type (`metadata_t.vip_id`) and, as P4 source has it, by `meta`."""
        scalars = self._program.headers.get(_SCALARS)
        for field in scalars.type.fields if scalars is not None else ():
            struct, dot, name = field.name.rpartition(".")
            if dot and not field.varbit:
                ref = FieldRef(_SCALARS, field.name, field.width, field.signed)
                self._fields.setdefault(f"{struct}.{name}", ref)
                for prefix in _METADATA:
                    self._fields.setdefault(prefix + name, ref)

    def find(self, name: str) -> HeaderRef | FieldRef:
        """What a name stands for; a header for the question whether it is valid. Raises `UnknownName`."""
        wanted = name.removeprefix(_PACKET_HEADERS)
        if wanted.endswith(_VALID):
            header = self._headers.get(wanted.removesuffix(_VALID))
            if header is None:
                raise UnknownName(f"the program has no header {wanted.removesuffix(_VALID)!r}{self._near(wanted)}")
            return header
        found = self._fields.get(wanted) or self._headers.get(wanted)
        if found is None:
            header_name, dot, field = wanted.rpartition(".")
            if dot and header_name in self._headers:
                raise UnknownName(f"header {header_name!r} has no field {field!r}{self._near(wanted)}")
            raise UnknownName(f"the program has no header or field {wanted!r}{self._near(wanted)}")
        return found

    def is_metadata(self, field: FieldRef) -> bool:
        """Whether a field is there whatever the packet is."""
        return self._program.headers[field.header].metadata

    def _near(self, name: str) -> str:
        """Names that may have been meant, as the end of a sentence."""
        header, dot, field = name.partition(".")
        if dot and header in self._headers:
            fields = [known for known in self._fields if known.startswith(f"{header}.")]
            near = get_close_matches(field, [known.removeprefix(f"{header}.") for known in fields], 4, 0.5)
            listed = [f"{header}.{one}" for one in near] or fields[:12]
        else:
            known = [*self._headers, *(one for one in self._fields if not one.startswith(_METADATA[1]))]
            listed = get_close_matches(name, known, 4, 0.5) or list(self._headers)
        return f"; there is {', '.join(listed)}" if listed else ""
