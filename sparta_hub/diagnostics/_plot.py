"""A picture of a diagnosis."""

from typing import TYPE_CHECKING

from sparta_hub.diagnostics._diagnosis import Diagnosis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {"white": "#4878a8", "other": "#d1813d"}
_BARS = {  # role -> what the bar is called, and whether it is a white-box attack as anybody would run it
    "one start": ("PGD", "white"),
    "restarts": ("PGD, restarts", "white"),
    "ce": ("APGD, cross entropy", "white"),
    "margin": ("APGD, margin", "white"),
    "black box": ("Square", "other"),
    "transfer": ("transfer from the twin", "other"),
    "gate detached": ("gate detached", "other"),
    "gate frozen": ("gate frozen", "other"),
}


def plot(diagnosis: Diagnosis) -> "Figure":
    """Accuracy against iterations, against the radius, and under each kind of attack, with 95 % Wilson intervals."""
    from matplotlib.figure import Figure

    e, protocol = diagnosis.evidence, diagnosis.evidence.report.protocol
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    iterations, radius, kinds = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))

    steps = [e.argument(i, "steps") for i in e.roles["iterations"]]
    _curve(iterations, diagnosis, "iterations", steps)
    iterations.set(xscale="log", xlabel=f"steps of PGD, {diagnosis.threat}")
    iterations.set_xticks(steps, list(map(str, steps)))
    iterations.minorticks_off()
    scale = 255 if diagnosis.threat.norm == "linf" else 1
    sizes = [scale * e.threat(i).eps for i in e.roles["radius"]]
    _curve(radius, diagnosis, "radius", sizes)
    radius.set(xscale="log", xlabel="radius / 255" if scale == 255 else "L2 radius")
    radius.set_xticks(sizes, [f"{size:.4g}" for size in sizes])
    radius.minorticks_off()

    bars = [
        (label, colour, e.report.robust(e.roles[role][0])) for role, (label, colour) in _BARS.items() if role in e.roles
    ]
    for row, (_, colour, accuracy) in enumerate(bars):
        kinds.barh(row, accuracy.percent, color=_COLOURS[colour], height=0.7)
        kinds.plot([accuracy.low, accuracy.high], [row, row], color="black", linewidth=1)
    kinds.set_yticks(range(len(bars)), [label for label, *_ in bars])
    kinds.invert_yaxis()
    kinds.axvline(diagnosis.worst_case, color="black", linestyle=":")
    kinds.set_title("dotted: worst case of each image; orange should add nothing", fontsize=9)
    kinds.set(xlim=(0, 100), xlabel=f"accuracy in %, {diagnosis.threat}")
    verdict = f"suspect: {', '.join(diagnosis.suspect)}" if diagnosis.suspect else "nothing suspect"
    figure.suptitle(f"{protocol.model}, {protocol.images} images of {protocol.data}: {verdict}", fontsize=11)
    return figure


def _curve(axes: "Axes", diagnosis: Diagnosis, role: str, positions: list[float]) -> None:
    e = diagnosis.evidence
    points = [e.report.robust(i) for i in e.roles[role]]
    axes.plot(positions, [point.percent for point in points], marker="o", color=_COLOURS["white"])
    axes.fill_between(
        positions, [p.low for p in points], [p.high for p in points], alpha=0.2, color=_COLOURS["white"], linewidth=0
    )
    axes.axhline(e.report.clean.percent, color="grey", linestyle="--")
    axes.set_title("dashed: without attack", fontsize=9)
    axes.set(ylim=(0, 100), ylabel="accuracy in %")
