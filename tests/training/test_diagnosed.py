"""A diagnosis goes onto the card of the weights it was made with, and of no others."""

import json
from dataclasses import replace

import pytest

import sparta_hub
from sparta_hub import ThreatModel
from sparta_hub.data import load_images
from sparta_hub.diagnostics import Diagnosis, Finding
from training import diagnosed
from training.errors import ConfigError
from training.publish import publish
from training.results import diagnosis_in_words


def test_a_diagnosis_goes_onto_the_card_of_its_own_weights(root, trained, tiny, monkeypatch):
    for name, config in (("one", tiny), ("two", replace(tiny, seed=tiny.seed + 1))):
        trained(root / name, config)
        publish(root, root / name, name, count=4, with_host=True, remark="a remark", comparison="a comparison",
                overhead="overhead.json")  # fmt: skip
    folder, out = root / "model_cards" / "one", root / "diagnosis"
    before = (folder / "README.md").read_text()
    assert "have not been run on these weights" in before
    found = sparta_hub.diagnose(
        sparta_hub.load(folder), load_images("cifar10", "test"), ThreatModel(), batch_size=2, seed=0, limit=2,
        quick=True, out=out, name="one",
    )  # fmt: skip
    with pytest.raises(ConfigError, match="is of other weights than .*two holds; run sparta-hub diagnose two again"):
        diagnosed.put(root, "two", out / "diagnosis.json")
    weights = (folder / "activations.safetensors").read_bytes()
    diagnosed.put(root, "one", out / "diagnosis.json")
    card = (folder / "README.md").read_text()
    assert "on the first 2 test images" in card
    alone = [found.evidence.report.robust(found.evidence.roles[role][0]).percent for role in ("one start", "margin")]
    assert "with `sparta-hub diagnose --quick` on" in card
    assert (
        f"{found.worst_case:.1f} % hold, where pgd (steps 10) alone leaves {alone[0]:.1f} % and apgd (steps 20, loss "
        f"margin) alone leaves {alone[1]:.1f} %."
    ) in card
    assert "have not been run" not in card
    assert (folder / "activations.safetensors").read_bytes() == weights
    assert json.loads((root / "training/records/diagnoses/one.json").read_text()) == found.to_json()
    sparta_hub.load(folder)
    one, two = Finding("one", "suspect", {}, "It is odd."), Finding("two", "suspect", {}, "So is this.")
    others = Finding("three", "ok", {}, "Fine."), Finding("four", "not applicable", {}, "No twin was given.")
    monkeypatch.setattr(Diagnosis, "findings", (one, *others, two))
    words = diagnosis_in_words(found)
    assert f"test images, {found.evidence.right} of them right without attack (one, three, two); under the" in words
    assert words.endswith(" %. Suspect: one: It is odd. two: So is this.")
    monkeypatch.setattr(Diagnosis, "findings", others)
    assert diagnosis_in_words(found).endswith(" %. Nothing was suspect; few images prove little.")
