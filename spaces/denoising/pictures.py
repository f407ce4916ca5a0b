"""Tensors as PNG: images, perturbations, feature maps on one colour scale; enlarged without smoothing."""

import base64
import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

_GAP = 1  # pixels between the tiles of a strip
_GREY = 255  # palette entry of what is no value


def photo(x: Tensor, *, least: int = 256) -> Image.Image:
    """An image (3, H, W) in [0, 1], each pixel enlarged to a square so that it is at least ``least`` pixels wide."""
    image = Image.fromarray((x.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    factor = max(1, -(-least // image.width))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def perturbation(x: Tensor, x_adv: Tensor, eps: float) -> Image.Image:
    """What was added, so much magnified that -ε is black and ε white; without any ε it is grey."""
    return photo(0.5 + (x_adv - x) / (2 * eps) if eps else x * 0 + 0.5)


def strip(maps: Tensor, limit: float) -> Image.Image:
    """Maps (K, H, W) side by side: blue is -limit, white 0, red limit; grey between them."""
    height, width = maps.shape[1:]
    row = np.full((height, len(maps) * (width + _GAP) - _GAP), _GREY, np.uint8)
    for i, tile in enumerate(_levels(maps, limit)):
        row[:, i * (width + _GAP) : i * (width + _GAP) + width] = tile
    return _coloured(row)


def vector(values: Tensor, limit: float) -> Image.Image:
    """A vector as a square of rows in the colours of ``strip``; what is missing in the last row is grey."""
    columns = math.ceil(math.sqrt(len(values)))
    cells = np.full(-(-len(values) // columns) * columns, _GREY, np.uint8)
    cells[: len(values)] = _levels(values, limit)
    return _coloured(cells.reshape(-1, columns))


def magnifier(differences: Sequence[Tensor], limit: float) -> int:
    """The largest power of two, up to 64, by which all differences can be multiplied and still fit on the scale."""
    top = largest(differences)
    return next((k for k in (64, 32, 16, 8, 4, 2) if k * top <= limit), 1)


def largest(tensors: Sequence[Tensor]) -> float:
    """Largest absolute value: the end of a common scale."""
    return max(float(t.abs().max()) for t in tensors)


def png_bytes(image: Image.Image) -> bytes:
    """The file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A file as an address that needs no server."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _levels(values: Tensor, limit: float) -> np.ndarray:
    """-limit … limit as 0 … 254, 127 being 0."""
    shares = (values / limit if limit else values * 0).clamp(-1, 1)
    return ((shares + 1) * 127).round().byte().cpu().numpy()


def _coloured(levels: np.ndarray) -> Image.Image:
    from matplotlib import colormaps

    table = (colormaps["RdBu_r"](np.arange(_GREY) / (_GREY - 1))[:, :3] * 255).round().astype(np.uint8)
    image = Image.fromarray(levels, "P")
    image.putpalette(bytes(table) + bytes([128, 128, 128]))
    return image
