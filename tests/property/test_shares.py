"""Traffic splits: whatever the shares, draws keep them."""

from hypothesis import given
from hypothesis import strategies as st
from route_tables import ADMIN, routes

from tallystick.entities import SLOTS
from tallystick.gateway.routing import pick_entity


@st.composite
def splits(draw):
    cuts = sorted(draw(st.lists(st.integers(0, SLOTS), max_size=5)))
    return [b - a for a, b in zip([0, *cuts], [*cuts, SLOTS], strict=True)]


@given(splits())
def test_over_all_slots_each_entity_gets_exactly_its_share(shares):
    endpoint = routes(*shares).find("churn", ADMIN)
    counts = dict.fromkeys(endpoint.by_name, 0)
    for slot in range(0, SLOTS, 1):
        counts[pick_entity(endpoint, (slot + 0.5) / SLOTS).name] += 1
    assert list(counts.values()) == shares


@given(splits(), st.floats(0, 1, exclude_max=True))
def test_an_entity_with_no_share_is_never_drawn_and_a_draw_always_ends(shares, draw):
    assert pick_entity(routes(*shares).find("churn", ADMIN), draw).share_slots > 0
