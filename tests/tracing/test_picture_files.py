"""Pictures as they come from files and processors: turned, without metadata, in rows of their own."""

import base64
import io

import pytest
import torch

pytest.importorskip("PIL", reason="needs the extra flowtracer[vision]")
from helpers.pictures import picture_model
from helpers.processors import PROCESSORS, picture, small_model
from PIL import Image

from flowtracer import trace
from flowtracer.regions import Prompt, TokenizedText
from flowtracer.tracing.pictures import Asked, find_pictures, open_picture, thumbnail

ORIENTATION, TURNED = 0x112, 6


def test_photographs_are_turned_as_their_exif_data_say(tmp_path):
    image = picture(1, 24, 16)
    exif = image.getexif()
    exif[ORIENTATION] = TURNED
    image.save(tmp_path / "turned.png", exif=exif)
    opened = open_picture(tmp_path / "turned.png")
    assert opened.size == (16, 24)
    assert opened.getpixel((15, 0)) == image.getpixel((0, 0))


def test_of_an_animation_the_first_frame_is_read_and_transparency_is_dropped(tmp_path):
    red, blue = (Image.new("RGB", (24, 16), colour) for colour in ("red", "blue"))
    red.save(tmp_path / "x.gif", save_all=True, append_images=[blue])
    assert open_picture(tmp_path / "x.gif").getpixel((0, 0)) == (255, 0, 0)
    Image.new("RGBA", (24, 16), (0, 255, 0, 0)).save(tmp_path / "x.png")
    assert open_picture(tmp_path / "x.png").getpixel((0, 0)) == (0, 255, 0)


def test_thumbnails_keep_nothing_but_the_picture(tmp_path):
    image = picture(1)
    exif = image.getexif()
    exif[0x10E] = "taken at home"
    image.save(tmp_path / "private.png", exif=exif, icc_profile=b"a profile")
    written = base64.b64decode(thumbnail(open_picture(tmp_path / "private.png")).split(",")[1])
    assert b"taken" not in written and b"iCCP" not in written
    assert Image.open(io.BytesIO(written)).size == image.size


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "L", "1", "I;16"])
def test_every_kind_of_colour_has_a_thumbnail(tmp_path, mode):
    image = Image.new(mode, (24, 16))
    kind = "tiff" if mode == "CMYK" else "png"
    image.save(tmp_path / f"x.{kind}", **({"transparency": b"\0\x10"} if mode == "P" else {}))
    assert thumbnail(open_picture(tmp_path / f"x.{kind}")).startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"images": "house.png"}, "images must be a list of paths"),
        ({"images": picture(1)}, "images must be a list of paths"),
        ({"images": [picture(1)], "chat": False}, "leave chat=False out"),
        ({"images": [picture(1)], "prompt": [{"role": "user", "content": None}]}, "must be a text"),
        ({"images": [picture(1)], "prompt": ["what ?"]}, "must be a text or a list of"),
        (
            {"images": [picture(1)], "prompt": [{"role": "system", "content": "x"}]},
            "no message of the user to put the pictures in",
        ),
    ],
)
def test_what_is_asked_wrongly_is_told(change, message):
    arguments = {"prompt": "what ?", "response": "red", **change}
    with pytest.raises(ValueError, match=message):
        trace(small_model("qwen2_5_vl"), PROCESSORS["qwen2_5_vl"](), **arguments)


@pytest.mark.parametrize("between", [[], [10, 11]])
def test_rows_that_end_in_a_token_of_their_own_are_a_picture(between):
    image, row_end, end = 90, 91, 92  # as Mistral 3's processor writes them
    first = [*[image] * 3, row_end] * 2 + [*[image] * 3, end]
    second = [*[image] * 2, row_end, *[image] * 2, end]
    ids = [1, *first, *between, *second, 5]
    images = (picture(1, 24, 24), picture(2, 16, 16))
    asked = Asked(Prompt("", (), True), TokenizedText("", tuple(ids), ()), {}, images)
    pictures = find_pictures(picture_model("mistral3"), asked, torch.zeros(1, len(ids), len(ids)))
    assert [(p.rows, p.columns) for p in pictures] == [(3, 4), (2, 3)]
    start = 1 + len(first) + len(between)
    assert [(p.first, p.last) for p in pictures] == [(1, len(first)), (start, start + 5)]
    assert [(p.width, p.height) for p in pictures] == [(24, 24), (16, 16)]
