"""Make images into what a page holds: data URIs, and heat over an image."""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

_LARGEST = 192  # pixels a side, about twice what the page shows
_MOST_LOSSLESS = 12 << 10  # bytes of an image kept to the last bit: drawings, not photographs


def data_uri(pixels: np.ndarray) -> str:
    """Encode (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 in a data URI, large ones scaled down.

    As PNG, but JPEG where that would make the page large and there is no alpha.

    >>> data_uri(np.zeros((2, 2), np.uint8))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))
    image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    kind, content = "png", _encode(image, format="PNG", optimize=True)
    if len(content) > _MOST_LOSSLESS and image.mode in ("L", "RGB"):
        kind, content = "jpeg", _encode(image, format="JPEG", quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def heat_over(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay `heat` (H, W) uint8 in the colours of "inferno" over the grey of an image: (H, W, 3) uint8.

    >>> heat_over(np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 255, np.uint8))[0, 0].tolist()
    [151, 153, 99]
    """
    import matplotlib

    grey = pixels.reshape(*heat.shape, -1)[..., :3].mean(-1, keepdims=True)
    colours = matplotlib.colormaps["inferno"](heat)[..., :3] * 255
    mixed: np.ndarray = (0.4 * grey + 0.6 * colours).round().astype(np.uint8)
    return mixed


def _encode(image: "Image.Image", **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, **options)
    return target.getvalue()
