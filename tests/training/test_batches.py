"""Batches on the device: augmentation, order, and the same images whatever interrupts or shares the run."""

from itertools import islice

import pytest
import torch
import torch.nn.functional as F

from sparta_hub.data import Images
from tests.training.conftest import noise
from training.batches import InMemory, augment, check_enough
from training.errors import ConfigError
from training.methods import Draws
from training.parallel import World


def draws(count, seed=0):
    return Draws(torch.Generator().manual_seed(seed), slice(0, count), count)


def batches(world=None, augmentation="crop_flip", seed=0, count=40):
    return InMemory(noise(count), 8, augmentation, seed, world or World())


@pytest.mark.parametrize("flip", [True, False])
def test_augmentation_crops_and_flips_each_image_for_itself(flip):
    x = torch.rand(50, 3, 8, 8)
    out = augment(x, draws(50), flip=flip)
    padded = F.pad(x, (4, 4, 4, 4))
    found, mirrored, places = 0, 0, set()
    for image, source in zip(out, padded, strict=True):
        shifts = {(i, j): source[:, i : i + 8, j : j + 8] for i in range(9) for j in range(9)}
        plain = {place for place, s in shifts.items() if torch.equal(image, s)}
        turned = {place for place, s in shifts.items() if torch.equal(image, s.flip(2))}
        found, mirrored, places = found + bool(plain | turned), mirrored + bool(turned), places | plain | turned
    assert found == 50
    assert mirrored == 0 if not flip else 15 < mirrored < 35
    assert len(places) > 25
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_a_pass_has_every_image_once_in_an_order_of_its_own():
    plain = batches(augmentation="none")
    seen = [x for x, _ in islice(plain.stream(0), 10)]
    first, second = torch.cat(seen[:5]), torch.cat(seen[5:])
    images = noise().floats(slice(None))
    for epoch in (first, second):
        assert torch.equal(epoch.flatten(1).sum(1).sort().values, images.flatten(1).sum(1).sort().values)
    assert not torch.equal(first, second)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert plain.per_epoch == 5


def test_a_stream_that_begins_later_goes_on_with_the_same_batches():
    whole = list(islice(batches().stream(0), 9))
    for first in (1, 4, 5, 7):
        for (x, y), (a, b) in zip(whole[first:], batches().stream(first), strict=False):
            assert torch.equal(x, a)
            assert torch.equal(y, b)
    assert not torch.equal(next(batches(seed=1).stream(0))[0], whole[0][0])


def test_processes_see_the_rows_of_the_batch_that_one_would_see():
    x, y = next(batches().stream(3))
    parts = [next(batches(World(rank=rank, count=2)).stream(3)) for rank in range(2)]
    assert torch.equal(torch.cat([part[0] for part in parts]), x)
    assert torch.equal(torch.cat([part[1] for part in parts]), y)


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match="batch_size is 8; expected a multiple of the 3 processes"):
        next(batches(World(rank=0, count=3)).stream(0))


def test_too_few_images_are_answered():
    with pytest.raises(ConfigError, match="There are 5 images to train on and a batch has 8.*--set batch_size=5"):
        check_enough(5, 8)


def test_every_pass_augments_anew():
    ramp = torch.arange(32 * 32).remainder(251).to(torch.uint8).view(1, 1, 32, 32).expand(8, 3, 32, 32).contiguous()
    same = InMemory(Images(ramp, torch.zeros(8, dtype=torch.int64), "ramp"), 8, "crop_flip", 0, World())
    (first, _), (second, _) = islice(same.stream(0), 2)  # the same picture eight times, whatever the order
    assert not torch.equal(first, second)
    assert len({tuple(image.flatten().tolist()) for image in first}) > 4
