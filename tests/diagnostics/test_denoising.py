"""What an activation does to the noise of an attack, by hand."""

import pytest
import torch
from torch import nn

import sparta_hub
from sparta_hub.diagnostics import denoising, feature_maps
from sparta_hub.errors import SiteError
from tests.conftest import small_host
from tests.diagnostics.networks import injected_activation


class Halve(nn.Module):
    def forward(self, x):
        return torch.cat([x[:, :1], 0 * x[:, 1:]], 1)  # keeps one channel


def network():
    return nn.Sequential(injected_activation(Halve(), 2, "G1.B1"), nn.Flatten())


def test_distances_and_angles_by_hand():
    clean = torch.tensor([[[[3.0]], [[4.0]]]])  # two channels of one pixel
    attacked = torch.tensor([[[[3.0]], [[0.0]]]])
    (site,) = denoising(network(), clean, attacked)
    assert (site.site, site.path) == ("G1.B1", "0")
    assert site.before_distance == pytest.approx(4 / 5)
    assert site.before_cosine == pytest.approx(3 / 5)
    assert (site.after_distance, site.after_cosine) == (0, 1)


def test_means_over_batches_leave_out_images_without_a_map():
    clean = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]])[:, :, None, None]
    attacked = torch.tensor([[3.0, 0.0], [1.0, 1.0], [1.0, 1.0]])[:, :, None, None]
    for batch_size in (1, 3):
        (site,) = denoising(network(), clean, attacked, batch_size=batch_size)
        assert site.before_distance == pytest.approx((0.8 + 1) / 2)
        assert site.before_cosine == pytest.approx((0.6 + 0.5**0.5) / 2)


def test_a_relu_host_at_the_same_sites():
    x = torch.rand(2, 3, 64, 64)
    host = small_host().eval()
    plain = denoising(host, x, (x + 0.1).clamp(0, 1), placement="last")
    sparta_hub.inject(host, "relu", placement="last")
    injected = denoising(host, x, (x + 0.1).clamp(0, 1))
    assert [site.site for site in plain] == ["G1.B1", "G2.B1", "G3.B1", "G4.B1"]
    assert injected == plain  # ReLU for ReLU
    assert all(site.after_distance > 0 and site.after_cosine < 1 for site in plain)


def test_maps_before_an_activation_in_place_and_hooks_removed_also_on_an_error():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    x = torch.tensor([[[[-1.0]], [[2.0]]]])
    before, after = feature_maps(model, ["1"], x.clone())["1"]
    assert before.tolist() == x.tolist()
    assert torch.equal(after, x.relu())
    broken = nn.Sequential(nn.ReLU(), nn.Linear(7, 7)).train()
    with pytest.raises(RuntimeError):
        feature_maps(broken, ["0", "1"], x)
    with pytest.raises(AttributeError):
        feature_maps(broken, ["0", "2"], x)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in broken.modules())
    assert broken.training


def test_what_cannot_be_compared():
    x = torch.rand(2, 3, 8, 8)
    with pytest.raises(SiteError, match="say which sites to look at: placement='last'"):
        denoising(nn.Sequential(nn.ReLU()), x, x)
    with pytest.raises(SiteError, match=r"x_clean is \(2, 3, 8, 8\) and x_adv \(1, 3, 8, 8\)"):
        denoising(network(), x, x[:1])
