"""Which images are held out: by image, by track, by share."""

import pytest
import torch

from training.errors import ConfigError
from training.split import hold_out, share, tracks


def test_the_split_is_a_partition_that_the_seed_decides():
    train, held = hold_out(torch.arange(100), 10, seed=1)
    assert len(held) == 10
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(100))
    assert torch.equal(hold_out(torch.arange(100), 10, seed=1)[1], held)
    assert not torch.equal(hold_out(torch.arange(100), 10, seed=2)[1], held)


def test_no_group_is_on_both_sides():
    groups = torch.arange(12).repeat_interleave(torch.arange(1, 13))
    train, held = hold_out(groups, 20, seed=0)
    assert not {*groups[train].tolist()} & {*groups[held].tolist()}
    assert 20 <= len(held) < 20 + 12
    assert len(train) + len(held) == len(groups)


def test_nothing_may_be_held_out_but_something_must_be_left():
    train, held = hold_out(torch.arange(5), 0, seed=0)
    assert (train.tolist(), held.tolist()) == (list(range(5)), [])
    with pytest.raises(ConfigError, match="validation is 5 of 5 training images; expected fewer"):
        hold_out(torch.arange(5), 5, seed=0)


def test_tracks_are_thirty_images_of_a_class():
    found = tracks(torch.tensor([0] * 60 + [1] * 90))
    assert found.unique_consecutive(return_counts=True)[1].tolist() == [30] * 5
    assert len(found.unique()) == 5


def test_the_short_track_of_class_33_moves_those_behind_it():
    y = torch.tensor([32] * 30 + [33] * 689 + [34] * 30)
    _, lengths = tracks(y).unique_consecutive(return_counts=True)
    assert lengths.tolist() == [30] * 20 + [29] + [30] * 4
    assert len(tracks(y).unique()) == 25


def test_labels_in_another_order_have_no_tracks():
    with pytest.raises(ConfigError, match="gtsrb are not in the official order.*--set validation=0"):
        tracks(torch.tensor([0, 1, 0]))


def test_a_share_is_a_fair_sample_in_the_same_order():
    index = torch.arange(1000, 2000)
    part = share(index, 0.1, seed=0)
    assert len(part) == 100
    assert {*part.tolist()} <= {*index.tolist()}
    assert part.tolist() == sorted(part.tolist())
    assert 1300 < part.float().mean() < 1700  # not the first ones
    assert torch.equal(share(index, 0.1, seed=0), part)
    assert not torch.equal(share(index, 0.1, seed=1), part)
    assert len(share(index, 1e-9, seed=0)) == 1
    for limit in (0, -1, 1.5):
        with pytest.raises(ConfigError, match=f"limit is {limit}; expected a share above 0 and up to 1"):
            share(index, limit, seed=0)
