"""What visitors upload: files of any kind and size, turned into one small upright picture, or into a sentence."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from sparta_hub.errors import SpartaError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_BYTES = 8 << 20
MAX_PIXELS = 40_000_000  # a phone's photo has 12 to 50 million; decoded, this takes 160 MB at most
KEPT_SIDE = 512  # pixels; no network here sees more


class UploadError(SpartaError):
    """A file that cannot be shown to a network; the message is for the visitor."""


@dataclass(frozen=True)
class Upload:
    """A picture that can be shown to a network.

    Args:
        picture: square, RGB, at most ``KEPT_SIDE`` pixels wide.
        notes: what was done to it that the visitor might not expect.
    """

    picture: Image.Image
    notes: tuple[str, ...] = ()


def read_upload(path: str | Path) -> Upload:
    """Read a file: turned upright (EXIF), transparency on white, first frame of an animation, centre square.

    The size in pixels is read from the header before anything is decoded.

    Raises:
        UploadError: gone, no picture of a known format, damaged, or too large.
    """
    path = Path(path)
    if not path.is_file():
        raise UploadError("This picture is no longer here: uploads are deleted within two hours. Upload it again.")
    if path.stat().st_size > MAX_BYTES:
        raise UploadError(
            f"This file has {path.stat().st_size / 2**20:.0f} MB; at most {MAX_BYTES >> 20} MB can be read."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata, and Pillow's own limit, which lies above ours
            with Image.open(path, formats=FORMATS) as image:
                return _prepared(image)
    except UploadError:
        raise
    except (MemoryError, Image.DecompressionBombError):
        raise UploadError(_too_large("far more pixels")) from None
    except Exception as error:  # decoders raise whatever they like on a hostile file
        raise UploadError(
            f"This is no picture that can be read ({type(error).__name__}). Expected a whole PNG, JPEG, WebP, GIF or "
            "BMP file; save it as PNG and try again."
        ) from error


def to_tensor(picture: Image.Image, size: int) -> Tensor:
    """A square RGB picture as float32 (3, size, size) in [0, 1]."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _prepared(image: Image.Image) -> Upload:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UploadError(_too_large(f"{width:,} × {height:,} pixels"))
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        image.seek(0)
        notes.append("Of the pictures in this file only the first is used.")
    image.draft("RGB", (2 * KEPT_SIDE, 2 * KEPT_SIDE))  # lets JPEG be decoded at an eighth of its size
    if max(width, height) > 100 * min(width, height):
        raise UploadError(f"This picture is {width:,} × {height:,} pixels, a line rather than a picture.")
    upright = ImageOps.exif_transpose(_eight_bits(image))
    if width != height:
        notes.append("The middle square of the picture is used.")
    side = min(*upright.size, KEPT_SIDE)
    square = ImageOps.fit(upright, (side, side), Image.Resampling.LANCZOS)  # before any conversion: less memory
    if square.has_transparency_data:
        notes.append("Transparent parts are shown on white.")
        square = square.convert("RGBA")
        square = Image.alpha_composite(Image.new("RGBA", square.size, "white"), square)
    return Upload(square.convert("RGB"), tuple(notes))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values of 16 bits as 8, which Pillow would clip; palettes as colours, which can be resized."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA", "1"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def _too_large(size: str) -> str:
    return (
        f"This picture has {size}; at most {MAX_PIXELS:,} in all can be read. Make it smaller: the networks "
        "here see 32 × 32."
    )
