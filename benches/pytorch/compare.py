#!/usr/bin/env python3
"""Compares the time of a training step of sharpbench with PyTorch's on this machine's CPU.

Each round runs `sharpbench bench`, then step.py once per layout, every time as a fresh process with the same
threads. A round's figure is the median of its timed steps. PyTorch is represented by its fastest layout.
Run it with the Python that has PyTorch (see README.md).
"""
import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import geometric_mean, median

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONVOLUTIONS, OTHERS = ["default", "channels_last"], ["default"]  # an mlp or a Transformer has nothing to lay out
CASES = {  # options of both programs, layouts of PyTorch, batch size if it is not 128
    "resnet20-w16": ("--model resnet20 --width 16 --input 3x32x32", CONVOLUTIONS, None),
    "resnet20-w64": ("--model resnet20 --width 64 --input 3x32x32", CONVOLUTIONS, None),
    "resnet8-w16-b64": ("--model resnet8 --width 16 --input 3x32x32", CONVOLUTIONS, 64),
    "resnet18": ("--model resnet18 --input 3x32x32", CONVOLUTIONS, None),
    "speednet": ("--model speednet --width 64 --input 3x32x32", CONVOLUTIONS, None),
    "wideresnet-b16": ("--model wideresnet --depth 28 --width 10 --input 3x32x32", CONVOLUTIONS, 16),
    "edge-cnn": ("--model edge-cnn --width 16 --input 3x32x32", CONVOLUTIONS, None),
    "mlp": ("--model mlp --hidden 1000,1000,1000 --input 1x28x28", OTHERS, None),
    "vit": ("--model vit --input 3x32x32", OTHERS, None),
    "transformer": ("--model transformer --input 64", OTHERS, None),
}


def measure(command, expected):
    """The JSON object that `command` prints; it has to have run what was asked for."""
    shown = " ".join(map(str, command))
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shown}\nfailed with status {done.returncode}:\n{done.stderr.strip()}")
    try:
        found = json.loads(done.stdout)
        seconds = found["step_seconds"]["median"]
        wrong = {k: found[k] for k, v in expected.items() if found[k] != v}
    except (ValueError, KeyError, TypeError) as e:
        raise SystemExit(f"{shown}\ndid not print the JSON object of a bench ({e!r}):\n{done.stdout.strip()}")
    if wrong:
        raise SystemExit(f"{shown}\nran something else: {wrong} instead of {({k: expected[k] for k in wrong})}")
    print(f"  {seconds * 1e3:9.2f} ms  {Path(command[0]).name} {found.get('layout', '')}", file=sys.stderr)
    return found


def run_case(name, args):
    """The objects of every round, by program: "sharpbench" or a layout of PyTorch."""
    model, layouts, own_batch = CASES[name]
    batch_size = args.batch_size or own_batch or 128
    model = model.split()
    options = model + ["--batch-size", batch_size, "--optimizer", args.optimizer, "--steps", args.steps,
                       "--warmup", args.warmup, "--threads", args.threads, "--json"]
    options = [str(o) for o in options]
    expected = {"model": model[1], "batch_size": batch_size, "optimizer": args.optimizer,
                "threads": args.threads, "steps": args.steps}
    step = [sys.executable, str(HERE / "step.py")]
    commands = {"sharpbench": [str(args.sharpbench), "bench"]}
    commands |= {layout: [*step, "--layout", layout] for layout in layouts}
    if args.compile:
        commands |= {f"{layout}, compiled": [*step, "--compile", "--layout", layout] for layout in layouts}
    runs = {program: [] for program in commands}
    for i in range(args.rounds):
        print(f"{name}, round {i + 1} of {args.rounds}", file=sys.stderr)
        for program, command in commands.items():
            runs[program].append(measure(command + options, expected))
    return runs


def spread(values, digits):
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def row(name, runs):
    """A line of the table, and its ratio."""
    ms = {program: [r["step_seconds"]["median"] * 1e3 for r in rounds] for program, rounds in runs.items()}
    ours = ms.pop("sharpbench")
    layout = min(ms, key=lambda program: median(ms[program]))
    ratios = [a / b for a, b in zip(ours, ms[layout])]
    peaks = [[r.get("peak_memory_bytes") for r in runs[program]] for program in ("sharpbench", layout)]
    memory = "-" if None in peaks[0] + peaks[1] else f"{median(peaks[0]) / median(peaks[1]):.2f}"
    cells = [name, spread(ours, 1), spread(ms[layout], 1), layout, f"{spread(ratios, 2)} n={len(ratios)}", memory]
    return cells, median(ratios)


def table(rows):
    head = ["case", "sharpbench ms", "PyTorch ms", "layout", "ratio", "memory ratio"]
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(cells, widths)).rstrip() for cells in [head, *rows])


def cpus():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def positive(text):
    if int(text) < 1:
        raise ValueError
    return int(text)


def count(text):
    if int(text) < 0:
        raise ValueError
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sharpbench", type=Path, default=ROOT / "target" / "debug" / "sharpbench", metavar="PATH",
                        help="the program to measure [target/debug/sharpbench: the dev profile is optimised]")
    parser.add_argument("--case", choices=CASES, action="append", help="may be repeated [all]")
    parser.add_argument("--optimizer", choices=["sgd", "sam", "ssam-f"], default="sgd")
    parser.add_argument("--rounds", type=positive, default=5, help="[5]")
    parser.add_argument("--threads", type=positive, default=cpus(), help="[all CPUs]")
    parser.add_argument("--batch-size", type=positive, help="[the case's, or 128]")
    parser.add_argument("--compile", action="store_true", help="also PyTorch with torch.compile; its compiling is not timed")
    parser.add_argument("--steps", type=positive, default=10, help="timed steps of a process [10]")
    parser.add_argument("--warmup", type=count, default=3, help="steps before those [3]")
    args = parser.parse_args()
    if not os.access(args.sharpbench, os.X_OK) or args.sharpbench.is_dir():
        raise SystemExit(f"no program at {args.sharpbench}; run `cargo build` in {ROOT}, or give --sharpbench PATH")
    args.sharpbench = args.sharpbench.resolve()
    if importlib.util.find_spec("torch") is None:
        raise SystemExit(f"{sys.executable} has no PyTorch; make the venv of {HERE / 'README.md'} and use its Python")

    rows, ratios, version = [], [], None
    for name in dict.fromkeys(args.case or CASES):
        runs = run_case(name, args)
        cells, ratio = row(name, runs)
        rows.append(cells)
        ratios.append(ratio)
        version = runs["default"][0]["torch"]
    print(f"{args.optimizer}, batch {args.batch_size or '128 or as named'}, {args.threads} threads, {args.rounds} rounds of {args.steps} "
          f"steps after {args.warmup}, PyTorch {version}")
    print(table(rows))
    print(f"geometric mean of the ratios: {geometric_mean(ratios):.2f} n={len(ratios)}")
    print("ms: median of the rounds' medians (min-max); ratio: sharpbench / PyTorch round by round, median (min-max);\n"
          "below 1 sharpbench is faster, or smaller.")


if __name__ == "__main__":
    main()
