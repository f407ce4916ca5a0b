"""How sets of sites are written."""

import pytest

from sparta_hub.errors import SiteError, SpecError
from sparta_hub.placement import Site, block_of, check_placement, select, site_key

SITES = [
    Site(f"G{g}.B{b}", f"layer{g}.{b - 1}.act2", 64)
    for g, depth in ((1, 2), (2, 3), (3, 1))
    for b in range(1, depth + 1)
]


@pytest.mark.parametrize(
    ("placement", "names"),
    [
        ("last", "G1.B2 G2.B3 G3.B1"),
        ("all", "G1.B1 G1.B2 G2.B1 G2.B2 G2.B3 G3.B1"),
        ("G1.B2", "G1.B2"),
        ("G{1,2}.B{1}", "G1.B1 G2.B1"),
        ("G{2,1}.B{2,1}", "G1.B1 G1.B2 G2.B1 G2.B2"),  # the host's order, whatever the order in the text
        ("G{1, 2}.B{1}", "G1.B1 G2.B1"),
        ("G{2,2}.B3", "G2.B3"),
    ],
)
def test_select(placement, names):
    assert " ".join(site.name for site in select(SITES, placement)) == names


@pytest.mark.parametrize("placement", ["last", "all", "every", "G4.B2", "G{1,2}.B{1,2}"])
def test_known_ways(placement):
    assert check_placement(placement) == placement


@pytest.mark.parametrize(
    "placement", ["", "first", "Last", "G4", "G4.B", "G{}.B1", "G{1,}.B1", "G1.B2;G2.B1", "G-1.B1", None, 4]
)
def test_other_ways_are_refused_with_all_known_ones(placement):
    with pytest.raises(SpecError, match=r"placement is .*expected 'last' .*'all'.*'every'.*'G\{1,2\}\.B\{1,2\}'"):
        check_placement(placement)


@pytest.mark.parametrize(
    ("placement", "missing"), [("G3.B2", "G3.B2"), ("G{1,2}.B{3}", "G1.B3"), ("G4.B1", "G4.B1"), ("G0.B1", "G0.B1")]
)
def test_missing_blocks_are_named_with_those_there_are(placement, missing):
    with pytest.raises(
        SiteError, match=rf"The host has no {missing}; it has G1.B1 to G1.B2, G2.B1 to G2.B3, G3.B1 to G3.B1"
    ):
        select(SITES, placement)


def test_keys_are_free_of_the_hosts_names():
    assert site_key("G4.B2") == SITES[0].key.replace("1", "4", 1).replace("block1", "block2") == "stage4.block2"
    assert site_key("blocks.0.act1") == "blocks.0.act1"
    assert block_of("G12.B34") == (12, 34)
    assert block_of("layer1.act") is None
    assert block_of("G0.B1") is None
