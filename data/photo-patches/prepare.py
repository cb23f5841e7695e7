#!/usr/bin/env python3
"""Regenerates the ten PNGs of photo-patches beside this script.

    python3 -m venv venv
    venv/bin/pip install scikit-image==0.26.0 scikit-learn==1.9.1 matplotlib==3.11.2 pillow==13.0.0
    venv/bin/python prepare.py

Only the image files inside the installed packages are read; nothing is downloaded.
Another Pillow or zlib version may give other bytes for the same pixels.
"""
import hashlib
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

SHORT_SIDE = 288
SOURCES = [  # class order; (name, package, path inside the package)
    ("astronaut", "skimage", "data/astronaut.png"),
    ("camera", "skimage", "data/camera.png"),
    ("chelsea", "skimage", "data/chelsea.png"),
    ("china", "sklearn", "datasets/images/china.jpg"),
    ("coffee", "skimage", "data/coffee.png"),
    ("flower", "sklearn", "datasets/images/flower.jpg"),
    ("grace_hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ("hubble", "skimage", "data/hubble_deep_field.jpg"),
    ("retina", "skimage", "data/retina.jpg"),
    ("rocket", "skimage", "data/rocket.jpg"),
]

here = Path(__file__).resolve().parent
total = 0
for name, package, path in SOURCES:
    root = Path(find_spec(package).submodule_search_locations[0])
    image = Image.open(root / path).convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    if scale < 1:
        size = tuple(round(side * scale) for side in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    out = here / f"{name}.png"
    image.save(out, optimize=True)
    data = out.read_bytes()
    total += len(data)
    print(f"{name:13} {image.width}x{image.height} {len(data):7} {hashlib.sha256(data).hexdigest()}")
print(f"{total} bytes in all")
