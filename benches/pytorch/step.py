#!/usr/bin/env python3
"""Times one training step in PyTorch on the CPU: the peer of `sharpbench bench`, same options, same JSON.

    step.py --model resnet20 --width 16 --batch-size 128 --optimizer sgd
    step.py --model mlp --hidden 1000,1000,1000 --input 1x28x28

A step is zero_grad, forward, cross-entropy, backward, (for sam and ssam-f: ascent, a second forward and
backward, weights put back,) optimizer step. Batches are synthetic and made beforehand. Warm-up steps are
not in the figures. The models have the names and shapes of tests/parity/make_cases.py.

peak_memory_bytes is VmHWM of the whole process, Python and the libraries of PyTorch included; null where
there is no /proc.
"""
import argparse
import json
import math
import os
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

CLASSES = 10
BATCHES = 4  # made beforehand, taken in turn
LR, MOMENTUM, WEIGHT_DECAY, RHO = 0.01, 0.9, 5e-4, 0.05
EPSILON = {"sam": 1e-12, "ssam-f": 1e-7}  # as in tests/parity/make_cases.py
LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


# ---- the models -----------------------------------------------------------------------------------

class Mlp(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        sizes = [inputs, *hidden, CLASSES]
        self.depth = len(sizes) - 1
        for i in range(self.depth):
            setattr(self, f"fc{i + 1}", nn.Linear(sizes[i], sizes[i + 1]))

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.depth):
            x = F.relu(getattr(self, f"fc{i}")(x))
        return getattr(self, f"fc{self.depth}")(x)


class Block(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut (option A of He et al.)."""

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.pad = stride, (planes - inputs) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.pad:
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class ResNet(nn.Module):
    """CIFAR ResNet of depth 6 * blocks + 2."""

    def __init__(self, channels, blocks, width):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage in range(3):
            planes, layer = width << stage, []
            for block in range(blocks):
                layer.append(Block(inputs, planes, 2 if stage > 0 and block == 0 else 1))
                inputs = planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(inputs, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


def build(args):
    if args.model == "mlp":
        return Mlp(math.prod(args.input), args.hidden)
    return ResNet(args.input[0], (int(args.model[len("resnet"):]) - 2) // 6, args.width)


# ---- the step -------------------------------------------------------------------------------------

class Trainer:
    """One training step of `optimizer`; `masks` (one per parameter) say what ssam-f perturbs."""

    def __init__(self, model, optimizer, masks=None, lr=LR, rho=RHO, weight_decay=WEIGHT_DECAY):
        self.model, self.optimizer, self.masks, self.rho = model.train(), optimizer, masks, rho
        self.params = list(model.parameters())
        self.sgd = torch.optim.SGD(self.params, lr=lr, momentum=MOMENTUM, weight_decay=weight_decay)

    def backward(self, x, y):
        self.sgd.zero_grad()
        loss = F.cross_entropy(self.model(x), y)
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


def bench(args):
    """Seconds of each timed step."""
    layout = LAYOUTS[args.layout]
    model = build(args).to(memory_format=layout)
    masks = None
    if args.optimizer == "ssam-f":
        masks = [(torch.rand_like(p) >= args.sparsity).float() for p in model.parameters()]
    trainer = Trainer(model, args.optimizer, masks)
    batches = [(torch.randn(args.batch_size, *args.input).to(memory_format=layout),
                torch.randint(CLASSES, (args.batch_size,))) for _ in range(BATCHES)]
    seconds = []
    for i in range(args.warmup + args.steps):
        x, y = batches[i % BATCHES]
        start = time.perf_counter()
        loss = trainer.step(x, y)
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
    channels, height, width = text.split("x")
    return [positive(size) for size in (channels, height, width)]


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["resnet8", "resnet20", "mlp"], default="resnet20")
    parser.add_argument("--width", type=positive, default=16, help="channels of a ResNet's first stage [16]")
    parser.add_argument("--hidden", type=sizes, default=[1000, 1000, 1000], help="mlp layers [1000,1000,1000]")
    parser.add_argument("--input", type=shape, default=[3, 32, 32], help="shape of one input [3x32x32]")
    parser.add_argument("--batch-size", type=positive, default=128)
    parser.add_argument("--optimizer", choices=["sgd", *EPSILON], default="sgd")
    parser.add_argument("--sparsity", type=fraction, default=0.9, help="of the mask of ssam-f [0.9]")
    parser.add_argument("--steps", type=positive, default=10, help="timed steps [10]")
    parser.add_argument("--warmup", type=count, default=3, help="steps before those [3]")
    parser.add_argument("--threads", type=positive, default=cpus(), help="[all CPUs]")
    parser.add_argument("--layout", choices=LAYOUTS, default="default")
    parser.add_argument("--json", action="store_true", help="accepted, as the output is always JSON")
    return parser.parse_args()


def main():
    args = options()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    seconds = bench(args)
    mlp = args.model == "mlp"
    print(json.dumps({
        "model": args.model,
        "width": None if mlp else args.width,
        "hidden": args.hidden if mlp else None,
        "input": args.input,
        "batch_size": args.batch_size,
        "optimizer": args.optimizer,
        "threads": torch.get_num_threads(),
        "steps": args.steps,
        "step_seconds": {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds),
                         "n": len(seconds)},
        "peak_memory_bytes": peak_memory(),
        "layout": args.layout,
        "torch": torch.__version__,
    }))


if __name__ == "__main__":
    main()
