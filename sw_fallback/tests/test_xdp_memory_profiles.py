"""Members and groups in shared memory: what a program chooses is what the python engine's rows say."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sw_fallback.tests.xdp_memory_program import ACTION, CELLS, FRAME, NOWHERE, SERVE, TableProgram, load, make_table

from softswitch.engine.xdp.availability import why_not
from softswitch.engine.xdp.kernel import Object, run
from softswitch.engine.xdp.layout import RowLayout
from softswitch.engine.xdp.memory import ExactMirror, Grace, ProfileMirror, Shared, profile_counts
from softswitch.errors import TableFull
from softswitch.program.controls import ActionProfile, MatchKind, Selector
from softswitch.rows import NO_ACTION, Call

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"XDP cannot run: {REASON}")

LAYOUT = RowLayout([SERVE], CELLS)
GROUPS, SEATS, MEMBERS = 40, 300, 40

_SIZES = f"enum {{ GROUPS = {GROUPS}, SEATS = {SEATS}, MEMBERS = {MEMBERS} }};"
_TEXT = """
struct p_row {
	u32 action;
	struct {
		u32 value;
		u64 wide[2];
		u16 small;
	} serve;
} __attribute__((aligned(8)));

PROFILE(p, GROUPS, SEATS, MEMBERS);

struct request {
	u32 number, value;
	u64 hash;
};
SHARED_ARRAY(requests, struct request, 1);

SEC("xdp") int choose(struct xdp_md *ctx)
{
	u32 first = 0;
	struct request *request = bpf_map_lookup_elem(&requests, &first);
	struct p_row *member;
	u64 group;

	if (!request)
		return XDP_ABORTED;
	group = group_of(&p_groups, request->number);
	member = group_member(&p_seats, &p_rows, group, request->hash);
	if (group_size(group) == 1 && member != only_member(&p_rows, group))
		return XDP_ABORTED;
	if (!member)
		return XDP_DROP;
	request->value = member->serve.value;
	return XDP_PASS;
}
"""


class Profile:
    """A profile in shared memory; `value` of a member is what its action has as first argument."""

    def __init__(self, program: Object) -> None:
        self.program = program
        self.mirror = ProfileMirror(Shared("p", program.maps, LAYOUT, {"serve": ACTION}, Grace()))
        self._request = program.maps["requests"].memory()

    def choose(self, number: int, hashed: int) -> int | None:
        self._request[:16] = struct.pack("=IIQ", number, 0, hashed)
        verdict = run(self.program.programs["choose"], FRAME).retval
        assert verdict in (1, 2)
        return struct.unpack("=I", self._request[4:8])[0] if verdict == 2 else None

    def check(self, number: int, target: Call) -> None:
        """As translated code chooses (`softswitch.engine.python.controls`)."""
        for hashed in (0, 1, 7, 2**32 - 1, 2**40 + 3):
            chosen = target.seats[hashed % len(target.seats)] if target.seats else target
            wanted = None if chosen.action == NO_ACTION else chosen.params[0]
            assert self.choose(number, hashed) == wanted


def member(value: int) -> Call:
    return Call(ACTION, (value, 1 << 100, 3))


def group(*members: Call) -> Call:
    made = Call()
    made.seats = members
    return made


@pytest.fixture(scope="module")
def program() -> Iterator[Object]:
    with load(_SIZES + _TEXT) as loaded:
        yield loaded


@pytest.fixture
def profile(program: Object) -> Profile:
    return Profile(program)


def test_a_member_is_a_group_of_one(profile: Profile) -> None:
    one = member(5)
    number = profile.mirror.hold(one)
    assert profile.mirror.hold(one) == number != 0
    profile.check(number, one)
    one.params = (6, 0, 0)
    profile.mirror.refresh(one)
    profile.check(number, one)


def test_a_group_chooses_by_weight_and_follows_its_members(profile: Profile) -> None:
    one, two = member(1), member(2)
    pair = group(one, two, two)
    number, own = profile.mirror.hold(pair), profile.mirror.hold(two)
    profile.check(number, pair)
    two.params = (22, 0, 0)
    profile.mirror.refresh(two)
    profile.check(number, pair)
    profile.check(own, two)
    pair.seats = (one,)
    profile.mirror.refresh(pair)
    profile.check(number, pair)
    one.params = (11, 0, 0)
    profile.mirror.refresh(one)
    profile.check(number, pair)
    pair.seats = ()
    profile.mirror.refresh(pair)
    assert profile.choose(number, 5) is None
    assert len(profile.mirror) == 1, "only the second member is in use"


def test_no_group_and_an_empty_one_run_nothing(profile: Profile) -> None:
    assert profile.choose(0, 1) is None
    assert profile.choose(GROUPS + 5, 1) is None
    assert profile.choose(profile.mirror.hold(group()), 1) is None


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_any_sequence_of_changes(program: Object, seed: int) -> None:
    rng, profile = random.Random(seed), Profile(program)
    members = [member(value) for value in range(1, 12)]
    groups = [group() for _ in range(6)]
    held: list[tuple[int, Call]] = []
    for turn in range(60):
        match rng.randrange(5):
            case 0 | 1:
                target = rng.choice([*members, *groups])
                held.append((profile.mirror.hold(target), target))
            case 2 if held:
                number, target = held.pop(rng.randrange(len(held)))
                profile.mirror.release(number)
            case 3:
                changed = rng.choice(members)
                changed.params = (1000 + turn, turn, 0)
                profile.mirror.refresh(changed)
            case _:
                changed = rng.choice(groups)
                changed.seats = tuple(rng.choices(members, k=rng.choice([0, 1, 2, 5, 20])))
                profile.mirror.refresh(changed)
        for number, target in held:
            profile.check(number, target)
    for number, _ in held:
        profile.mirror.release(number)
    assert len(profile.mirror) == 0


def test_what_does_not_fit_changes_nothing(profile: Profile) -> None:
    small = group(*(member(value) for value in range(5)))
    number = profile.mirror.hold(small)
    before = small.seats
    small.seats = tuple(member(value) for value in range(SEATS + 1))
    with pytest.raises(TableFull):
        profile.mirror.refresh(small)
    small.seats = before
    profile.check(number, small)
    many = [group(member(value), member(value + 1)) for value in range(MEMBERS)]

    def hold_all() -> None:
        for each in many:
            profile.mirror.hold(each)

    with pytest.raises(TableFull):
        hold_all()
    profile.check(number, small)


def test_places_are_used_again(profile: Profile) -> None:
    for turn in range(200):
        target = group(member(turn), member(turn + 1), member(turn))
        number = profile.mirror.hold(target)
        profile.check(number, target)
        profile.mirror.release(number)


def test_sizes_of_a_profile() -> None:
    selector = Selector("crc32", ())
    table = make_table(MatchKind.EXACT, [(MatchKind.EXACT, 8)], 100)
    assert table.profile is None
    groups, seats, members = profile_counts(ActionProfile("p", 16, selector, NOWHERE), [table])
    assert groups > 16
    assert seats >= 1 << 16
    assert members > 16
    assert profile_counts(ActionProfile("p", 16, None, NOWHERE), [table])[1] == 1


def test_rows_of_an_indirect_table_hold_their_group() -> None:
    """The group of a row that is replaced or removed is let go."""
    table = make_table(MatchKind.EXACT, [(MatchKind.EXACT, 8)], 8)
    with TableProgram(table, further=_SIZES + _TEXT) as program:
        profile = Profile(program.object)
        shared = program.shared
        mirror = ExactMirror(
            Shared(
                shared.stem, shared.maps, shared.layout, shared.numbers, shared.grace, profile.mirror, shared.hash_keys
            )
        )
        row, one, two = program.row(3, 1), member(1), group(member(2), member(3))
        row.target = one
        mirror.put(row)
        assert mirror.rows.word(row.place) == 1
        row.target = two
        mirror.replace(row)
        assert len(profile.mirror) == 2
        profile.check(mirror.rows.word(row.place), two)
        mirror.remove(row)
        assert len(profile.mirror) == 0
