"""The page without a server: ``python spaces/denoising/static_page.py`` writes ``static/index.html``, all in one file.

It shows what the app shows of every example at the settings of the first screen. For accounts without compute, and for
reading offline.
"""

import argparse
from html import escape
from pathlib import Path

import page
import torch
from networks import HERE, find_entries
from show import Show, make_screen, open_show
from state import State
from transfer import activation_sets, transferred
from words import ABOUT, INTRO, TITLE

from sparta_hub.errors import answered

STYLE = """
body { margin: 0; background: #fff; font-family: system-ui, sans-serif; }
html.dark body { background: #0f1319; }
main { max-width: 1100px; margin: 0 auto; padding: 16px; }
fieldset { border: 1px solid var(--edge); border-radius: 10px; margin: 12px 0; display: flex; flex-wrap: wrap;
  gap: 4px 14px; }
pre { overflow-x: auto; background: var(--panel); border: 1px solid var(--edge); border-radius: 10px; padding: 12px; }
h2 { font-size: 1.15em; margin: 1.4em 0 .5em; }
"""
SCRIPT = f"""
if (matchMedia('(prefers-color-scheme: dark)').matches) document.documentElement.classList.add('dark');
function showScreen(name) {{
  document.querySelectorAll('[data-screen]').forEach(part => {{ part.hidden = part.dataset.screen !== name }});
}}
function showSite(site) {{ {page.SHOW_SITE} }}
// a browser that comes back to the page restores what was chosen, and not what that showed
addEventListener('pageshow', () => document.querySelectorAll('[type=radio]:checked').forEach(r => r.onchange()));
"""


def static_page(show: Show) -> str:
    """The whole page: every network that has the first one's sites with every example, one of them to be seen."""
    first = show.first
    sites = [site.name for site in show.entries[first.model].info.spec.sites]
    screens, options = [], []
    for model, entry in show.entries.items():
        if [site.name for site in entry.info.spec.sites] != sites:
            continue
        for image in show.examples:
            name = f"{image}, {model}"
            checked = (image, model) == (first.image, first.model)
            state = State(image, model, sites[0])
            screens.append(
                f"<div data-screen='{escape(name)}'{'' if checked else ' hidden'}>{_screen(show, state)}</div>"
            )
            options.append(_radio("screen", name, checked, "showScreen"))
    radios = "".join(_radio("site", name, name == first.site, "showSite") for name in sites)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title><style>{(HERE / "style.css").read_text(encoding="utf-8")}{STYLE}</style>
<script>{SCRIPT}</script></head>
<body><main class="denoising">{INTRO}
<p class="note">Computed beforehand; the app lets you upload pictures and change the attack.</p>
<fieldset><legend>Image and network</legend>{"".join(options)}</fieldset>
<fieldset><legend>Site: stage (G) and block (B) of the activation</legend>{radios}</fieldset>
{"".join(screens)}<h2>Transfer</h2>{transferred(activation_sets(show))}{ABOUT}</main></body></html>
"""


def _screen(show: Show, state: State) -> str:
    screen = make_screen(show, state)
    return (
        f"{screen.verdict}{screen.networks}<h2>Feature maps</h2>{screen.sites}<h2>Numbers</h2>{screen.table}"
        f"<h2>Attack</h2>{screen.charts}<h2>Load it in Python</h2><pre><code>{escape(screen.code)}</code></pre>"
    )


def _radio(group: str, value: str, checked: bool, function: str) -> str:
    return (
        f"<label><input type='radio' name='{group}' value='{escape(value)}' onchange='{function}(this.value)'"
        f"{' checked' if checked else ''}> {escape(value)}</label>"
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "static", help="folder, made if need be")
    folder = parser.parse_args().out
    with answered("static_page.py"):
        show = open_show(find_entries(), torch.device("cpu"))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(static_page(show), encoding="utf-8")


if __name__ == "__main__":
    main()
