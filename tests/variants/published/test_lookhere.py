"""lookhere: fields of view, slopes of heads and layers by hand, as the authors' code lists them; errors on purpose."""

import pytest
import torch

from variants import Unsupported, build, geometry, lookhere

from .agreement import SQUARE, WIDE, agree, agrees_with_equation, at, drawn, on, rejected
from .biases import LOOKS


def kept(heads, grid, directions="halves"):
    """bool [H, 2h-1, 2w-1]: the field of view of each head, about the query in the middle of a large grid."""
    h, w = grid
    relation = build(f"lookhere[directions={directions}]", 4 * heads, heads, grid=grid).relation
    large = (2 * h - 1, 2 * w - 1)
    y, x = geometry.coordinates(large)
    middle = torch.tensor(h - 1), torch.tensor(w - 1)
    return relation.mask(*middle, y, x, large).unflatten(-1, large)


PICTURES = {  # of four heads at 3x3 offsets, the query in the middle
    "halves": ["###\n###\n...", "...\n###\n###", "##.\n##.\n##.", ".##\n.##\n.##"],
    "corners": ["##.\n##.\n...", ".##\n.##\n...", "...\n##.\n##.", "...\n.##\n.##"],
    "triangles": ["###\n.#.\n...", "...\n.#.\n###", "#..\n##.\n#..", "..#\n.##\n..#"],
    "diagonals": ["###\n.##\n..#", "###\n##.\n#..", "..#\n.##\n###", "#..\n##.\n###"],
    "eighths": ["##.\n.#.\n...", "...\n.#.\n##.", "#..\n##.\n...", "..#\n.##\n..."],
}


@pytest.mark.parametrize("directions", PICTURES)
def test_four_heads_look_where_the_picture_says(directions):
    found = [
        "\n".join("".join(".#"[int(cell)] for cell in row) for row in head) for head in kept(4, (2, 2), directions)
    ]
    assert found == PICTURES[directions]


def test_the_other_four_heads_of_eighths_look_to_the_other_side():
    looks = kept(12, (3, 3), "eighths")
    for head, look in enumerate(LOOKS["eighths"]):
        expected = [[look(dy, dx) for dx in range(-2, 3)] for dy in range(-2, 3)]
        assert looks[head].tolist() == expected
    assert looks[8:].all()


@at("directions", *PICTURES)
def test_every_offset_is_seen_by_some_head_and_the_query_by_all(directions):
    looks = kept(12, (4, 3), directions)
    assert looks.any(dim=0).all()
    assert looks[:, 3, 2].all()


HALF, QUARTER = [1 / 2] * 4, [1 / 4] * 4
FREE = [1 / 4, 1 / 16, 1 / 64, 1 / 256]
BY_HEADS = {  # number of heads -> slopes of halves, of eighths, as in the code for 6, 12 and 16
    4: (HALF, HALF),
    5: ([*HALF, FREE[0]],) * 2,
    6: ([*HALF, *FREE[:2]],) * 2,
    8: ([*HALF, *FREE],) * 2,
    12: (HALF + QUARTER + FREE, HALF + HALF + FREE),
    16: (HALF + QUARTER + [m for m in FREE for _ in range(2)], HALF + HALF + [m for m in FREE for _ in range(2)]),
}


def slopes_agree(heads, directions="halves"):
    attention = build(f"lookhere[directions={directions},first=1]", 4 * heads, heads, grid=WIDE)
    bias = attention.relation.bias(geometry.offsets(WIDE, dtype=torch.float64))
    agree(-bias[:, 2, 5], BY_HEADS[heads][directions == "eighths"])  # the right neighbour
    agree(bias[:, 0, 0], bias[:, 2, 5] * (4 + 16) ** 0.5)


@pytest.mark.proof("the authors' slopes", "lookhere")
@pytest.mark.parametrize("directions", PICTURES)
@at("heads", *BY_HEADS)
def test_the_slopes_of_the_heads_are_those_of_the_code(heads, directions):
    slopes_agree(heads, directions)


def test_four_heads_of_six_look_somewhere_and_eight_of_twelve_and_of_sixteen():
    for heads, directed in ((4, 4), (5, 4), (6, 4), (8, 4), (12, 8), (16, 8), (24, 16)):
        assert int((~kept(heads, (2, 2)).flatten(1).all(1)).sum()) == directed


def test_slopes_go_linearly_from_the_first_layer_to_the_last():
    found = []
    for number in range(5):
        attention = build("lookhere", 16, 4, grid=WIDE, layer=number, depth=5)
        found.append(float(-attention.relation.bias(geometry.offsets(WIDE))[0, 2, 5]))
    agree(found, [0.75, 0.625, 0.5, 0.375, 0.25])
    one = build("lookhere[first=0.5,last=3]", 16, 4, grid=WIDE)  # a single layer is the first
    agree(-one.relation.bias(geometry.offsets(WIDE))[0, 2, 5], 0.25)


def _turned(views):
    return {name: views[name][1:] + views[name][:1] for name in views}


WRONG_VIEWS = {
    "heads in another order": _turned,
    "rows and columns exchanged": lambda views: {
        k: [tuple((x, y) for y, x in v) for v in vs] for k, vs in views.items()
    },
    "to the other side": lambda views: {k: [tuple((-y, -x) for y, x in v) for v in vs] for k, vs in views.items()},
}


@pytest.mark.parametrize("wrong", WRONG_VIEWS.values(), ids=WRONG_VIEWS)
@pytest.mark.parametrize("directions", PICTURES)
def test_other_views_are_rejected(directions, wrong, monkeypatch):
    monkeypatch.setattr(lookhere, "VIEWS", wrong(lookhere.VIEWS))
    with rejected():
        agrees_with_equation(f"lookhere[directions={directions}]", SQUARE)


@on(WIDE, (2, 6))
def test_nothing_is_learned_and_a_class_token_sees_all_and_is_seen(grid):
    attention = drawn("lookhere", grid)
    assert not list(attention.relation.parameters())
    q, k, _ = attention.project(torch.randn(1, 1 + grid[0] * grid[1], 24, dtype=torch.float64), grid)
    weights = attention.weights(q, k, grid)
    assert (weights[:, :, 0] > 0).all()
    assert (weights[..., 0] > 0).all()
    assert not (weights > 0).all()


@pytest.mark.parametrize(
    ("spec", "heads", "says"),
    [
        ("lookhere", 3, "looks four ways and has 3 heads; use 4 or more, or alibi_2d"),
        ("lookhere[first=-1]", 4, "rewards what is far"),
        ("lookhere[directions=up]", 4, "directions is halves or corners or triangles or diagonals or eighths"),
    ],
)
def test_what_it_refuses_is_a_sentence(spec, heads, says):
    with pytest.raises(ValueError, match=says) as caught:
        build(spec, 4 * heads, heads, grid=WIDE)
    assert heads > 3 or caught.type is Unsupported
