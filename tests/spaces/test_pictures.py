"""Colours and sizes, by value."""

import io

import numpy as np
import pytest
import torch
from chart import Line, line_chart
from pictures import data_uri, largest, magnifier, perturbation, photo, png_bytes, strip, vector
from PIL import Image
from sheet import sheet


def pixel(image, x, y):
    return tuple(np.asarray(image.convert("RGB"))[y, x].tolist())


def test_pixels_become_squares():
    image = photo(torch.tensor([[[0.0, 1.0]], [[0.0, 0.5]], [[0.0, 0.0]]]), least=4)
    assert image.size == (4, 2)
    assert [pixel(image, i, 1) for i in range(4)] == [(0, 0, 0), (0, 0, 0), (255, 128, 0), (255, 128, 0)]


def test_the_perturbation_runs_from_black_to_white():
    x = torch.full((3, 1, 3), 0.5)
    added = perturbation(x, x + 0.1 * torch.tensor([-1.0, 0.0, 1.0]), 0.1).resize((3, 1), 0)
    assert [pixel(added, i, 0)[0] for i in range(3)] == [0, 128, 255]
    assert pixel(perturbation(x, x, 0), 0, 0) == (128, 128, 128)


def test_maps_share_a_scale_whose_middle_is_white():
    maps = torch.tensor([[[-2.0]], [[0.0]], [[2.0]], [[1.0]]])
    image = strip(maps, 2.0).convert("RGB")
    low, zero, high, half = (pixel(image, 2 * i, 0) for i in range(4))
    assert low[2] > low[0]  # blue
    assert high[0] > high[2]  # red
    assert min(zero) > 240
    assert max(abs(a - b) for a, b in zip(half, pixel(strip(maps, 4.0).convert("RGB"), 4, 0), strict=True)) == 0
    assert pixel(image, 1, 0) == (128, 128, 128)  # the gap


def test_nothing_but_zeros_is_white():
    assert min(pixel(strip(torch.zeros(1, 2, 2), 0.0).convert("RGB"), 0, 0)) > 240


def test_a_vector_is_a_square():
    image = vector(torch.tensor([1.0, -1.0, 0.0]), 1.0).convert("RGB")
    assert image.size == (2, 2)
    assert pixel(image, 1, 1) == (128, 128, 128)
    assert min(pixel(image, 0, 1)) > 240


@pytest.mark.parametrize(("top", "times"), [(1.0, 1), (0.6, 1), (0.5, 2), (0.3, 2), (0.2, 4), (0.001, 64), (0.0, 64)])
def test_differences_are_magnified_as_far_as_they_fit(top, times):
    assert magnifier([torch.tensor([-top]), torch.tensor([top / 2])], 1.0) == times
    assert largest([torch.tensor([-top])]) == pytest.approx(top)


def test_a_picture_as_an_address():
    uri = data_uri(png_bytes(Image.new("RGB", (2, 2), "red")))
    assert uri.startswith("data:image/png;base64,")


def test_the_sheet_shows_all_networks(networks, show, state):
    from show import make_screen

    scene = make_screen(show, state).scene
    image = Image.open(io.BytesIO(png_bytes(sheet(scene, "G1.B1", 2))))
    assert image.width >= 550
    assert image.height > 2 * 7 * 64  # two networks, seven rows each
    assert len(image.convert("RGB").getcolors(1 << 20) or []) > 50


def test_a_chart_puts_points_where_they_belong():
    svg = line_chart(
        [Line("a<b", "subject", [(0, 0), (10, 100)], [(0, 10), (80, 100)]), Line("b", "twin", [(0, 50), (10, 50)])],
        title="A & B", x_title="x", y_title="y", y_max=100,
    )  # fmt: skip
    assert "<title>A &amp; B</title>" in svg
    assert "a&lt;b" in svg
    assert 'd="M52.0 254.0L508.0 34.0"' in svg  # from the lower left to the upper right of the axes
    assert 'd="M52.0 144.0L508.0 144.0"' in svg
    assert 'd="M508.0 78.0V34.0"' in svg  # 80 to 100


@pytest.mark.parametrize(
    ("value", "end"), [(0.9, "1"), (1.16, "1.2"), (7.0, "8"), (0.0, "1"), (130, "160"), (0.011, "0.012")]
)
def test_the_axis_ends_at_a_round_number(value, end):
    assert f">{end}</text>" in line_chart([Line("a", "subject", [(0, value)])], title="", x_title="", y_title="")
