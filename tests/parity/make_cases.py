#!/usr/bin/env python3
"""Parity cases: short SGD / SAM / SSAM runs made by PyTorch, for another implementation to reproduce.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_cases.py             # writes cases/*.safetensors, next to this file
    venv/bin/python make_cases.py --check     # recomputes every stored case in float64, writes nothing
    venv/bin/python make_cases.py --out DIR   # another folder; works with --check too

The input is synthetic and every case is seeded, so a second run on one machine writes the same bytes;
`loss.*` and `expected.*` come out of float32 kernels and may differ in the last bits on another machine.

Both commands recompute each case in float64 by a second implementation (oracle.py) and print
  error   worst max|stored - recomputed| / max|recomputed| over the tensors; it has to stay below 2e-5
  shaken  the same, worst of DRAWS runs in which every weight and image of every pass is disturbed by a
          relative NOISE, ten times float32 rounding; it has to stay below the tolerance. A case fails this
          when a ReLU input lies so near zero that rounding decides its sign; then take another seed.

One file is one case of a few optimizer steps, each on its own batch.
Metadata (string -> string):
  format     "sharpbench-parity-1"
  model      JSON: {"name": "resnet8", "width": w} and so on, see models.py; 10 classes, or the
             vocabulary of the transformer, 128
  optimizer  JSON: optimizer (sgd | sam | ssam), momentum, nesterov, weight_decay, and rho for sam and ssam
  lr         JSON array: the learning rate of each step
  tolerance  the error a float32 implementation may show, by max|a - b| / max|b| within a tensor
  generator  "PyTorch <version>"
Tensors (float32 unless said):
  init.NAME      parameters and BatchNorm running_mean / running_var before the first step
  input.K        [B, C, H, W], the batch of step K      target.K  [B] int64, its classes;
                 of the transformer [B, T] int64, tokens, and target.K [B, T] int64, the token after each
  mask.NAME      uint8 0 or 1, shaped like the parameter; 1 = perturbed (ssam only)
  loss.K         [1], mean cross-entropy of the FIRST pass of step K, over the batch, or over all of its tokens
  expected.NAME  parameters and running statistics after the last step

What a step does (g and the second gradient are taken in train mode, on the same batch):
  sgd   torch.optim.SGD: v = momentum v + (g + wd w); w -= lr v, or lr (g + wd w + momentum v) if nesterov
  sam   eps = rho g / (||g|| + 1e-12), norm over all parameters, no weight decay in g; g2 = gradient at
        w + eps; w put back by copy; the sgd step with g2. Both passes update the running statistics.
  ssam  as sam with eps = mask * (rho g / (||g|| + 1e-7)): the norm is the FULL gradient's, and the masked
        eps is not scaled up again
"""
import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save

import models
from oracle import oracle

FORMAT, TOLERANCE = "sharpbench-parity-1", "1e-4"
NOISE, DRAWS = 1e-6, 20

OPTIMIZERS = {
    "sgd-plain": {"optimizer": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "sgd-momentum-wd": {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4},
    "sgd-nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "sam": {"optimizer": "sam", "rho": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-3},
    "ssam": {"optimizer": "ssam", "rho": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-3},
}


@dataclass
class Case:
    spec: dict
    optimizer: dict
    seed: int  # chosen by the two figures above
    input: list = field(default_factory=lambda: [3, 12, 12])
    batch: int = 8
    lrs: list = field(default_factory=lambda: [0.1, 0.09, 0.08, 0.06, 0.05])
    classes: int = 10
    unmasked: str = ""  # the tensor whose mask is all zero in an ssam case


CASES = {}
for spec, unmasked, seeds in (
    ({"name": "mlp", "hidden": [24, 16]}, "fc2.weight", [2, 3, 8, 6, 10]),
    ({"name": "resnet8", "width": 4}, "layer2.0.conv1.weight", [3, 22, 29, 9, 40]),
):
    for (name, optimizer), seed in zip(OPTIMIZERS.items(), seeds, strict=True):
        CASES[f"{spec['name']}-{name}"] = Case(spec, optimizer, seed, unmasked=unmasked)
for spec, seed, shape, batch, lrs, rho in (
    ({"name": "resnet18", "width": 2}, 35, [3, 12, 12], 6, [0.1, 0.05], 0.1),
    ({"name": "resnet50", "width": 1}, 54, [3, 33, 33], 4, [0.05, 0.02], 0.05),
    ({"name": "wideresnet", "depth": 10, "width": 1}, 2, [3, 10, 10], 4, [0.1, 0.05], 0.1),
    ({"name": "vgg11-bn", "width": 2, "hidden": [16, 16], "dropout": 0.0}, 4, [3, 32, 32], 4, [0.1, 0.05], 0.1),
    ({"name": "edge-cnn", "width": 8}, 1, [3, 12, 12], 4, [0.1, 0.08, 0.05], 0.1),
    ({"name": "vit", "width": 16, "depth": 2, "heads": 2}, 2, [3, 16, 16], 6, [0.5, 0.4, 0.3], 0.1),
    ({"name": "transformer", "width": 16, "depth": 2, "heads": 2}, 1, [12], 6, [0.5, 0.4, 0.3], 0.1),
    ({"name": "speednet", "width": 4}, 10, [3, 16, 16], 8, [0.1, 0.08], 0.1),
):
    classes = models.VOCABULARY if spec["name"] == "transformer" else 10
    CASES[f"{spec['name']}-sam"] = Case(spec, OPTIMIZERS["sam"] | {"rho": rho}, seed, shape, batch, lrs, classes)


# ---- making a case: nn.Module and torch.optim -----------------------------------------------------

def build(case):
    model = models.build(case.spec, case.input, case.classes)
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):  # away from 1 and 0, where a mistake would not show
            # The blocks of resnet50 are so many that they magnify rounding, unless each adds little.
            nn.init.uniform_(module.weight, *((0.05, 0.15) if name.endswith(".bn3") else (0.5, 1.5)))
            nn.init.uniform_(module.bias, -0.3, 0.3)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(0.1, 0.5)
            module.running_var.uniform_(0.5, 1.5)
    for name, p in model.named_parameters():
        if name in ("tok_embed.weight", "pos_embed"):
            nn.init.normal_(p, std=0.1)
    return model


def state(model):
    return {k: v.detach().clone() for k, v in model.state_dict().items() if "num_batches" not in k}


def train(model, batches, opt, lrs, masks):
    """Runs the steps in place; the loss of each first pass."""
    params = dict(model.named_parameters())
    base = torch.optim.SGD(params.values(), lr=lrs[0], momentum=opt["momentum"],
                           weight_decay=opt["weight_decay"], nesterov=opt["nesterov"])
    model.train()

    def backward(x, y):
        base.zero_grad()
        loss = F.cross_entropy(model(x), y.flatten())
        loss.backward()
        return loss.detach().reshape(1)

    losses = []
    for (x, y), lr in zip(batches, lrs, strict=True):
        base.param_groups[0]["lr"] = lr
        losses.append(backward(x, y))
        if opt["optimizer"] != "sgd":
            with torch.no_grad():
                saved = {name: p.clone() for name, p in params.items()}
                norm = torch.stack([p.grad.norm() for p in params.values()]).norm()
                scale = opt["rho"] / (norm + (1e-7 if opt["optimizer"] == "ssam" else 1e-12))
                for name, p in params.items():
                    eps = p.grad * scale
                    p.add_(eps * masks[name] if opt["optimizer"] == "ssam" else eps)
            backward(x, y)
            with torch.no_grad():
                for name, p in params.items():
                    p.copy_(saved[name])
        base.step()
    return losses


def images(case):
    # Four of the ten classes, told apart by colour and by pattern, so that the loss falls within a few steps.
    used = torch.randperm(case.classes)[:4]
    channels, *side = case.input
    centres = torch.randn(case.classes, channels, 1, 1) + 0.5 * torch.randn(case.classes, channels, *side)
    batches = []
    for _ in case.lrs:
        y = used[torch.randint(len(used), (case.batch,))]
        batches.append((centres[y] + 0.5 * torch.randn(case.batch, channels, *side), y))
    return batches


def text(case):
    # Three tokens in four are the one that always follows the token before, of a few; the others are any token.
    follower = torch.randint(12, (case.classes,)) * 7
    batches = []
    for _ in case.lrs:
        tokens = torch.randint(case.classes, (case.batch, case.input[0] + 1))
        for i in range(case.input[0]):
            tokens[:, i + 1] = torch.where(torch.rand(case.batch) < 0.75, follower[tokens[:, i]], tokens[:, i + 1])
        batches.append((tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()))
    return batches


def make(case):
    torch.manual_seed(case.seed)
    model, opt = build(case), case.optimizer
    batches = text(case) if len(case.input) == 1 else images(case)
    masks = {}
    if opt["optimizer"] == "ssam":
        for name, p in model.named_parameters():
            density = 0.0 if name == case.unmasked else torch.empty(1).uniform_(0.1, 0.4).item()
            masks[name] = (torch.rand(p.shape) < density).to(torch.uint8)
    tensors = {f"init.{k}": v for k, v in state(model).items()}
    losses = train(model, batches, opt, case.lrs, masks)
    for k, (x, y) in enumerate(batches):
        tensors |= {f"input.{k}": x, f"target.{k}": y, f"loss.{k}": losses[k]}
    tensors |= {f"mask.{k}": v for k, v in masks.items()}
    tensors |= {f"expected.{k}": v for k, v in state(model).items()}
    metadata = {"format": FORMAT, "model": json.dumps(case.spec), "optimizer": json.dumps(opt),
                "lr": json.dumps(case.lrs), "tolerance": TOLERANCE,
                "generator": "PyTorch " + torch.__version__.split("+")[0]}
    return tensors, metadata


# ---- files and figures ----------------------------------------------------------------------------

def errors(tensors, meta, noise=0.0):
    """max|stored - recomputed| / max|recomputed| for every loss and every expected tensor."""
    exact = oracle(tensors, meta, noise)
    stored = {k for k in tensors if k.startswith(("loss.", "expected."))}
    assert stored == set(exact), f"tensors differ: {sorted(stored ^ set(exact))}"
    return {k: ((tensors[k].double() - v).abs().max() / v.abs().max()).item() for k, v in exact.items()}


def write(path, tensors, meta):
    """save_file, but the same bytes every time: safetensors writes the metadata in a random order."""
    data = save(tensors, meta)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(meta.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])


def load(path):
    with safe_open(path, "pt") as f:
        return {k: f.get_tensor(k) for k in f.keys()}, f.metadata()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="recompute the stored cases, write nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "cases")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.check:
        args.out.mkdir(parents=True, exist_ok=True)
        for name, case in CASES.items():
            write(args.out / f"{name}.safetensors", *make(case))
    bad, paths = False, sorted(args.out.glob("*.safetensors"))
    for path in paths:
        tensors, meta = load(path)
        assert meta["format"] == FORMAT, path
        found = errors(tensors, meta)
        worst = max(found, key=found.get)
        losses = " ".join(f"{tensors[f'loss.{k}'].item():.3f}" for k in range(len(json.loads(meta["lr"]))))
        torch.manual_seed(0)
        shaken = max(max(errors(tensors, meta, NOISE).values()) for _ in range(DRAWS))
        print(f"{path.stem:24} error {found[worst]:.1e} ({worst}), shaken {shaken:.1e}, loss {losses}")
        if args.check:
            for key, value in found.items():
                print(f"    {value:.1e}  {key}")
        bad |= not (found[worst] < 2e-5 and shaken < float(meta["tolerance"]))
    print(f"{len(paths)} cases, {sum(p.stat().st_size for p in paths)} bytes")
    if bad or not paths:
        raise SystemExit("no cases, or a figure is over its limit")


if __name__ == "__main__":
    main()
