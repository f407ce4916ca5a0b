"""What a scene looks like: HTML without a server or a framework, the same in the app and on the static page."""

import json
from collections.abc import Callable, Sequence
from html import escape
from math import isnan

import torch
from chart import Line, line_chart
from demo import Scene, SiteView, View, numbers, top
from pictures import data_uri, largest, magnifier, perturbation, photo, png_bytes, strip, vector
from PIL import Image
from sheet import sheet
from state import UPLOADED

SIDES = ("before", "after")
NO_TWIN = (
    "There is no ReLU twin of this network yet (one of the same host, data and training), so nothing here says what "
    "the activation adds."
)
SHOW_SITE = """
document.querySelectorAll('[data-site]').forEach(part => { part.hidden = part.dataset.site !== site });
const link = document.getElementById('state-link');
if (link) {
  const query = new URLSearchParams(link.getAttribute('href'));
  query.set('site', site);
  link.setAttribute('href', '?' + query);
}
"""  # JavaScript with `site` bound


def wrap(html: str) -> str:
    """HTML under the style sheet of the page."""
    return f"<div class='denoising'>{html}</div>"


def verdict(scene: Scene, *, twin_missing: bool, notes: Sequence[str] = ()) -> str:
    """What happened, in sentences."""
    rows = []
    for view in scene.views:
        (before, p), (after, q) = top(view, attacked=False, count=1)[0], top(view, attacked=True, count=1)[0]
        text = f"sees <b>{escape(before)}</b> ({_percent(p)}), and under attack <b>{escape(after)}</b> ({_percent(q)})."
        if scene.truth is not None and before != view.network.classes[scene.truth]:
            text += " It was wrong before the attack."
        elif scene.settings.eps == 0:
            text += " With ε = 0 nothing was attacked."
        elif scene.settings.target is not None and before == view.network.classes[view.attacked.aim]:
            text += " It saw that before the attack."
        elif view.success:
            text += " The attack reached its aim."
        else:
            text += " It withstood this attack."
        rows.append(f"<li><span class='tag {_style(view)}'>{escape(view.network.label)}</span> {text}</li>")
    said = [f"The attack: {_attack(scene)}.", *notes, *([NO_TWIN] if twin_missing else [])]
    return f"<ul class='verdict' role='status'>{''.join(rows)}</ul>" + "".join(
        f"<p class='note'>{escape(n)}</p>" for n in said
    )


def networks(scene: Scene) -> str:
    """For each network: clean and attacked image under a slider, the perturbation, its top 3 before and after."""
    return _columns(scene, lambda view: _network(scene, view))


def sites(scene: Scene, shown: str) -> str:
    """For each site: maps of both networks on one scale, gate, numbers; all but one hidden."""
    names = scene.views[0].sites
    return "".join(
        f"<section data-site='{escape(name)}'{'' if name == shown else ' hidden'}>{_site(scene, name)}</section>"
        for name in names
    )


def table(scene: Scene) -> str:
    """Distance and cosine before and after every activation."""
    rows = []
    for view in scene.views:
        for site in view.sites.values():
            m = site.denoising
            cells = (m.before_distance, m.after_distance, m.before_cosine, m.after_cosine)
            better = " class='better'" if m.after_distance < m.before_distance else ""
            rows.append(
                f"<tr><th scope='row'>{escape(view.network.label)} {escape(m.site)}</th>"
                f"<td>{cells[0]:.3f}</td><td{better}>{cells[1]:.3f}</td><td>{cells[2]:.3f}</td><td>{cells[3]:.3f}</td></tr>"
            )
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='Numbers of all sites'><table><caption>"
        f"{escape(_attack(scene))}. Relative L2: length of attacked minus clean maps over the length of the clean maps."
        " Cosine: of the angle between them. All channels. Bold where the activation brings the attacked maps nearer "
        "to the clean ones.</caption><thead><tr>"
        "<th scope='col'>Site</th><th scope='col'>L2 before</th><th scope='col'>L2 after</th>"
        "<th scope='col'>cosine before</th><th scope='col'>cosine after</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def losses(scene: Scene) -> str:
    """The attack's loss over its steps, for each network."""
    lines = [Line(v.network.label, _style(v), list(enumerate(v.attacked.losses))) for v in scene.views]
    classes = {view.network.classes[view.attacked.aim] for view in scene.views}
    what = f"cross entropy of “{'” / “'.join(sorted(classes))}”"
    way = "falls as the attack succeeds" if scene.settings.target is not None else "rises as the attack succeeds"
    ends = "; ".join(
        f"{v.network.label} from {v.attacked.losses[0]:.2f} to {v.attacked.losses[-1]:.2f}" for v in scene.views
    )
    chart = line_chart(
        lines, title=f"{what} over the steps of the attack: {ends}", x_title="step of PGD", y_title="loss"
    )
    caption = f"{_attack(scene)}, step by step: {what}; it {way}. {ends}."
    return f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def downloads(scene: Scene, code: str, link: str) -> str:
    """Numbers as a file, and the address that brings all of this back. Pictures are offered beside the maps.

    Of a visitor's picture there is no such address: it is offered as the network sees it, which the code has to open.
    """
    if link:
        last = f"<a class='button' id='state-link' href='{escape(link)}'>link to this view</a>"
    else:
        seen = Image.fromarray((scene.x.cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
        last = _download("your picture as the network sees it", UPLOADED, png_bytes(seen))
    content = (json.dumps(numbers(scene), indent=2, ensure_ascii=False) + "\n").encode()
    return (
        f"<p class='links'>{_download('numbers as JSON', 'denoising.json', content, 'application/json')} "
        f"{_download('this code', 'denoising.py', code.encode(), 'text/x-python')} {last}</p>"
    )


def _network(scene: Scene, view: View) -> str:
    label, eps = view.network.label, scene.settings.eps
    clean, attacked = (_uri(photo(x)) for x in (scene.x, view.attacked.x))
    added = _uri(perturbation(scene.x, view.attacked.x, eps / 255))
    magnified = f"±{eps:g}/255 shown as black to white" if eps else "nothing: ε is 0"
    return f"""<div class="pictures"><figure><div class="compare" style="--at: 50%">
<img src="{clean}" alt="{escape(scene.title)}, clean">
<img class="over" src="{attacked}" alt="{escape(scene.title)}, attacked against {escape(label)}">
<input type="range" min="0" max="100" value="50" aria-label="How much of the clean image is shown, {escape(label)}"
 oninput="this.parentNode.style.setProperty('--at', this.value + '%')"></div>
<figcaption>clean | attacked</figcaption></figure>
<figure><img src="{added}" alt="What the attack on {escape(label)} added, magnified">
<figcaption>added: {magnified}</figcaption></figure></div>
<div class="tops">{_top(view, attacked=False)}{_top(view, attacked=True)}</div>"""


def _top(view: View, *, attacked: bool) -> str:
    rows = "".join(
        f"<li><span class='name'>{escape(name)}</span><span class='share'>{_percent(p)}</span>"
        f"<span class='meter {_style(view)}' style='--share: {100 * p:.1f}%'></span></li>"
        for name, p in top(view, attacked=attacked)
    )
    return f"<div><h4>{'attacked' if attacked else 'clean'}</h4><ol>{rows}</ol></div>"


def _site(scene: Scene, name: str) -> str:
    views = [(view, view.sites[name]) for view in scene.views]
    limit = largest([site.maps for _, site in views])
    times = magnifier([site.maps[:, 1] - site.maps[:, 0] for _, site in views], limit)
    png = png_bytes(sheet(scene, name, times))
    return (
        f"<p class='finding'>{' '.join(denoises(view.network.label, site) for view, site in views)}</p>"
        + _columns(scene, lambda view: _maps(view, view.sites[name], limit, times))
        + f"<p class='scale'><span>-{limit:.2g}</span><span class='ramp' aria-hidden='true'></span>"
        + f"<span>+{limit:.2g}</span>"
        "<span>one scale for all maps; blue is negative, white 0; differences are multiplied as written</span></p>"
        + "".join(_gate(site) for _, site in views if site.gates)
        + f"<p class='links'>{_download(f'pictures of {name} as PNG', f'denoising-{name}.png', png)}</p>"
    )


def denoises(label: str, site: SiteView) -> str:
    """Whether the activation denoises, as a measurement."""
    m = site.denoising
    if isnan(m.before_distance) or isnan(m.after_distance):
        return f"{escape(label)}: the clean maps at {m.site} are all zero, so there is no distance to speak of."
    if m.before_distance == 0:
        return f"{escape(label)}: the attack changed nothing that reaches {m.site}."
    lengths, cosines = (
        f"{m.before_distance:.3f} → {m.after_distance:.3f}",
        f"{m.before_cosine:.3f} → {m.after_cosine:.3f}",
    )
    figures = f"relative L2 {lengths}, cosine {cosines}"
    if m.after_distance < m.before_distance:
        share = 100 * (1 - m.after_distance / m.before_distance)
        return f"{escape(label)} takes out {share:.1f} % of the attack's distance at {m.site} ({figures})."
    return f"<b>{escape(label)} does not denoise this image at {m.site}</b> ({figures})."


def _maps(view: View, site: SiteView, limit: float, times: int) -> str:
    m = site.denoising
    figures = {
        "before": f"relative L2 {m.before_distance:.3f}, cosine {m.before_cosine:.3f}",
        "after": f"relative L2 {m.after_distance:.3f}, cosine {m.after_cosine:.3f}",
    }
    channels = ", ".join(map(str, site.channels))
    parts = []
    for side, maps in zip(SIDES, site.maps, strict=True):
        rows = (("clean", maps[0]), ("attacked", maps[1]), (f"difference ×{times}", times * (maps[1] - maps[0])))
        parts.append(f"<h4>{side} the activation <small>{figures[side]}</small></h4>")
        parts += [
            f"<figure class='strip'><figcaption>{row}</figcaption><img src='{_uri(strip(shown, limit))}' "
            f"alt='{escape(view.network.label)}, {m.site}, {side} the activation, {row}: channels {channels}'></figure>"
            for row, shown in rows
        ]
    return "".join(parts) + f"<p class='channels'>channels {channels}, strongest first</p>"


def _gate(site: SiteView) -> str:
    assert site.gates is not None
    clean, attacked = site.gates
    blocks = []
    for title, one, two, draw in (
        ("attention map S", clean.spatial[None], attacked.spatial[None], strip),
        (f"channel vector Ch, {len(clean.channel)} values", clean.channel, attacked.channel, vector),
    ):
        limit = largest([one, two])
        rows = "".join(_gate_row(title, row, draw(shown, limit)) for row, shown in (
            ("clean", one), ("attacked", two), ("difference", two - one)))  # fmt: skip
        blocks.append(f"<div><h4>{title} <small>scale ±{limit:.2g}</small></h4><div class='trio'>{rows}</div></div>")
    head = f"<summary>The gate: sigmoid(S · Ch) at {site.denoising.site}</summary>"
    return f"<details open>{head}<div class='gate'>{''.join(blocks)}</div></details>"


def _gate_row(title: str, row: str, image: Image.Image) -> str:
    return f"<figure><img src='{_uri(image)}' alt='SPARTA, {title}, {row}'><figcaption>{row}</figcaption></figure>"


def _attack(scene: Scene) -> str:
    """The attack in words, with its strength."""
    settings, classes = scene.settings, scene.views[0].network.classes
    aim = "any wrong class" if settings.target is None else classes[settings.target]
    return f"PGD of {settings.steps} steps, L∞, ε = {settings.eps:g}/255, towards {aim}"


def _columns(scene: Scene, content: Callable[[View], str]) -> str:
    parts = (
        f"<article aria-label='{escape(view.network.label)}'><h3>"
        f"<span class='tag {_style(view)}'>{escape(view.network.label)}</span>"
        f" <small>{escape(view.network.name)}</small></h3>{content(view)}</article>"
        for view in scene.views
    )
    return f"<div class='networks n{len(scene.views)}'>{''.join(parts)}</div>"


def _download(text: str, name: str, content: bytes, kind: str = "image/png") -> str:
    return f"<a class='button' download='{escape(name)}' href='{data_uri(content, kind)}'>{escape(text)}</a>"


def _uri(image: Image.Image) -> str:
    return data_uri(png_bytes(image))


def _style(view: View) -> str:
    return "twin" if view.network.label == "ReLU" else "subject"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
