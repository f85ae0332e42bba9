"""A picture for a page that holds it itself."""

import base64
from io import BytesIO
from pathlib import Path

_COLOURS = 128


def data_url(path: Path) -> str:
    """A PNG file as the address of an image in Markdown or HTML, with fewer colours: a quarter of its bytes."""
    from PIL import Image  # comes with matplotlib

    small = BytesIO()
    with Image.open(path) as image:
        image.convert("RGB").quantize(_COLOURS, Image.Quantize.FASTOCTREE).save(small, "png")
    return f"data:image/png;base64,{base64.b64encode(small.getvalue()).decode()}"
