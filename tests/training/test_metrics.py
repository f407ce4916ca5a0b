"""What is seen of a run."""

import json

import pytest

from training.metrics import Log, draw_curve

ROWS = [
    {"kind": "loss", "step": 2, "epoch": 0.5, "loss": 2.3, "lr": 0.1, "images_per_second": 123.4, "seconds": 1.0},
    {"kind": "validation", "step": 4, "epoch": 1.0, "train_loss": 2.2, "clean": 40.0, "pgd": 20.0, "seconds": 2.0},
]


def test_lines_after_the_checkpoint_are_dropped_and_others_follow(tmp_path):
    log = Log(tmp_path, [], name="a", step=0, steps=8)
    for row in (*ROWS, {**ROWS[0], "step": 6}):
        log.add(row)
    log.close()
    log = Log(tmp_path, ROWS, name="a", step=4, steps=8)
    log.add({**ROWS[0], "step": 6, "loss": 1.0})
    log.close()
    found = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert found == [*ROWS, {**ROWS[0], "step": 6, "loss": 1.0}]


def test_the_bar_shows_loss_accuracies_and_speed(tmp_path, capsys):
    log = Log(tmp_path, [], name="recipe", step=0, steps=8)
    for row in ROWS:
        log.add(row)
    log.bar.refresh()
    log.say("a word")
    log.close()
    out, err = capsys.readouterr()
    assert "recipe" in err
    assert "loss=2.3, img/s=123.4, clean=40, PGD-10=20" in err
    assert "a word" in out


def test_a_value_that_is_no_number_is_refused(tmp_path):
    log = Log(tmp_path, [], name="a", step=0, steps=8)
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.add({"kind": "loss", "step": 1, "loss": float("nan")})
    log.close()


def test_tensorboard_sees_the_same_numbers(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = Log(tmp_path, [], name="a", step=0, steps=8)
    for row in ROWS:
        log.add(row)
    log.close()
    events = reader.EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(e.step, round(e.value, 5)) for e in events.Scalars("loss")] == [(2, 2.3)]
    assert [(e.step, e.value) for e in events.Scalars("pgd")] == [(4, 20.0)]


def test_the_curve_is_a_picture_also_of_nothing(tmp_path):
    for rows in (ROWS, []):
        draw_curve(rows, tmp_path / "curve.png", title="a")
        assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]
