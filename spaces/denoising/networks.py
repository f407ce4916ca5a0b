"""Which networks can be shown: artifact folders with the trained host's weights, and the ReLU twin of each."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sparta_hub
from sparta_hub.artifacts import read_config
from sparta_hub.data import CLASSES
from sparta_hub.errors import SpartaError
from sparta_hub.hub import Info
from sparta_hub.spec import Origin

HERE = Path(__file__).parent
ROOTS = (HERE / "artifacts", HERE.parent.parent / "model_cards")  # on a Space, pushed along; in a checkout, the zoo
SAME_TRAINING = ("method", "epochs", "steps", "batch_size", "seed", "lr", "weight_decay", "label_smoothing",
                 "ema_decay")  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """An artifact that holds a whole trained network.

    Args:
        name: of its folder, such as ``sparta-res18-cifar``.
        info: what ``sparta_hub.info`` says of it.
        files: sha256 of its files of weights.
    """

    name: str
    info: Info
    files: Mapping[str, str]

    @property
    def family(self) -> str:
        """Its activation family."""
        return self.info.spec.family

    @property
    def label(self) -> str:
        """The family as people write it."""
        return {"sparta": "SPARTA", "relu": "ReLU"}.get(self.family, self.family)

    @property
    def origin(self) -> Origin:
        """Where it was trained."""
        assert self.info.spec.origin is not None  # an artifact with host weights has one: find_entries looks
        return self.info.spec.origin

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of its classes, or their numbers where nobody knows names."""
        known = CLASSES.get(self.origin.dataset, ())
        count = self.origin.num_classes
        return tuple(known) if len(known) == count else tuple(f"class {i}" for i in range(count))

    @property
    def weights_sha256(self) -> str:
        """One checksum of all its weights: stored results belong to exactly these."""
        rows = "".join(f"{name} {digest}\n" for name, digest in sorted(self.files.items()))
        return hashlib.sha256(rows.encode()).hexdigest()


def find_entries(roots: Iterable[Path] = ROOTS) -> dict[str, Entry]:
    """All artifacts with host weights under ``roots`` by name, the first of a name; SPARTA first, ReLU last.

    A folder that cannot be read is left out: one damaged artifact does not take the page down.
    """
    found: dict[str, Entry] = {}
    for folder in (path.parent for root in roots for path in sorted(root.glob("*/config.json"))):
        try:
            info = sparta_hub.info(folder)
            files = weight_files(folder)
        except SpartaError:
            continue
        if info.has_host and info.spec.origin is not None:
            found.setdefault(folder.name, Entry(folder.name, info, files))
    rank = {"sparta": 0, "relu": 2}
    return dict(sorted(found.items(), key=lambda item: (rank.get(item[1].family, 1), item[0])))


def weight_files(folder: Path) -> dict[str, str]:
    """Sha256 of an artifact's files of weights, as its config says and ``sparta_hub.load`` checks."""
    return {name: digest for name, digest in read_config(folder).files.items() if name.endswith(".safetensors")}


def twin_of(entry: Entry, entries: Mapping[str, Entry]) -> Entry | None:
    """The ReLU network that was made in all else alike, if there is one.

    It has the family ``relu`` at the same sites, the same origin (host, classes, stem, data set, threat model), and in
    its record of training the same values of ``SAME_TRAINING``. A record that lacks them has no twin.
    """
    for other in entries.values():
        if other.family == "relu" and entry.family != "relu" and _alike(entry, other):
            return other
    return None


def _alike(entry: Entry, other: Entry) -> bool:
    mine, its = (e.info.results.get("training", {}) for e in (entry, other))
    sites = [[site.name for site in e.info.spec.sites] for e in (entry, other)]
    return (
        sites[0] == sites[1]
        and entry.origin == other.origin
        and all(key in mine and mine[key] == its.get(key) for key in SAME_TRAINING)
    )
