"""Schedules, checkpoints, presets and squares, by value."""

from typing import Any

import pytest
import torch
from attack_cases import distances, problem

from sparta_hub import ThreatModel
from sparta_hub.attacks import (
    ATTACKS,
    PRESETS,
    SCHEDULES,
    AttackPreset,
    apgd_targeted,
    cw,
    fab,
    mpgd,
    pgd,
    run_preset,
    square,
)
from sparta_hub.attacks.apgd import checkpoints
from sparta_hub.attacks.fab import _onto
from sparta_hub.attacks.square import (
    HALVINGS,
    _bump,
    _change_l2,
    _change_linf,
    _corner,
    _grid,
    _inside,
    _placed,
    _side,
    _signs,
    _stripes,
)
from sparta_hub.errors import AttackError

SIXTEEN, EIGHT, FOUR = (ThreatModel("linf", n / 255) for n in (16, 8, 4))


def test_cw_finds_the_exact_distance_to_a_plane():
    model, x, y = problem()
    x_adv = cw(model, x, y, ThreatModel("l2", 1e6))
    found, exact = (x_adv - x).flatten(1).norm(dim=1), distances(model, x, "l2")
    assert (model(x_adv).argmax(1) == 1 - y).all()
    assert (found >= exact * (1 - 1e-9)).all()
    assert (found <= exact * 1.02).all()
    sure = cw(model, x, y, ThreatModel("l2", 1e6), confidence=1.0, steps=50, search_steps=5)
    assert ((model(sure)[:, 0] - model(sure)[:, 1]).abs() >= 1 - 1e-9).all()
    targeted = cw(model, x, 1 - y, ThreatModel("l2", 1e6, targeted=True))
    assert torch.equal(targeted, x_adv)  # the other two classes are out of reach


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_finds_the_exact_distance_to_a_plane(norm, targeted):
    model, x, y = problem()
    threat = ThreatModel(norm, 1.0 if norm == "linf" else 1e6, targeted)
    x_adv = fab(model, x, 1 - y if targeted else y, threat, steps=20)
    assert (model(x_adv).argmax(1) == 1 - y).all()
    ratio = threat.distance(x_adv, x) / distances(model, x, norm)
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio <= 1.02).all()
    assert torch.equal(fab(model, x, 1 - y, ThreatModel(norm, 0.1)), x)  # wrong from the start: the change is none


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_way_onto_a_plane_is_the_shortest_inside_the_box(norm):
    threat = ThreatModel(norm, 1.0)
    x = torch.tensor([0.95, 0.5], dtype=torch.float64).view(1, 2, 1, 1)
    normal = torch.tensor([1.0, 1.0], dtype=torch.float64).view(1, 2, 1, 1)
    for gap, way in ((-0.06, (0.03, 0.03)), (-0.2, (0.05, 0.15)), (0.06, (-0.03, -0.03)), (-9.0, (0.05, 0.5))):
        delta = _onto(x, torch.tensor([gap], dtype=torch.float64), normal, threat)
        assert delta.flatten().tolist() == pytest.approx(way, abs=1e-6)


def test_cw_gives_the_image_back_where_there_is_nothing_to_find():
    model, x, y = problem()
    never = torch.full_like(y, 3)
    assert torch.equal(cw(model, x, never, ThreatModel("l2", 5.0, targeted=True), steps=3, search_steps=2), x)
    with pytest.raises(AttackError, match="norm is 'linf'; cw expects 'l2'. For 'linf' use cw_linf"):
        cw(model, x, y, ThreatModel("linf", 0.1))


def test_schedules_and_what_a_default_step_is():
    assert [SCHEDULES["constant"](k, 4) for k in range(4)] == [1, 1, 1, 1]
    assert [SCHEDULES["cosine"](k, 4) for k in range(4)] == pytest.approx([1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4])
    model, x, y = problem()
    threat = ThreatModel("linf", 0.1)
    for schedule in SCHEDULES:  # all of the steps together are 2.5 ε, so one of them is too
        one = pgd(model, x, y, threat, steps=1, schedule=schedule, random_start=False)
        assert torch.allclose(one, pgd(model, x, y, threat, steps=1, step_size=0.25, random_start=False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": "l1"}, "loss is 'l1'; expected one of ce, margin, dlr"),
        ({"schedule": "step"}, "schedule is 'step'; expected one of constant, cosine"),
        ({"restarts": 0}, "restarts is 0; expected 1 or more"),
        ({"steps": "2"}, "steps is '2'; expected 1 or more, a whole number"),
        ({"steps": 2.0}, "steps is 2.0; expected 1 or more, a whole number"),
        ({"step_size": "2/255"}, "step_size is '2/255'; expected a finite number above 0"),
        ({"restarts": 2, "random_start": False}, "restarts is 2 without a random start; expected 1"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    model, x, y = problem()
    with pytest.raises(AttackError, match=message):
        pgd(model, x, y, ThreatModel(), **arguments)
    with pytest.raises(AttackError, match="y is torch.int32; expected class numbers as torch.int64"):
        pgd(model, x, y.int(), ThreatModel())
    with torch.inference_mode(), pytest.raises(AttackError, match="Under torch.inference_mode there are no gradients"):
        pgd(model, x, y, ThreatModel())
    with pytest.raises(AttackError, match="apgd_targeted picks its targets itself"):
        apgd_targeted(model, x, y, ThreatModel(targeted=True))


def test_a_generator_on_another_device_is_refused():
    model, x, y = problem()

    class Elsewhere:
        device = torch.device("cuda:0")

    with pytest.raises(AttackError, match=r"generator is on cuda:0 and the images on cpu; .* torch.Generator\('cpu'\)"):
        pgd(model, x, y, ThreatModel(), generator=Elsewhere())  # pyright: ignore[reportArgumentType]


def test_checkpoints_are_the_papers():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]


@pytest.mark.parametrize(
    ("name", "attack", "threat", "arguments"),
    [
        *((f"sparta-pgd-{n}", "pgd", ThreatModel("linf", 16 / 255, True),
           {"steps": n, "step_size": 1 / 255, "random_start": False}) for n in (10, 30, 50)),
        *((f"thesis-pgd-{n}", "pgd", EIGHT, {"steps": n, "step_size": 2 / 255}) for n in (10, 20, 50)),
        ("thesis-cw", "cw_linf", EIGHT, {"steps": 50, "step_size": 2 / 255}),
        ("thesis-apgd", "apgd", EIGHT, {"steps": 100}),
        ("thesis-aa", "autoattack", EIGHT, {"version": "standard"}),
        ("sat-pgd-200-imagenet", "pgd", FOUR, {"steps": 200, "step_size": 1 / 255}),
        ("sat-pgd-200-cifar", "pgd", EIGHT, {"steps": 200, "step_size": 1 / 255}),
    ],
)  # fmt: skip
def test_presets_are_those_of_the_tables(name, attack, threat, arguments):
    preset = PRESETS[name]
    assert (preset.name, preset.attack, preset.threat, preset.arguments) == (name, attack, threat, arguments)
    assert preset.attack in ATTACKS
    assert preset.source


def test_every_preset_is_tested_above():
    assert len(PRESETS) == 11


def test_a_targeted_preset_draws_wrong_classes_and_moves_no_pixel_farther_than_its_steps():
    model, x, y = problem()
    first, second = (
        run_preset(PRESETS["sparta-pgd-10"], model, x, y, num_classes=4, generator=torch.Generator().manual_seed(2))
        for _ in "ab"
    )
    assert torch.equal(first, second)
    assert (SIXTEEN.distance(first, x) <= 10 / 255 + 1e-9).all()
    two = AttackPreset("two", "pgd", ThreatModel("linf", 0.05, targeted=True), "ours")
    assert (model(run_preset(two, model, x, y, num_classes=2)).argmax(1) == 1 - y).all()  # one wrong class of two
    with pytest.raises(AttackError, match="attack is 'bim'; expected one of fgsm, pgd"):
        run_preset(AttackPreset("b", "bim", EIGHT, "ours"), model, x, y, num_classes=4)


def test_squares_begin_at_the_edge_of_the_ball_and_stay_there():
    x = torch.full((3, 3, 12, 12), 0.5, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    linf, l2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.7)
    stripes = _stripes(x, linf, generator)
    assert torch.allclose((stripes - x).abs(), torch.tensor(0.1, dtype=torch.float64))
    assert torch.equal(stripes[:, :, :1].expand_as(x), stripes)
    changed = _change_linf(stripes, x, 4, linf, generator)
    assert torch.allclose((changed - x).abs(), torch.tensor(0.1, dtype=torch.float64))
    assert ((changed != stripes).flatten(2).sum(2) <= 16).all()
    grid = _grid(x, l2, generator)
    moved = _change_l2(grid, x, 4, l2, generator)
    assert torch.allclose(l2.distance(grid, x), torch.tensor(0.7, dtype=torch.float64))
    assert torch.allclose(l2.distance(moved, x), torch.tensor(0.7, dtype=torch.float64))
    assert not torch.equal(moved, grid)


def test_the_l2_grid_is_five_bumps_to_a_side_all_of_one_length():
    x = torch.full((2, 3, 10, 10), 0.5, dtype=torch.float64)
    delta = _grid(x, ThreatModel("l2", 0.7), torch.Generator().manual_seed(0)) - x
    lengths = delta.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).norm(dim=4)
    assert torch.allclose(lengths, torch.full((2, 3, 5, 5), 0.7 / 75**0.5, dtype=torch.float64))


def test_a_square_of_l2_is_emptied_and_another_bent_with_its_length_and_what_was_left():
    x, threat = torch.full((4, 3, 12, 12), 0.5, dtype=torch.float64), ThreatModel("l2", 0.7)
    delta = 0.5 * (_grid(x, threat, torch.Generator().manual_seed(0)) - x)  # so that much of ε is left
    draws = torch.Generator().manual_seed(1)
    to, away = _corner(x, 4, draws), _corner(x, 4, draws)
    bumps, signs = _placed(x, to, 4, draws), _signs((4, 3, 1, 1), x, draws)
    expected = delta.clone()
    for b in range(4):
        new, old = _inside(x, to, 4)[b, 0], _inside(x, away, 4)[b, 0]
        left = 0.7**2 - delta[b].square().sum()
        for c in range(3):
            length = (delta[b, c, new | old].square().sum() + left / 3).sqrt()
            bent = delta[b, c] * new / (delta[b, c] * new).norm() + signs[b, c] * bumps[b, 0]
            expected[b, c, old] = 0
            expected[b, c, new] = (length * bent / (bent * new).norm())[new]
    moved = _change_l2(x + delta, x, 4, threat, torch.Generator().manual_seed(1))
    torch.testing.assert_close(moved - x, expected)


def test_squares_lie_anywhere_and_bumps_both_ways():
    x, generator = torch.zeros(400, 1, 7, 7), torch.Generator().manual_seed(0)
    for where in _corner(x, 3, generator):
        assert set(where.flatten().tolist()) == {0, 1, 2, 3, 4}
    corner = torch.zeros(400, 1, 1, 1, dtype=torch.int64), torch.zeros(400, 1, 1, 1, dtype=torch.int64)
    turned = sum(torch.equal(one[0, :3, :3], _bump(3, x).T) for one in _placed(x, corner, 3, generator))
    assert 150 < turned < 250


def test_square_asks_no_image_more_often_than_it_may_and_none_that_is_broken():
    model, x, y = problem()
    away = distances(model, x, "linf")
    asked, held = [], []

    class Counted(torch.nn.Module):
        def forward(self, x):
            asked.append(len(x))
            logits = model(x)
            held.append(int((logits.argmax(1) == y[0]).sum()))
            return logits

    x, y = x[y == y[0]], y[y == y[0]]
    square(Counted(), x, y, ThreatModel("linf", 1e-6), queries=7)
    assert asked == [len(x)] * 7
    asked.clear()
    held.clear()
    square(Counted(), x, y, ThreatModel("linf", 1.5 * float(away.median())), queries=50)
    assert asked[1:] == [count for count in held if count][: len(asked) - 1]
    assert len({*asked}) > 1, "some fell on the way"
    asked.clear()
    square(Counted(), x, 1 - y, ThreatModel("linf", 1e-6), queries=7)
    assert asked == [len(x)], "all were wrong before the first change"


def test_squares_begin_as_large_as_they_are_told():
    model, x, y = problem()
    stripes, changed = (
        square(model, x, y, ThreatModel("linf", 1e-6), queries=n, area=1 / 36, loss="ce") for n in (1, 2)
    )
    pixels = (stripes != changed).any(1).flatten(1).sum(1)
    assert (pixels <= 1).all()
    assert (pixels == 1).any()


def test_the_bump_has_two_halves_of_opposite_sign_and_length_1():
    for side in (1, 2, 3, 5, 8):
        eta = _bump(side, torch.zeros(1, dtype=torch.float64))
        assert eta.shape == (side, side)
        assert eta.norm().item() == pytest.approx(1)
        if side > 1:
            assert (eta[:, : side // 2] > 0).all()
            assert (eta[:, side // 2 :] < 0).all()


def test_squares_shrink_on_the_papers_schedule_stretched_to_the_budget():
    x = torch.zeros(1, 3, 32, 32)
    assert [_side(0.8, k, 10_000, x) for k in (1, 11, 51, 9999)] == [29, 20, 14, 2]
    assert _side(0.8, 6, 5000, x) == _side(0.8, 11, 10_000, x)
    assert len(HALVINGS) == 8
    assert _side(0.8, 1, 100, torch.zeros(1, 3, 1, 1)) == 1


@pytest.mark.parametrize(
    ("attack", "arguments", "message"),
    [
        (pgd, {"step_size": -2 / 255}, "step_size is -0.00784.*; expected a finite number above 0"),
        (pgd, {"step_size": 0}, "step_size is 0;"),
        (pgd, {"step_size": float("nan")}, "step_size is nan;"),
        (pgd, {"step_size": float("inf")}, "step_size is inf;"),
        (mpgd, {"step_size": -1}, "step_size is -1;"),
        (cw, {"learning_rate": -1}, "learning_rate is -1;"),
        (cw, {"initial_c": 0}, "initial_c is 0;"),
        (square, {"area": -1}, "area is -1; expected a share of the image: above 0, at most 1"),
    ],
)
def test_lengths_that_would_leave_the_images_as_they_are_are_refused(attack, arguments, message):
    model, x, y = problem()
    with pytest.raises(AttackError, match=message):
        attack(model, x, y, ThreatModel("l2" if attack is cw else "linf", 0.1), **arguments)


@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: (x * 255).byte().to(x.dtype) / 255])
def test_a_model_without_gradients_is_an_error_that_says_so(cut):
    model, x, y = problem()

    class Cut(torch.nn.Module):
        def forward(self, x):
            return model(cut(x))

    for _ in range(2):  # logits that have no gradient in the images, then none at all
        with pytest.raises(AttackError, match="logits have no gradient with respect to the images: .*square needs no"):
            pgd(Cut(), x, y, ThreatModel("linf", 0.1))
        model.requires_grad_(False)


def test_one_gradient_on_the_way_that_is_not_a_number_is_an_error():
    plane, x, y = problem()
    calls = []

    class Broken(torch.nn.Module):
        def forward(self, x):
            calls.append(x)
            return plane(x) + (0 * x.sum()).abs().sqrt() if len(calls) == 2 else plane(x)

    with pytest.raises(AttackError, match="gradient that is not a finite number"):
        pgd(Broken(), x, y, ThreatModel("linf", 0.1), steps=4)
    assert len(calls) == 4, "asked once, at the end"


def test_attacked_images_are_cut_out_of_the_graph_of_the_images():
    model, x, y = problem()
    assert not pgd(model, x.clone().requires_grad_(), y, ThreatModel("linf", 0.1), steps=2).requires_grad


class Apart(torch.nn.Module):
    """Class 1 where the mean is above 0.4, else class 0; class 2 never, but likelier the darker the image is."""

    def forward(self, x):
        mean = x.flatten(1).mean(1)
        return torch.stack([torch.zeros_like(mean), mean - 0.4, -mean], 1)


def test_no_targeted_restart_takes_back_an_error_that_another_start_made():
    x, threat = torch.full((64, 1, 1, 1), 0.39), ThreatModel("linf", 0.02, targeted=True)
    wanted = torch.full((64,), 2)
    ends = torch.stack(
        [Apart()(pgd(Apart(), x, wanted, threat, steps=1, step_size=1e-4, restarts=n)).argmax(1) for n in range(1, 9)]
    )
    assert 0 < ends[0].sum() < 32
    assert (ends.diff(dim=0) >= 0).all()
    assert ends[-1].sum() > ends[0].sum()


def test_an_image_that_has_fallen_is_not_begun_anew():
    x, y, threat = torch.full((64, 1, 1, 1), 0.39), torch.zeros(64, dtype=torch.int64), ThreatModel("linf", 0.02)
    sizes = []
    fallen = [
        int(Apart()(pgd(Apart(), x, y, threat, steps=1, step_size=1e-4, restarts=n)).argmax(1).sum())
        for n in range(1, 5)
    ]
    pgd(Apart(), x, y, threat, steps=1, step_size=1e-4, restarts=5, watch=lambda _, value: sizes.append(len(value)))
    assert sizes == [64, *(64 - count for count in fallen)]
    assert 0 < fallen[0] < fallen[-1]


def test_fab_looks_at_the_best_classes_only():
    model, x, y = problem()
    calls = []
    hook = model.register_full_backward_hook(lambda *_: calls.append(1))
    few, all_of_them = (fab(model, x, y, ThreatModel("linf", 0.3), steps=2, targets=n) for n in (1, 99))
    hook.remove()
    assert len(calls) == 2 * 1 + 2 * 3
    assert few.shape == all_of_them.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threat": 8 / 255}, r"threat is 0.03.*; expected ThreatModel\('linf', 8 / 255\), for example"),
        ({"generator": 0}, r"generator is 0; expected one: torch.Generator\('cpu'\).manual_seed\(0\)"),
        ({"y": [0, 1]}, "x is a Tensor and y a list; expected two tensors"),
        ({"x": [0, 1]}, "x is a list and y a Tensor; expected two tensors"),
        (
            {"model": max},
            r"model is <built-in function max>; expected a network: a function has to be put into a module",
        ),
    ],
)
def test_arguments_of_another_kind_are_refused(change, message):
    model, x, y = problem()
    with pytest.raises(AttackError, match=message):
        pgd(**{"model": model, "x": x, "y": y, "threat": ThreatModel(), "steps": 1, **change})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize(("attack", "name", "norm"), [(mpgd, "decay", "linf"), (cw, "confidence", "l2")])
def test_numbers_that_would_switch_an_attack_off_are_refused(attack, name, norm, value):
    model, x, y = problem()
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(AttackError, match=f"{name} is {value}; expected a finite number, 0 or more"):
        attack(model, x, y, ThreatModel(norm, 0.1), steps=1, **arguments)


@pytest.mark.parametrize("attack", [cw, apgd_targeted])
def test_a_radius_is_no_threat(attack):
    model, x, y = problem()
    with pytest.raises(AttackError, match=r"threat is 0.5; expected ThreatModel\('linf', 8 / 255\)"):
        attack(model, x, y, 0.5)
