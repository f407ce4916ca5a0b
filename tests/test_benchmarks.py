"""The command lines of the benchmarks: what is mistyped is answered before anything is measured."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
MISTAKES = {
    "--json": ("nowhere/x.json", "nowhere/x.json cannot be written; expected a file in a folder that is there."),
    "--repeats": ("0", "argument --repeats: expected a whole number, 1 or more, and not 0."),
    "--batch": ("-1", "argument --batch: expected a whole number, 1 or more, and not -1."),
    "--device": ("fpga", "argument --device: fpga is not on this machine; expected cpu, or cuda where it is."),
}
OPTIONS = {
    "activation_overhead": ["--json", "--repeats", "--batch"],
    "attack_parity": ["--json", "--batch"],
    "attack_throughput": ["--json", "--repeats", "--batch", "--device"],
    "start_time": ["--json", "--repeats"],
    "training_throughput": ["--json", "--batch", "--device"],
}


@pytest.mark.parametrize(("name", "option"), [(name, option) for name in OPTIONS for option in OPTIONS[name]])
def test_a_mistake_is_answered_first(monkeypatch, capsys, tmp_path, name, option):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    value, message = MISTAKES[option]
    monkeypatch.setattr("sys.argv", [name, option, value])
    with pytest.raises(SystemExit):
        importlib.import_module(name).main()
    assert message in capsys.readouterr().err
