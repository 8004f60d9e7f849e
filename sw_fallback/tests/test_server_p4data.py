"""P4 values as P4Data: every kind of type both ways, and types that cannot be."""

from __future__ import annotations

import pytest
from finsy.proto import p4d, p4t
from google.protobuf import text_format

from softswitch.server.p4data import P4DataCodec
from softswitch.server.status import Code, Refusal

TYPES = text_format.Parse(
    """
    structs { key: "pair_t" value {
      members { name: "a" type_spec { bitstring { bit { bitwidth: 12 } } } }
      members { name: "b" type_spec { bitstring { int { bitwidth: 8 } } } } } }
    structs { key: "outer_t" value {
      members { name: "pair" type_spec { struct { name: "pair_t" } } }
      members { name: "flag" type_spec { bool { } } }
      members { name: "kind" type_spec { serializable_enum { name: "kind_t" } } } } }
    structs { key: "loop_t" value { members { name: "again" type_spec { struct { name: "loop_t" } } } } }
    headers { key: "header_t" value {
      members { name: "x" type_spec { bit { bitwidth: 4 } } }
      members { name: "y" type_spec { bit { bitwidth: 20 } } } } }
    serializable_enums { key: "kind_t" value { underlying_type { bitwidth: 8 } } }
    new_types { key: "port_t" value { original_type { bitstring { bit { bitwidth: 9 } } } } }
    new_types { key: "sdn_t" value { translated_type { sdn_bitwidth: 32 } } }
    new_types { key: "name_t" value { translated_type { sdn_string { } } } }
    new_types { key: "ring_t" value { original_type { new_type { name: "ring_t" } } } }
    """,
    p4t.P4TypeInfo(),
)

CASES = {
    "bit": ("bitstring { bit { bitwidth: 9 } }", (300,), "bitstring: '\\001,'"),
    "int": ("bitstring { int { bitwidth: 8 } }", (0x9D,), "bitstring: '\\235'"),
    "bool": ("bool { }", (1,), "bool: true"),
    "enum": ("serializable_enum { name: 'kind_t' }", (7,), "enum_value: '\\007'"),
    "own type": ("new_type { name: 'port_t' }", (5,), "bitstring: '\\005'"),
    "translated type": ("new_type { name: 'sdn_t' }", (5,), "bitstring: '\\005'"),
    "tuple": (
        "tuple { members { bitstring { bit { bitwidth: 8 } } } members { bool { } } }",
        (3, 0),
        "tuple { members { bitstring: '\\003' } members { bool: false } }",
    ),
    "header": (
        "header { name: 'header_t' }",
        (15, 256),
        "header { is_valid: true bitstrings: '\\017' bitstrings: '\\001\\000' }",
    ),
    "struct in struct": (
        "struct { name: 'outer_t' }",
        (4095, 0xFF, 1, 2),
        "struct { members { struct { members { bitstring: '\\017\\377' } members { bitstring: '\\377' } } } "
        "members { bool: true } members { enum_value: '\\002' } }",
    ),
}


def codec(spec: str) -> P4DataCodec:
    return P4DataCodec(text_format.Parse(spec, p4t.P4DataTypeSpec()), TYPES, "it")


@pytest.mark.parametrize(("spec", "leaves", "text"), CASES.values(), ids=CASES.keys())
def test_values_both_ways(spec: str, leaves: tuple[int, ...], text: str) -> None:
    data = p4d.P4Data()
    codec(spec).encode(leaves, data)
    assert data == text_format.Parse(text, p4d.P4Data())
    assert codec(spec).decode(data) == leaves
    assert len(codec(spec).widths) == len(leaves)


@pytest.mark.parametrize(("spec", "leaves", "text"), CASES.values(), ids=CASES.keys())
def test_data_of_another_type_is_refused(spec: str, leaves: tuple[int, ...], text: str) -> None:
    own = text_format.Parse(text, p4d.P4Data()).WhichOneof("data")
    for _, _, other in CASES.values():
        data = text_format.Parse(other, p4d.P4Data())
        if data.WhichOneof("data") != own:
            with pytest.raises(Refusal, match="it: P4Data holds"):
                codec(spec).decode(data)


@pytest.mark.parametrize(
    ("spec", "text", "code"),
    [
        ("bitstring { bit { bitwidth: 4 } }", "bitstring: '\\020'", Code.OUT_OF_RANGE),
        ("struct { name: 'pair_t' }", "struct { members { bitstring: '\\001' } }", Code.INVALID_ARGUMENT),
        ("struct { name: 'pair_t' }", "struct { members { } members { } }", Code.INVALID_ARGUMENT),
        ("header { name: 'header_t' }", "header { bitstrings: '\\001' }", Code.INVALID_ARGUMENT),
    ],
)
def test_bad_data_is_refused(spec: str, text: str, code: Code) -> None:
    with pytest.raises(Refusal) as refused:
        codec(spec).decode(text_format.Parse(text, p4d.P4Data()))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("", Code.UNIMPLEMENTED),
        ("bitstring { varbit { max_bitwidth: 8 } }", Code.UNIMPLEMENTED),
        ("header_stack { }", Code.UNIMPLEMENTED),
        ("new_type { name: 'name_t' }", Code.UNIMPLEMENTED),
        ("struct { name: 'missing_t' }", Code.INVALID_ARGUMENT),
        ("new_type { name: 'missing_t' }", Code.INVALID_ARGUMENT),
        ("struct { name: 'loop_t' }", Code.INVALID_ARGUMENT),
        ("new_type { name: 'ring_t' }", Code.INVALID_ARGUMENT),
    ],
)
def test_types_that_cannot_be_served(spec: str, code: Code) -> None:
    before = TYPES.SerializeToString(deterministic=True)
    with pytest.raises(Refusal, match=r"^it") as refused:
        codec(spec)
    assert refused.value.code == code
    assert TYPES.SerializeToString(deterministic=True) == before
