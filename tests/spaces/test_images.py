"""Uploads: what is turned into a picture, and what into a sentence. Nothing else may come out."""

import io
import random
import struct
import zipfile
import zlib

import pytest
import torch
from images import MAX_BYTES, MAX_PIXELS, UploadError, read_upload, to_tensor
from PIL import Image

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves(size=(40, 20), mode="RGB"):
    """Left half red, right half blue."""
    image = Image.new("RGB", size, RED)
    image.paste(BLUE, (size[0] // 2, 0, *size))
    return image.convert(mode)


def saved(tmp_path, image, name="a.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def png(width, height, *chunks, data=b""):
    """A PNG whose header says these sizes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"".join(chunk(kind, content) for kind, content in chunks)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_a_picture_becomes_numbers_from_0_to_1(tmp_path):
    picture = read_upload(saved(tmp_path, Image.new("RGB", (8, 8), (255, 51, 0)))).picture
    x = to_tensor(picture, 8)
    assert x.shape == (3, 8, 8)
    assert torch.equal(x[:, 3, 3], torch.tensor([255.0, 51.0, 0.0]) / 255)


def test_the_middle_square_is_kept(tmp_path):
    upload = read_upload(saved(tmp_path, halves((40, 20))))
    assert upload.picture.size == (20, 20)
    assert (upload.picture.getpixel((0, 10)), upload.picture.getpixel((19, 10))) == (RED, BLUE)
    assert upload.notes == ("The middle square of the picture is used.",)


@pytest.mark.parametrize(("orientation", "corner"), [(1, RED), (3, BLUE), (6, RED), (8, BLUE)])
def test_exif_turns_the_picture_upright(tmp_path, orientation, corner):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_upload(saved(tmp_path, halves((20, 20)), exif=exif)).picture
    assert picture.getpixel((1, 1)) == corner
    turned = picture.getpixel((18, 1)) == corner  # after a quarter turn the halves lie one above the other
    assert turned == (orientation in (6, 8))


def test_transparency_is_shown_on_white(tmp_path):
    image = Image.new("RGBA", (10, 10), (0, 0, 255, 0))
    image.paste((0, 0, 255, 128), (0, 0, 5, 10))
    upload = read_upload(saved(tmp_path, image))
    assert upload.picture.getpixel((9, 5)) == (255, 255, 255)
    assert upload.picture.getpixel((0, 5)) == (127, 127, 255)
    assert "white" in upload.notes[0]


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA"])
def test_modes_that_are_not_rgb(tmp_path, mode):
    picture = read_upload(saved(tmp_path, Image.new("L", (10, 10), 255).convert(mode))).picture
    assert picture.mode == "RGB"
    assert picture.getpixel((5, 5)) == (255, 255, 255)


def test_cmyk_jpeg(tmp_path):
    assert read_upload(saved(tmp_path, halves(mode="CMYK"), "a.jpg")).picture.mode == "RGB"


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
    image = Image.fromarray(torch.full((8, 8), 128 * 256, dtype=torch.int32).numpy().astype("uint16"))
    assert read_upload(saved(tmp_path, image)).picture.getpixel((4, 4)) == (128, 128, 128)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
def test_of_an_animation_the_first_frame_is_used(tmp_path, name):
    frames = [Image.new("RGB", (16, 16), color) for color in (RED, BLUE)]
    path = saved(
        tmp_path,
        frames[0],
        name,
        save_all=True,
        append_images=frames[1:],
        **{"lossless": True} if "webp" in name else {},
    )
    upload = read_upload(path)
    assert upload.picture.getpixel((8, 8)) == RED
    assert upload.notes == ("Of the pictures in this file only the first is used.",)


def test_a_photo_with_a_second_picture_is_called_no_animation(tmp_path):
    first, second = (Image.new("RGB", (16, 16), color) for color in (RED, BLUE))  # as phones keep depth or brightness
    path = saved(tmp_path, first, "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert read_upload(path).notes == ("Of the pictures in this file only the first is used.",)


def test_a_file_that_was_deleted_meanwhile(tmp_path):
    with pytest.raises(UploadError, match="no longer here: uploads are deleted within two hours. Upload it again"):
        read_upload(tmp_path / "a.png")


def test_tiny_and_huge(tmp_path):
    assert to_tensor(read_upload(saved(tmp_path, Image.new("RGB", (1, 1), RED))).picture, 32).shape == (3, 32, 32)
    assert read_upload(saved(tmp_path, Image.new("RGB", (6000, 6000)), "b.png")).picture.size == (512, 512)


@pytest.mark.parametrize(
    ("side", "told"), [(7_000, "7,000 × 7,000 pixels"), (12_000, "12,000 × 12,000 pixels"), (30_000, "far more pixels")]
)
def test_nothing_is_decoded_when_the_header_says_too_much(tmp_path, side, told):
    path = tmp_path / "a.png"
    path.write_bytes(png(side, side, data=zlib.compress(b"")))
    with pytest.raises(UploadError, match=f"{told}; at most {MAX_PIXELS:,} in all can be read"):
        read_upload(path)


def test_a_bomb_in_the_text_of_a_png(tmp_path):
    path = tmp_path / "a.png"
    bomb = zlib.compress(b"0" * (200 << 20))
    path.write_bytes(png(8, 8, (b"zTXt", b"a\x00\x00" + bomb), data=zlib.compress(b"\x00" * 200)))
    with pytest.raises(UploadError, match="no picture that can be read"):
        read_upload(path)


def test_a_file_too_long(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + (1 << 20))
    with pytest.raises(UploadError, match="This file has 9 MB; at most 8 MB can be read"):
        read_upload(path)


def test_a_line_is_no_picture(tmp_path):
    with pytest.raises(UploadError, match="3,000 × 2 pixels, a line"):
        read_upload(saved(tmp_path, Image.new("RGB", (3000, 2))))


@pytest.mark.parametrize(
    "content", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", b"\x80\x04pickle", b"GIF89a"]
)
def test_what_is_no_picture(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UploadError, match=r"Expected a whole PNG, JPEG, WebP, GIF or BMP file"):
        read_upload(tmp_path / "a.png")


def test_a_zip_bomb(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.png", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", b"0" * (50 << 20))
    with pytest.raises(UploadError, match="no picture"):
        read_upload(tmp_path / "a.png")


def test_a_format_that_is_not_on_the_list_is_not_opened(tmp_path):
    with pytest.raises(UploadError, match="no picture"):  # Pillow would read it
        read_upload(saved(tmp_path, halves(), "a.tiff"))


def malformed(number):
    """A broken or odd file, the same for a number each time."""
    dice = random.Random(number)
    stream = io.BytesIO()
    kind = ("PNG", "JPEG", "WEBP", "GIF", "BMP")[number % 5]
    noise = Image.frombytes("RGB", (24, 24), dice.randbytes(24 * 24 * 3))
    noise.save(stream, kind)
    content = bytearray(stream.getvalue())
    for _ in range(dice.randint(1, 12)):
        content[dice.randrange(len(content) if number % 2 else min(64, len(content)))] = dice.randrange(256)
    return bytes(content[: dice.randint(8, len(content))] if number % 3 == 0 else content)


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_malformed_files_become_a_picture_or_a_sentence(tmp_path, start):
    refused, sentences = 0, set()
    for number in range(start, start + 50):
        path = tmp_path / f"{number}"
        path.write_bytes(malformed(number))
        try:
            picture = read_upload(path).picture
        except UploadError as error:
            refused += 1
            sentences.add(str(error))
        else:
            assert picture.mode == "RGB"
            assert 1 <= picture.width == picture.height <= 512
    assert 10 <= refused < 50  # both happen, or the files test nothing
    assert all(sentence.startswith("This ") for sentence in sentences)
