#!/usr/bin/env python3
"""Times one training step in PyTorch: the peer of `sharpbench bench`, same options, same JSON.

    step.py --model resnet20 --width 16 --batch-size 128 --optimizer sgd
    step.py --model mlp --hidden 1000,1000,1000 --input 1x28x28
    step.py --model transformer --width 128 --depth 6 --heads 8 --input 64

A step is zero_grad, forward, cross-entropy, backward, (for sam and ssam-f: ascent, a second forward and
backward, weights put back,) optimizer step. Batches are synthetic and made beforehand. Warm-up steps are
not in the figures. The models are those of tests/parity/models.py.

peak_memory_bytes is VmHWM of the whole process, Python and the libraries of PyTorch included; null where
there is no /proc. With --device cuda a batch comes from the host at each step, products are of f32 (no TF32), and a step has
ended when the GPU has.
"""
import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "parity"))
import models  # noqa: E402

CLASSES = 10
BATCHES = 4  # made beforehand, taken in turn
LR, MOMENTUM, WEIGHT_DECAY, RHO = 0.01, 0.9, 5e-4, 0.05
EPSILON = {"sam": 1e-12, "ssam-f": 1e-7}  # as in tests/parity/make_cases.py
LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


# ---- the step -------------------------------------------------------------------------------------

class Trainer:
    """One training step of `optimizer`; `masks` (one per parameter) say what ssam-f perturbs."""

    def __init__(self, model, optimizer, masks=None, lr=LR, rho=RHO, weight_decay=WEIGHT_DECAY):
        self.model, self.optimizer, self.masks, self.rho = model.train(), optimizer, masks, rho
        self.params = list(model.parameters())
        self.sgd = torch.optim.SGD(self.params, lr=lr, momentum=MOMENTUM, weight_decay=weight_decay)

    def backward(self, x, y):
        self.sgd.zero_grad()
        loss = F.cross_entropy(self.model(x), y)  # of tokens: the mean over all of a batch
        loss.backward()
        return loss.detach()

    @torch.no_grad()
    def ascend(self):
        """w += mask * rho g / (||g|| + epsilon); the weights as they were."""
        saved = [p.clone() for p in self.params]
        norm = torch.stack([p.grad.norm() for p in self.params]).norm().item()
        scale = self.rho / (norm + EPSILON[self.optimizer])
        if self.masks is None:
            for p in self.params:
                p.add_(p.grad, alpha=scale)
        else:
            for p, mask in zip(self.params, self.masks):
                p.addcmul_(p.grad, mask, value=scale)
        return saved

    @torch.no_grad()
    def put_back(self, saved):
        for p, old in zip(self.params, saved):
            p.copy_(old)

    def step(self, x, y):
        """The loss of the first pass."""
        loss = self.backward(x, y)
        if self.optimizer != "sgd":
            saved = self.ascend()
            self.backward(x, y)
            self.put_back(saved)
        self.sgd.step()
        return loss


def batch(args):
    """Images [batch, channels, height, width], classes [batch]; or tokens [batch, length], classes [batch * length]."""
    if args.model == "transformer":
        shape = (args.batch_size, *args.input)
        return torch.randint(models.VOCABULARY, shape), torch.randint(models.VOCABULARY, shape).flatten()
    images = torch.randn(args.batch_size, *args.input).to(memory_format=LAYOUTS[args.layout])
    return images, torch.randint(CLASSES, (args.batch_size,))


def bench(args):
    """Seconds of each timed step."""
    classes = models.VOCABULARY if args.model == "transformer" else CLASSES
    model = models.build({"name": args.model} | args.spec, args.input, classes)
    model = model.to(args.device, memory_format=LAYOUTS[args.layout])
    if args.compile:
        # In place, so that the model's parameters stay those that are updated. The first warm-up step compiles.
        model.compile()
    masks = None
    if args.optimizer == "ssam-f":
        masks = [(torch.rand_like(p) >= args.sparsity).float() for p in model.parameters()]
    trainer = Trainer(model, args.optimizer, masks)
    batches = [batch(args) for _ in range(BATCHES)]
    seconds = []
    for i in range(args.warmup + args.steps):
        x, y = batches[i % BATCHES]
        start = time.perf_counter()
        loss = trainer.step(x.to(args.device), y.to(args.device))
        if args.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    if not loss.isfinite():
        raise SystemExit(f"the loss of the last step is {loss.item()}: these timings mean nothing")
    return seconds[args.warmup:]


# ---- the command ----------------------------------------------------------------------------------

def peak_memory():
    """VmHWM in bytes."""
    try:
        with open("/proc/self/status") as f:
            return next((int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:")), None)
    except OSError:
        return None


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


def fraction(text):
    if not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


def sizes(text):
    return [positive(size) for size in text.split(",")]


def shape(text):
    parts = [positive(size) for size in text.split("x")]
    if len(parts) not in (1, 3):
        raise ValueError
    return parts


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=models.DEFAULTS, default="resnet20")
    parser.add_argument("--width", type=positive, help="channels of a ResNet's first stage [16], and so on")
    parser.add_argument("--hidden", type=sizes, help="layers of mlp [256,128], edge-mlp [1000,1000,1000] and vgg11-bn [4096,4096]")
    parser.add_argument("--depth", type=positive, help="layers of wideresnet [28], blocks of a Transformer")
    parser.add_argument("--heads", type=positive, help="of a Transformer's attention")
    parser.add_argument("--input", type=shape, help="shape of one input [3x32x32; of transformer 64, the tokens]")
    parser.add_argument("--batch-size", type=positive, default=128)
    parser.add_argument("--optimizer", choices=["sgd", *EPSILON], default="sgd")
    parser.add_argument("--sparsity", type=fraction, default=0.9, help="of the mask of ssam-f [0.9]")
    parser.add_argument("--steps", type=positive, default=10, help="timed steps [10]")
    parser.add_argument("--warmup", type=count, default=3, help="steps before those [3]")
    parser.add_argument("--threads", type=positive, default=cpus(), help="[all CPUs]")
    parser.add_argument("--layout", choices=LAYOUTS, default="default")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true", help="with torch.compile; needs a C++ compiler")
    parser.add_argument("--json", action="store_true", help="accepted, as the output is always JSON")
    args = parser.parse_args()
    default = [64] if args.model == "transformer" else [3, 32, 32]
    args.input = args.input or default
    if args.compile and args.warmup == 0:
        parser.error("--compile needs a warm-up step, which compiles")
    if len(args.input) != len(default):
        parser.error(f"--input of {args.model} has the form {'x'.join(map(str, default))}")
    given = {key: getattr(args, key) for key in ("width", "hidden", "depth", "heads")}
    args.spec = models.DEFAULTS[args.model] | {key: value for key, value in given.items() if value is not None}
    unknown = args.spec.keys() - models.DEFAULTS[args.model].keys()
    if unknown:
        parser.error(f"{args.model} has no --{min(unknown)}")
    return args


def main():
    args = options()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    seconds = bench(args)
    print(json.dumps({
        "model": args.model,
        "width": args.spec.get("width"),
        "hidden": args.spec.get("hidden"),
        **{key: args.spec[key] for key in ("depth", "heads") if key in args.spec},
        "input": args.input,
        "batch_size": args.batch_size,
        "optimizer": args.optimizer,
        "device": args.device,
        "threads": torch.get_num_threads(),
        "steps": args.steps,
        "step_seconds": {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds),
                         "n": len(seconds)},
        "peak_memory_bytes": peak_memory(),
        "layout": args.layout,
        "compiled": args.compile,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
