"""What a card shows, from records made here, by value."""

import json
from dataclasses import replace

import pytest

from sparta_hub.evaluation import AttackSettings, Report
from sparta_hub.evaluation._outcome import Outcome, Protocol, Tally
from sparta_hub.hosts import create_host
from sparta_hub.provenance import wilson
from sparta_hub.threat import ThreatModel
from tests.conftest import HOST
from training.entries import EVALUATIONS, RECORDS, Entry, read_entry, write_entry
from training.errors import ConfigError
from training.figures import reports_of
from training.records import keep
from training.results import OVERHEADS, overhead_of, results_of
from training.settings import to_json
from training.twins import gains_by_seed

SMALL, LARGE = ThreatModel(), ThreatModel("linf", 16 / 255, targeted=True)


def report(correct, *attacks, weights="w", data="d", hardware="a machine", seed=0):
    """Of images that are right without attack where ``correct`` has an x; an attack: name, threat, broken, seconds."""
    right = tuple(c == "x" for c in correct)
    tallies = tuple(Tally(right, tuple(c == "x" for c in broken), (False,) * len(right), 0, 0, seconds)
                    for _, _, broken, seconds in attacks)  # fmt: skip
    settings = tuple(AttackSettings(name, threat, {}) for name, threat, *_ in attacks)
    protocol = Protocol("m", "noise", len(right), 10, 4, seed, False, "exact", settings, weights, "", data)
    return Report(protocol, Outcome(right, tallies), ({"hardware": hardware},))


def plain(config):
    """The same with ReLU."""
    return replace(config, family="relu", arguments={})


def record(root, tiny, name, *reports, **more):
    """An entry whose records are these; its evaluations by name."""
    cost = {"steps": 8, "images": 64, "seconds": 1.5, "commit": "c", "torch": "2", "python": "3", "hardware": "h"}
    training = keep({"config": to_json(tiny), **cost}, root / RECORDS, name=name).name
    kept = tuple(keep(one.to_json(), root / EVALUATIONS, name=name).name for one in reports)
    entry = Entry(name, training, kept, "last", **more)
    write_entry(root, entry)
    return entry


@pytest.mark.parametrize("other", [{"weights": "v"}, {"data": "e"}])
def test_evaluations_of_other_weights_or_images_are_not_put_onto_one_card(tmp_path, tiny, other):
    entry = record(tmp_path, tiny, "a", report("xx-x"), report("xx-x", **other))
    with pytest.raises(
        ConfigError, match="a has evaluations a.json, a-2.json; expected .* all of the same weights and"
    ):
        reports_of(tmp_path, entry)
    with pytest.raises(ConfigError, match=r"a has evaluations \(none\); expected one or more"):
        reports_of(tmp_path, replace(entry, evaluations=()))
    assert len(reports_of(tmp_path, replace(entry, evaluations=entry.evaluations[1:]))) == 1


def test_every_row_has_the_figure_the_interval_and_the_origin_of_its_own_attack(tmp_path, tiny):
    first = report("xxxx-", ("a", SMALL, "x----", 1.23), ("b", LARGE, "xx---", 4.56), hardware="old")
    second = report("xxxx-", ("c", SMALL, "-x---", 7.89), hardware="new", seed=5)
    results = results_of(tmp_path, record(tmp_path, tiny, "mine", first, second, comparison="alone", remark="r"))
    found = [
        (
            row["attack"],
            row["correct"],
            row["seconds"],
            row["seed"],
            row["hardware"],
            row.get("eps"),
            row.get("targeted"),
        )
        for row in results["evaluation"]
    ]
    assert found == [
        ("clean", 4, 0.0, 0, "old", None, None),
        ("a, Linf 8/255", 3, 1.2, 0, "old", 8 / 255, False),
        ("b, Linf 16/255 targeted", 2, 4.6, 0, "old", 16 / 255, True),
        ("c, Linf 8/255", 3, 7.9, 5, "new", 8 / 255, False),
        ("worst case of each image, Linf 8/255", 2, 0.0, 0, "old", 8 / 255, False),
    ]
    for row in results["evaluation"]:
        assert (row["accuracy"], row["images"]) == (20.0 * row["correct"], 5)
        assert (row["low"], row["high"]) == wilson(row["correct"], 5)
    assert (results["comparison"], results["remark"], results["gains"]) == ("alone", "r", [])
    assert results["reports"] == [first.to_json(), second.to_json()]
    assert {key: results["training"][key] for key in ("recipe", "weights", "steps", "images", "seconds", "lr")} == {
        "recipe": "tiny", "weights": "last", "steps": 8, "images": 64, "seconds": 1.5, "lr": tiny.lr,
    }  # fmt: skip


def test_gains_are_those_over_the_twin_and_not_the_twins(tmp_path, tiny):
    record(tmp_path, plain(tiny), "relu", report("xxxx", ("a", SMALL, "xx--", 0.0)), comparison="c")
    entry = record(tmp_path, tiny, "mine", report("xxx-", ("a", SMALL, "----", 0.0)), twin="relu", comparison="c")
    results = results_of(tmp_path, entry)
    keys = ("twin", "attack", "points", "first_alone", "second_alone")
    assert [tuple(row[key] for key in keys) for row in results["gains"]] == [
        ("relu", "clean", -25.0, 0, 1),
        ("relu", "a, Linf 8/255", 25.0, 2, 1),
    ]
    assert results["comparison"].startswith("Gain is the difference to its ReLU twin `relu` (same recipe, seed and")
    assert results["comparison"].endswith("two seeds of one recipe can differ by more, so one pair proves little.")
    assert "gains_over_seeds" not in results


def test_pairs_of_other_seeds_stand_on_the_card_in_the_mean(tmp_path, tiny):
    """Those that were trained like it and like its twin, and none that were not."""
    record(tmp_path, plain(tiny), "relu", report("xxxx", ("a", SMALL, "xx--", 0.0)), comparison="c")
    entry = record(
        tmp_path, tiny, "mine", report("xxx-", ("a", SMALL, "----", 0.0), ("b", SMALL, "----", 0.0)), twin="relu"
    )
    for seed, right in ((4, "xxx-"), (5, "xx--")):
        record(tmp_path, replace(plain(tiny), seed=seed), f"relu-{seed}", report("xxxx", ("a", SMALL, "----", 0.0)))
        record(tmp_path, replace(tiny, seed=seed), f"mine-{seed}", report(right, ("a", SMALL, "----", 0.0)))
    for name, change in {
        "alone": {"seed": 9},
        "longer": {"epochs": 3.0},
        "other": {"arguments": {"hidden": 4}},
    }.items():
        record(tmp_path, replace(tiny, **change), name, report("----", ("a", SMALL, "----", 0.0)))
    record(tmp_path, replace(plain(tiny), epochs=3.0), "longer-relu", report("xxxx", ("a", SMALL, "----", 0.0)))
    results = results_of(tmp_path, entry)
    assert [(row["attack"], row["seeds"], row["each"], row["points"]) for row in results["gains_over_seeds"]] == [
        ("clean", [3, 4, 5], [-25.0, -25.0, -50.0], -33.33),
        ("a, Linf 8/255", [3, 4, 5], [25.0, -25.0, -50.0], -16.67),
    ]
    assert (
        "pairs of networks that were trained so with seeds 3, 4, 5 differ by: clean -33.3 points ["
        in results["comparison"]
    )


def test_pairs_of_other_seeds_had_the_same_weights_put_in_whatever_those_were_called(tmp_path, tiny):
    def put_in(seed, giver, **more):
        config = replace(tiny, activation="some-name", frozen=True, seed=seed)
        return record(tmp_path, config, f"mine-{seed}", report("xxx-"), giver_sha256=giver, **more)

    for seed in (3, 4, 5):
        record(tmp_path, replace(plain(tiny), seed=seed), f"relu-{seed}", report("xxxx"))
    entry = put_in(3, "old", twin="relu-3")
    put_in(4, "new")
    put_in(5, "old")
    assert [*gains_by_seed(tmp_path, entry)] == [3, 5]


def test_a_worst_case_of_other_attacks_is_no_figure_of_another_seed(tmp_path, tiny):
    attacks = [(name, SMALL, broken, 1.0) for name, broken in (("a", "x---"), ("b", "-x--"), ("c", "--x-"))]
    for seed, count in ((3, 3), (4, 2), (5, 3)):
        for config in (plain(tiny), tiny):
            name = f"{config.family}-{seed}"
            record(tmp_path, replace(config, seed=seed), name, report("xxxx", *attacks[:count]))
    entry = replace(read_entry(tmp_path, "sparta-3"), twin="relu-3")
    found = {seed: [gain.attack for gain in gains] for seed, gains in gains_by_seed(tmp_path, entry).items()}
    whole = ["clean", "a, Linf 8/255", "b, Linf 8/255", "c, Linf 8/255", "worst case of each image, Linf 8/255"]
    assert found == {3: whole, 4: whole[:3], 5: whole}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"epochs": 3}, "were not trained alike: epochs is 3 there and 2 here. Expected the same"),
     ({"seed": 4}, "were not trained alike: seed is 4 there and 3 here. Expected the same"),
     ({"family": "silu"}, "twin has silu; expected the --twin of mine to have ReLU")],
)  # fmt: skip
def test_a_twin_that_was_trained_otherwise_is_refused(tmp_path, tiny, change, message):
    record(tmp_path, replace(plain(tiny), **change), "twin", report("xxxx"), comparison="c")
    entry = record(tmp_path, tiny, "mine", report("xxx-"), twin="twin")
    with pytest.raises(ConfigError, match=message):
        results_of(tmp_path, entry)


def timed(root, **more):
    """What ``benchmarks/activation_overhead.py`` prints, with numbers that tell every place apart."""
    rows = [
        {"case": case, "parameters": 7 + i, "flops": 1.1 + i, "ratios": {"train": 2.1 + i, "inference": 3.1 + i}}
        for i, case in enumerate(("relu", "sparta", "sparta (frozen)"))
    ]
    setting = {"host": HOST, "precision": "fp32", **more}
    tables = [{"setting": setting, "rows": rows}, {"setting": {"host": "other", "precision": "bf16"}, "rows": rows[:1]}]
    (root / OVERHEADS).mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": {"hardware": "a machine"}, "results": tables})
    (root / OVERHEADS / "o.json").write_text(text)


def test_what_a_family_costs_is_told_of_itself_and_of_it_frozen(tmp_path, tiny):
    timed(tmp_path)
    assert overhead_of(tmp_path, "o.json", tiny) == {
        "host": HOST, "host_parameters": sum(p.numel() for p in create_host(HOST, 10).parameters()), "parameters": 8,
        "flops": 2.1, "inference": 4.1, "train": 3.1, "frozen": 4.1, "precision": "fp32", "hardware": "a machine",
        "record": "o.json",
    }  # fmt: skip


@pytest.mark.parametrize("change", [{"host": "resnet18_cifar"}, {"family": "relu", "arguments": {}}])
def test_what_another_host_or_family_costs_is_not_put_onto_a_card(tmp_path, tiny, change):
    """There is no frozen ReLU among what was timed."""
    timed(tmp_path)
    config = replace(tiny, **change)
    with pytest.raises(
        ConfigError,
        match=rf"o.json timed relu, .* in {HOST}; expected {config.family} in {config.host}, frozen and not",
    ):
        overhead_of(tmp_path, "o.json", config)
