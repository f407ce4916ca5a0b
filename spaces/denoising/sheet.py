"""One picture of everything at a site, for download."""

from demo import Scene
from pictures import largest, perturbation, photo, strip
from PIL import Image, ImageDraw, ImageFont

_TILE = 64  # pixels of a map
_LEFT, _LINE, _MARGIN = 150, 18, 12


def sheet(scene: Scene, site: str, times: int) -> Image.Image:
    """Images, perturbation and maps of all networks at one site on one colour scale; differences ``times`` times."""
    limit = largest([view.sites[site].maps for view in scene.views])
    font = ImageFont.load_default(13)
    blocks: list[tuple[str, list[tuple[str, Image.Image]]]] = []
    for view in scene.views:
        seen, m = view.sites[site], view.sites[site].denoising
        images = [
            photo(scene.x),
            photo(view.attacked.x),
            perturbation(scene.x, view.attacked.x, scene.settings.eps / 255),
        ]
        rows = [("clean | attacked | added", _beside(images))]
        for side, maps in zip(("before", "after"), seen.maps, strict=True):
            for row, shown in (
                ("clean", maps[0]),
                ("attacked", maps[1]),
                (f"difference x{times}", times * (maps[1] - maps[0])),
            ):
                rows.append((f"{side}, {row}", strip(shown, limit).convert("RGB")))
        title = (
            f"{view.network.label} ({view.network.name}), {site}, {scene.settings.threat}, "
            f"{scene.settings.steps} steps: relative L2 {m.before_distance:.3f} > {m.after_distance:.3f}"
        )
        blocks.append((title, rows))
    width = _LEFT + 6 * (_TILE + 2) + 2 * _MARGIN
    height = sum(2 * _LINE + len(rows) * (_TILE + 4) for _, rows in blocks) + _LINE + 2 * _MARGIN
    canvas = Image.new("RGB", (max(width, 640), height), "white")
    draw, y = ImageDraw.Draw(canvas), _MARGIN
    for title, rows in blocks:
        draw.text((_MARGIN, y), title, "black", font)
        y += _LINE + 6
        for name, picture in rows:
            draw.text((_MARGIN, y + _TILE // 2 - 8), name, "black", font)
            factor = _TILE / picture.height
            size = (round(picture.width * factor), _TILE)
            canvas.paste(picture.resize(size, Image.Resampling.NEAREST), (_LEFT + _MARGIN, y))
            y += _TILE + 4
        y += _LINE - 6
    draw.text(
        (_MARGIN, y), f"maps: blue -{limit:.3g}, white 0, red +{limit:.3g}. SPARTA Hub, {scene.title}", "black", font
    )
    return canvas.quantize(256, dither=Image.Dither.NONE)


def _beside(pictures: list[Image.Image]) -> Image.Image:
    width, height = pictures[0].size
    row = Image.new("RGB", (width * len(pictures), height))
    for i, picture in enumerate(pictures):
        row.paste(picture, (i * width, 0))
    return row
