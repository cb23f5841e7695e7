#!/usr/bin/env python3
"""Compares how many photographs a second sharpbench and torchvision read, decode, crop to 224x224 and normalise.

Both read the same folder DIR/train/CLASS/*.jpg in turn (sharpbench requires a DIR/test/CLASS too), each round in fresh
processes, with as many threads as workers. A process reads the folder three times; the first, in which files may come from
the disk and workers start, does not count.
Without a folder, one of synthetic photographs is made. Run it with the Python that has PyTorch (see README.md), after
`cargo build --example read_images`.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
BATCH_SIZE, EPOCHS = 64, 3  # as in examples/read_images.rs


def torchvision_rates(directory, workers):
    """Images per second of each epoch after the first."""
    import torch
    from torchvision import datasets, transforms

    torch.set_num_threads(1)
    transform = transforms.Compose([
        transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])
    data = datasets.ImageFolder(Path(directory) / "train", transform)
    loader = torch.utils.data.DataLoader(data, BATCH_SIZE, shuffle=True, num_workers=workers, persistent_workers=True)
    for _ in range(EPOCHS):
        start = time.perf_counter()
        images = sum(len(labels) for _, labels in loader)
        print(f"{images / (time.perf_counter() - start):.1f}")


def photographs(directory, count):
    """A folder of smooth, slightly noisy JPEG files of 500x375 pixels, as large as those of ImageNet."""
    import numpy
    from PIL import Image

    rng = numpy.random.default_rng(1)
    for split, files in (("train", count), ("test", 2)):
        for i in range(files):
            folder = Path(directory) / split / f"class{i % 2}"
            folder.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=numpy.uint8)).resize((500, 375), Image.BICUBIC)
            noisy = numpy.asarray(coarse) + rng.normal(0, 6, (375, 500, 3))
            Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8)).save(folder / f"{i}.jpg", quality=90)


def rate(command, threads):
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAYON_NUM_THREADS": str(threads)})
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\nfailed with status {done.returncode}:\n{done.stderr.strip()}")
    return median(float(line) for line in done.stdout.split()[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", nargs="?", help="folder of photographs [one that is made]")
    parser.add_argument("--program", type=Path, default=ROOT / "target" / "debug" / "examples" / "read_images", metavar="PATH")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="[all CPUs]")
    parser.add_argument("--rounds", type=int, default=5, help="[5]")
    parser.add_argument("--photographs", type=int, default=600, help="made if there is no folder [600]")
    parser.add_argument("--torchvision", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torchvision:
        return torchvision_rates(args.directory, args.threads)
    with tempfile.TemporaryDirectory() as made:
        directory = args.directory or made
        if not args.directory:
            photographs(made, args.photographs)
        own = [args.program, directory]
        theirs = [sys.executable, __file__, directory, "--torchvision", "--threads", str(args.threads)]
        rounds = [(rate(own, args.threads), rate(theirs, args.threads)) for _ in range(args.rounds)]
    for name, rates in zip(("sharpbench", "torchvision"), zip(*rounds)):
        print(f"{name:11} {median(rates):7.0f} images/s ({min(rates):.0f}-{max(rates):.0f}), n = {len(rates)}")
    ratios = [a / b for a, b in rounds]
    print(f"{'ratio':11} {median(ratios):7.2f} ({min(ratios):.2f}-{max(ratios):.2f}), {args.threads} threads; above 1 sharpbench is faster")


if __name__ == "__main__":
    main()
