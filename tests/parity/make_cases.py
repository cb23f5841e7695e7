#!/usr/bin/env python3
"""Parity cases: short SGD / SAM / SSAM runs made by PyTorch, for another implementation to reproduce.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python make_cases.py             # writes cases/*.safetensors, next to this file
    venv/bin/python make_cases.py --check     # recomputes every stored case in float64, writes nothing
    venv/bin/python make_cases.py --out DIR   # another folder; works with --check too

The input is synthetic and every case is seeded, so a second run on one machine writes the same bytes;
`loss.*` and `expected.*` come out of float32 kernels and may differ in the last bits on another machine.

Both commands recompute each case in float64 by a second implementation (`oracle`) and print
  error   worst max|stored - recomputed| / max|recomputed| over the tensors; it has to stay below 2e-5
  shaken  the same, worst of DRAWS runs in which every weight and input of every pass is disturbed by a
          relative NOISE, ten times float32 rounding; it has to stay below the tolerance. A case fails this
          when a ReLU input lies so near zero that rounding decides its sign; then take another seed.

One file is one case of STEPS optimizer steps, each on its own batch.
Metadata (string -> string):
  format     "sharpbench-parity-1"
  model      JSON: {"name": "mlp", "hidden": [a, b]} or {"name": "resnet8", "width": w}; 10 classes
  optimizer  JSON: optimizer (sgd | sam | ssam), momentum, nesterov, weight_decay, and rho for sam and ssam
  lr         JSON array: the learning rate of each step
  tolerance  the error a float32 implementation may show, by max|a - b| / max|b| within a tensor
  generator  "PyTorch <version>"
Tensors (float32 unless said):
  init.NAME      parameters and BatchNorm running_mean / running_var before the first step
  input.K        [B, C, H, W], the batch of step K      target.K  [B] int64, its classes
  mask.NAME      uint8 0 or 1, shaped like the parameter; 1 = perturbed (ssam only)
  loss.K         [1], mean cross-entropy of the FIRST pass of step K
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
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save

FORMAT, TOLERANCE = "sharpbench-parity-1", "1e-4"
STEPS, BATCH, CHANNELS, SIDE, CLASSES = 5, 8, 3, 12, 10
NOISE, DRAWS = 1e-6, 20

LRS = [0.1, 0.09, 0.08, 0.06, 0.05]
MODELS = {  # spec, the tensor whose mask is all zero in the ssam case
    "mlp": ({"name": "mlp", "hidden": [24, 16]}, "fc2.weight"),
    "resnet8": ({"name": "resnet8", "width": 4}, "layer2.0.conv1.weight"),
}
OPTIMIZERS = {
    "sgd-plain": {"optimizer": "sgd", "momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "sgd-momentum-wd": {"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "weight_decay": 5e-4},
    "sgd-nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
    "sam": {"optimizer": "sam", "rho": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-3},
    "ssam": {"optimizer": "ssam", "rho": 0.1, "momentum": 0.9, "nesterov": False, "weight_decay": 1e-3},
}
SEEDS = {  # chosen by the two figures above
    "mlp": {"sgd-plain": 2, "sgd-momentum-wd": 3, "sgd-nesterov": 8, "sam": 6, "ssam": 10},
    "resnet8": {"sgd-plain": 3, "sgd-momentum-wd": 22, "sgd-nesterov": 29, "sam": 9, "ssam": 40},
}


# ---- the models -----------------------------------------------------------------------------------

class Mlp(nn.Module):
    def __init__(self, inputs, hidden):
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], CLASSES)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class Block(nn.Module):
    """Two 3x3 convolutions and a parameter-free shortcut (option A of He et al.)."""

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.pad = stride, (planes - inputs) // 2  # planes // 4 where the width doubles

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + shortcut)


class ResNet(nn.Module):
    """CIFAR ResNet of depth 6 * blocks + 2."""

    def __init__(self, blocks, width):
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, width, 3, padding=1, bias=False)
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


def build(spec):
    if spec["name"] == "mlp":
        return Mlp(CHANNELS * SIDE * SIDE, spec["hidden"])
    model = ResNet((int(spec["name"].removeprefix("resnet")) - 2) // 6, spec["width"])
    for module in model.modules():  # away from 1 and 0, where a mistake would not show
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(0.1, 0.5)
            module.running_var.uniform_(0.5, 1.5)
    return model


def state(model):
    return {k: v.detach().clone() for k, v in model.state_dict().items() if "num_batches" not in k}


# ---- making a case: nn.Module and torch.optim -----------------------------------------------------

def train(model, batches, opt, lrs, masks):
    """Runs the steps in place; the loss of each first pass."""
    params = dict(model.named_parameters())
    base = torch.optim.SGD(params.values(), lr=lrs[0], momentum=opt["momentum"],
                           weight_decay=opt["weight_decay"], nesterov=opt["nesterov"])
    model.train()

    def backward(x, y):
        base.zero_grad()
        loss = F.cross_entropy(model(x), y)
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


def make(spec, unmasked, opt, seed):
    torch.manual_seed(seed)
    model = build(spec)
    # Four of the ten classes, told apart by colour and by pattern, so that the loss falls within a few steps.
    used = torch.randperm(CLASSES)[:4]
    centres = torch.randn(CLASSES, CHANNELS, 1, 1) + 0.5 * torch.randn(CLASSES, CHANNELS, SIDE, SIDE)
    batches = []
    for _ in range(STEPS):
        y = used[torch.randint(len(used), (BATCH,))]
        batches.append((centres[y] + 0.5 * torch.randn(BATCH, CHANNELS, SIDE, SIDE), y))
    masks = {}
    if opt["optimizer"] == "ssam":
        for name, p in model.named_parameters():
            density = 0.0 if name == unmasked else torch.empty(1).uniform_(0.1, 0.4).item()
            masks[name] = (torch.rand(p.shape) < density).to(torch.uint8)
    tensors = {f"init.{k}": v for k, v in state(model).items()}
    losses = train(model, batches, opt, LRS, masks)
    for k, (x, y) in enumerate(batches):
        tensors |= {f"input.{k}": x, f"target.{k}": y, f"loss.{k}": losses[k]}
    tensors |= {f"mask.{k}": v for k, v in masks.items()}
    tensors |= {f"expected.{k}": v for k, v in state(model).items()}
    metadata = {"format": FORMAT, "model": json.dumps(spec), "optimizer": json.dumps(opt), "lr": json.dumps(LRS),
                "tolerance": TOLERANCE, "generator": "PyTorch " + torch.__version__.split("+")[0]}
    return tensors, metadata


# ---- checking a case: float64 from the file alone, with no nn.Module, torch.optim, conv or batch_norm

def oracle(tensors, meta, noise=0.0):
    """The `loss.*` and `expected.*` of a case, by formula. Shares no code with the section above.

    `noise` disturbs every weight and input of every pass by that relative amount, as rounding would."""
    spec, opt, lrs = (json.loads(meta[k]) for k in ("model", "optimizer", "lr"))
    s = {k.removeprefix("init."): v.double() for k, v in tensors.items() if k.startswith("init.")}
    names = [k for k in s if "running_" not in k]
    velocity = {k: torch.zeros_like(s[k]) for k in names}

    def conv(w, x, stride=1):
        side = (x.shape[-1] + stride - 1) // stride
        return (w.flatten(1) @ F.unfold(x, 3, padding=1, stride=stride)).unflatten(2, (side, side))

    def norm(p, at, x):
        count = x.numel() // x.shape[1]
        mean = x.mean((0, 2, 3))
        centred = x - mean[:, None, None]
        var = (centred * centred).mean((0, 2, 3))
        for key, new in (("running_mean", mean), ("running_var", var * count / (count - 1))):
            s[f"{at}.{key}"] = 0.9 * s[f"{at}.{key}"] + 0.1 * new.detach()
        return (p[f"{at}.weight"] / (var + 1e-5).sqrt())[:, None, None] * centred + p[f"{at}.bias"][:, None, None]

    def logits(p, x):
        if spec["name"] == "mlp":
            h = (x.flatten(1) @ p["fc1.weight"].T + p["fc1.bias"]).clamp(min=0)
            return (h @ p["fc2.weight"].T + p["fc2.bias"]).clamp(min=0) @ p["fc3.weight"].T + p["fc3.bias"]
        h = norm(p, "bn1", conv(p["conv1.weight"], x)).clamp(min=0)
        for at, stride in (("layer1.0", 1), ("layer2.0", 2), ("layer3.0", 2)):
            y = norm(p, f"{at}.bn1", conv(p[f"{at}.conv1.weight"], h, stride)).clamp(min=0)
            y = norm(p, f"{at}.bn2", conv(p[f"{at}.conv2.weight"], y))
            if stride == 2:
                half = torch.zeros_like(y[:, : y.shape[1] // 4])
                h = torch.cat([half, h[:, :, ::2, ::2], half], 1)
            h = (y + h).clamp(min=0)
        return h.mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"]

    def noisy(v):
        return v * (1 + noise * torch.randn(v.shape, dtype=v.dtype)) if noise else v

    def gradient(weights, x, y):
        p = {k: noisy(w).detach().requires_grad_() for k, w in weights.items()}
        z = logits(p, noisy(x))
        loss = (z.logsumexp(1) - z[torch.arange(len(y)), y]).mean()
        return loss.detach(), dict(zip(p, torch.autograd.grad(loss, list(p.values()))))

    out = {}
    for k, lr in enumerate(lrs):
        x, y = tensors[f"input.{k}"].double(), tensors[f"target.{k}"]
        loss, g = gradient({n: s[n] for n in names}, x, y)
        out[f"loss.{k}"] = loss.reshape(1)
        if opt["optimizer"] in ("sam", "ssam"):
            length = sum((g[n] ** 2).sum() for n in names).sqrt()
            if opt["optimizer"] == "sam":
                eps = {n: opt["rho"] * g[n] / (length + 1e-12) for n in names}
            else:
                eps = {n: tensors[f"mask.{n}"].double() * (opt["rho"] * g[n] / (length + 1e-7)) for n in names}
            _, g = gradient({n: s[n] + eps[n] for n in names}, x, y)
        for n in names:
            d = g[n] + opt["weight_decay"] * s[n]
            velocity[n] = opt["momentum"] * velocity[n] + d
            s[n] = s[n] - lr * (d + opt["momentum"] * velocity[n] if opt["nesterov"] else velocity[n])
    return out | {f"expected.{k}": v for k, v in s.items()}


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
        for m, o in ((m, o) for m in MODELS for o in OPTIMIZERS):
            tensors, meta = make(*MODELS[m], OPTIMIZERS[o], SEEDS[m][o])
            write(args.out / f"{m}-{o}.safetensors", tensors, meta)
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
