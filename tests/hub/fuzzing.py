"""Hostile artifacts by the thousand: ``python -m tests.hub.fuzzing --minutes 60``; ``test_fuzzing.py`` runs a few.

Valid configs and weights of every family are changed in one to four places, with the checksum made right again, as a
malicious publisher would. Reading one must end in an artifact that fits its file, or in a ``SpartaError`` of
some lines: no other exception, and no memory or time that the file does not justify.
"""

import argparse
import hashlib
import json
import resource
import struct
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from sparta_hub.activations import FAMILIES, build
from sparta_hub.artifacts import CONFIG, WEIGHTS, read_artifact
from sparta_hub.errors import SpartaError
from sparta_hub.spec import ActivationSpec, ArtifactConfig, Origin, SiteSpec

HEALTH = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
DTYPES = ["BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F4", "I16", "U16", "F16", "BF16", "I32", "U32",
          "F32", "C64", "F64", "I64", "U64"]  # fmt: skip
HUGE = [0, -1, 1, 2, 3, 7, 255, 4096, 2**16, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 10**30, 0.5, -1e308, 1e308, 1e-320]
NUMBERS = st.sampled_from(HUGE) | st.integers() | st.floats(allow_nan=False)
ODD = ["", "last", "all", "every", "G1.B1", "G{1,2}.B{1}", "layer1.0.act1", "../x", "/etc/passwd", "a" * 300,
       "__class__", "os.system", "${jndi:x}", "\x00", "\u202e", "activations.safetensors"]  # fmt: skip
TEXTS = st.sampled_from(ODD) | st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=12,
)


def valid(family: str, channels: int) -> tuple[dict[str, Any], bytes]:
    """``config.json`` as an object, and a file of weights, of two sites."""
    sites = tuple(SiteSpec(f"G{i}.B2", channels if FAMILIES[family].per_channel else None) for i in (1, 2))
    spec = ActivationSpec(family, dict(FAMILIES[family].defaults), "last", sites,
                          Origin("resnet18", 10, 32, "3x3", "cifar10", "Linf 8/255"))  # fmt: skip
    modules = [(site, build(family, site.channels, spec.arguments)) for site in sites]
    weights = save({f"{s.key}.{k}": t.contiguous() for s, m in modules for k, t in m.state_dict().items()})
    return ArtifactConfig(spec, {WEIGHTS: "0" * 64}, "0.1.0").to_json(), weights


VALID = {family: valid(family, 8) for family in FAMILIES}


def paths(value: Any, at: tuple = ()) -> list[tuple]:
    """The way to every place inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, item in items for path in paths(item, (*at, key)))]


def change(draw: st.DrawFn, value: Any, values: st.SearchStrategy) -> Any:
    """Replace, remove, double or add something at one place."""
    path = draw(st.sampled_from(paths(value)))
    if not path:
        return draw(values) if draw(st.integers(0, 20)) == 0 else value
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    match draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "add"])):
        case "replace":
            inside[path[-1]] = draw(values)
        case "remove":
            del inside[path[-1]]
        case "double" if isinstance(inside, list):
            inside.extend(json.loads(json.dumps(inside[:10])) * draw(st.sampled_from([1, 3, 1000])))
        case _ if isinstance(inside, dict):
            inside[draw(TEXTS)] = draw(values)
        case _:
            inside.append(draw(values))
    return value


@st.composite
def artifacts(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Bytes of ``config.json`` and of the weights."""
    config, weights = VALID[draw(st.sampled_from(sorted(VALID)))]
    config, where = (
        json.loads(json.dumps(config)),
        draw(st.sampled_from(["config", "arguments", "header", "bytes", "both"])),
    )
    size = struct.unpack("<Q", weights[:8])[0]
    header, body = json.loads(weights[8 : 8 + size]), weights[8 + size :]
    if where in ("config", "both"):
        for _ in range(draw(st.integers(1, 3))):
            config = change(draw, config, JSON)
    if where == "arguments":
        for name in config["activation"]["arguments"]:
            if draw(st.booleans()):
                config["activation"]["arguments"][name] = draw(NUMBERS | TEXTS | st.booleans() | st.none())
        for site in config["activation"]["sites"]:
            site["channels"] = draw(st.sampled_from([site["channels"], None, 1, 3, 65536]))
    if where in ("header", "both"):
        for _ in range(draw(st.integers(1, 4))):
            header = change(draw, header, JSON | st.sampled_from(DTYPES) | st.lists(NUMBERS, max_size=6))
        text = json.dumps(header).encode()
        weights = (
            struct.pack("<Q", draw(st.sampled_from([len(text), len(text), len(text) + 1, 0, 2**40]))) + text + body
        )
    if where == "bytes":
        data = bytearray(weights)
        for _ in range(draw(st.integers(1, 4))):
            at, junk = draw(st.integers(0, len(data))), draw(st.binary(max_size=40))
            data[at : at + draw(st.integers(0, len(junk) + 2))] = junk
        weights = bytes(data)
    if isinstance(config, dict) and isinstance(config.get("files"), dict) and draw(st.integers(0, 9)):
        config["files"][WEIGHTS] = hashlib.sha256(weights).hexdigest()
    return json.dumps(config).encode(), weights


def read(config: bytes, weights: bytes, folder: Path) -> str:
    """Read one; what came of it in a word. Anything but an artifact that its file justifies or our errors is raised."""
    (folder / CONFIG).write_bytes(config)
    (folder / WEIGHTS).write_bytes(weights)
    started, artifact, refused, kind = time.process_time(), None, "", ""
    try:
        artifact = read_artifact(folder)
    except SpartaError as error:
        refused = str(error)
        kind = type(error).__name__
    seconds = time.process_time() - started
    assert seconds < 10, f"this took {seconds:.0f} s"
    if artifact is None:
        assert 0 < len(refused) < 2000, f"a message of {len(refused)} characters"
        return kind
    assert sum(t.numel() * t.element_size() for t in artifact.tensors.values()) <= len(weights)
    return "read"


def main() -> None:
    """Fuzz for some minutes; print what came of it. The first failure is shrunk, printed and ends the run."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--memory", type=float, default=1.0, help="GB above what the process has at its start")
    options = parser.parse_args()
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = here + int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    counts, ends = Counter(), time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:

        @settings(max_examples=500, deadline=None, database=None, suppress_health_check=HEALTH,
                  phases=[Phase.generate, Phase.shrink])  # fmt: skip
        @given(artifacts())
        def batch(pair: tuple[bytes, bytes]) -> None:
            counts[read(*pair, Path(folder))] += 1

        while time.monotonic() < ends:
            batch()
            print(f"{sum(counts.values()):,} artifacts, {dict(counts)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
