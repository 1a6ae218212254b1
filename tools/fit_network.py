#!/usr/bin/env python3
"""Train the default network through, trunk and edge decoder together, on the edges that people drew in BSDS500 train.

    tools/fit_network.py RUN --data DATA [--steps 4000] [--fold 0|1] [--start RUN] [--resume]

RUN gets ``checkpoint.pt``, and every ``--every`` steps the averaged weights, as ``edges.safetensors`` and as
``tf_efficientnet_lite0.safetensors``. A run that was stopped goes on with ``--resume``, and ends with the weights that
it would have had without the stop. Equal seeds give equal weights on one machine with one number of threads.

``tools/export_network.py RUN`` makes the network file from the weights, and ``tools/fit_contours.py RUN0 RUN1`` the
weights of the contour cues from two runs with ``--fold 0`` and ``--fold 1``. Such a run leaves every second image out,
and scores the raw edge map on these before and after, by which settings can be chosen.

A run begins with EfficientNet-Lite0 as ImageNet left it, and a decoder that is trained for ``--epochs`` on its maps.
With ``--start`` it begins with the weights of another run, for instance to go on at the sizes at which the network is
used.

The targets are soft: the share of people who drew an edge within about two pixels. An edge counts ``--balance`` times;
the logarithm of this is taken from the decoder's bias afterwards, so that the map stays a probability. Each map of the
trunk also predicts the edges by a linear layer of its own (deep supervision, Xie and Tu 2015), which is not kept. Batch
norms stay as they are.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from segspectral.errors import SegspectralError, SettingsError
from segspectral.evaluation.datasets import open_dataset
from segspectral.features.backbones.base import ARCHITECTURE, padded
from segspectral.features.backbones.edge_decoder import CHANNELS, EdgeDecoder, decoder_of
from segspectral.features.backbones.timm_models import TimmModel, load_timm_model
from segspectral.features.edges import full_size, half_lab
from segspectral.files.writing import whole_file, write_bytes
from segspectral.images.reader import read_image
from segspectral.metrics.boundary import drawn_boundaries
from segspectral.metrics.edges import edge_counts
from segspectral.values import Image

CHECKPOINT = "checkpoint.pt"

DECODER_CROP = 112
"""Side of the crops of ``decoder_alone``, in half-resolution pixels; a multiple of the coarsest stride's cells."""

WARM_UP = 100
"""The learning rates rise linearly over this many steps, and then fall with the cosine."""

Weights = dict[str, Tensor]


class Example(NamedTuple):
    rgb: NDArray[np.uint8]  # (H, W, 3)
    people: NDArray[np.int16]  # (A, H, W) human label maps
    drawn: NDArray[np.bool_]  # (A, H, W) their thin boundaries


class Settings(NamedTuple):
    """All that the weights depend on, beside the images."""

    steps: int = 4000
    seed: int = 0
    fold: int | None = None
    epochs: int = 6
    limit: int = 200
    start: str = ""
    crop: int = 256
    smallest: float = 0.75
    largest: float = 1.5
    batch: int = 4
    trunk_rate: float = 2e-4
    decoder_rate: float = 1e-3
    balance: float = 2.0
    sides: float = 0.2
    average: float = 0.998

    def check(self) -> None:
        """Raise SettingsError if nothing can be trained with these."""
        if self.crop % 32 or self.crop < 64:
            raise SettingsError(f"--crop is a multiple of 32 from 64, not {self.crop}")
        for name in ("steps", "epochs", "limit", "batch", "balance", "smallest"):
            if getattr(self, name) <= 0:
                raise SettingsError(f"--{name} is above 0, not {getattr(self, name)}")
        if self.largest < self.smallest:
            raise SettingsError(f"--largest is at least --smallest, which is {self.smallest}, not {self.largest}")


class Network(nn.Module):
    """RGB (B, 3, H, W) in [0, 1] and half-size CIELAB -> log odds (B, 1, H / 2, W / 2), also those of each map."""

    def __init__(self, backbone: TimmModel, decoder: EdgeDecoder) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(backbone.network).requires_grad_(True)
        self.decoder = copy.deepcopy(decoder).requires_grad_(True)
        self.sides = nn.ModuleDict({str(stride): nn.Conv2d(width, 1, 1) for stride, width in CHANNELS.items()})
        for parameter in self.sides.parameters():
            nn.init.zeros_(parameter)  # the crops are all that is random
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(backbone, name)).reshape(1, -1, 1, 1), persistent=False)
        for module in self.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
        self.eval()  # the means and variances of batch norms stay, too

    def forward(self, image: Tensor, lab: Tensor) -> tuple[Tensor, list[Tensor]]:
        maps = dict(zip(CHANNELS, self.trunk((image - self.mean) / self.std), strict=True))
        size = list(lab.shape[-2:])
        sides = [
            nnf.interpolate(self.sides[str(stride)](values), size, mode="bilinear", align_corners=False)
            for stride, values in maps.items()
        ]
        return self.decoder(lab, maps), sides

    def edge_map(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W) the edge map of a whole image."""
        values = rgb.astype(np.float32) / np.float32(255)
        whole = padded(values, max(CHANNELS))
        image = torch.from_numpy(whole.transpose(2, 0, 1)[None].copy())
        device = next(self.parameters()).device
        with torch.inference_mode():
            maps = self.trunk((image.to(device) - self.mean) / self.std)
            odds = self.decoder(torch.from_numpy(half_lab(whole)).to(device), dict(zip(CHANNELS, maps, strict=True)))
        return full_size(torch.sigmoid(odds)[0, 0].cpu().numpy(), rgb.shape[:2])


def people_edges(people: NDArray[np.integer]) -> Tensor:
    """Return (1, 1, h, w) at half resolution: the share of people with a boundary within one cell."""
    height, width = people.shape[1:]
    total = np.zeros(((height + 1) // 2, (width + 1) // 2), np.float32)
    for regions in people:
        edge = np.zeros((2 * total.shape[0], 2 * total.shape[1]), np.uint8)
        edge[: height - 1, :width] |= regions[1:] != regions[:-1]
        edge[:height, : width - 1] |= regions[:, 1:] != regions[:, :-1]
        coarse = edge.reshape(total.shape[0], 2, total.shape[1], 2).max(axis=(1, 3))
        total += cv2.dilate(coarse, np.ones((3, 3), np.uint8))
    return torch.from_numpy(total / len(people))[None, None]


def crop_of(example: Example, settings: Settings, random: np.random.Generator) -> tuple[NDArray[np.float32], Tensor]:
    """RGB (crop, crop, 3) in [0, 1] and the people's edges (1, 1, crop / 2, crop / 2).

    They are scaled, turned by quarters, mirrored, and changed in colour at random.
    """
    size = settings.crop
    scale = math.exp(random.uniform(math.log(settings.smallest), math.log(settings.largest)))
    scale = max(scale, size / min(example.rgb.shape[:2]))
    side = min(round(size / scale), *example.rgb.shape[:2])
    row, column = (int(random.integers(0, length - side + 1)) for length in example.rgb.shape[:2])
    window = np.s_[row : row + side, column : column + side]
    rgb = cv2.resize(
        example.rgb[window], (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    )
    people = np.stack([cv2.resize(p[window], (size, size), interpolation=cv2.INTER_NEAREST) for p in example.people])
    turns = int(random.integers(4))
    rgb, people = np.rot90(rgb, turns), np.rot90(people, turns, axes=(1, 2))
    if random.random() < 0.5:
        rgb, people = rgb[:, ::-1], people[:, :, ::-1]
    values = np.ascontiguousarray(rgb, np.float32) / 255
    grey = values.mean(axis=2, keepdims=True)
    contrast, saturation, light = (random.uniform(-1, 1, 3) * (0.3, 0.4, 0.1)).astype(np.float32)
    values = grey + (1 + saturation) * (values - grey)
    values = values.mean() + (1 + contrast) * (values - values.mean()) + light
    return np.clip(values, 0, 1).astype(np.float32), people_edges(people)


def batch_of(examples: Sequence[Example], settings: Settings, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Image, CIELAB and target of one step; they depend on nothing but the arguments."""
    random = np.random.default_rng((settings.seed, step))
    images, colours, targets = [], [], []
    for number in range(step * settings.batch, (step + 1) * settings.batch):
        epoch, place = divmod(number, len(examples))
        chosen = np.random.default_rng((settings.seed, epoch, 1)).permutation(len(examples))[place]
        values, target = crop_of(examples[chosen], settings, random)
        images.append(torch.from_numpy(values.transpose(2, 0, 1).copy()))
        colours.append(torch.from_numpy(half_lab(values))[0])
        targets.append(target[0])
    image = torch.stack(images).contiguous(memory_format=torch.channels_last)
    return image, torch.stack(colours), torch.stack(targets)


def loss_of(odds: Tensor, sides: Sequence[Tensor], target: Tensor, settings: Settings) -> Tensor:
    """The balanced cross-entropy of the decoder, and that of each map with the weight ``sides`` together."""
    weight = torch.tensor(settings.balance, device=odds.device)
    loss = nnf.binary_cross_entropy_with_logits(odds, target, pos_weight=weight)
    of_sides = [nnf.binary_cross_entropy_with_logits(side, target, pos_weight=weight) for side in sides]
    return loss + settings.sides * torch.stack(of_sides).mean()


def rate(step: int, steps: int) -> float:
    """The learning rate of a step, as a share of the highest."""
    warm = min(WARM_UP, steps // 10)
    return (step + 1) / (warm + 1) if step < warm else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm))


class Training:
    """The network, the average of its weights, and the state of the optimizer."""

    def __init__(self, backbone: TimmModel, settings: Settings, decoder: EdgeDecoder, device: str = "cpu") -> None:
        self.settings, self.step, self.seconds = settings, 0, 0.0
        # On a CPU, convolutions by depth are faster in this format.
        self.network = Network(backbone, decoder).to(device, memory_format=torch.channels_last)
        decoder = [*self.network.decoder.parameters(), *self.network.sides.parameters()]
        groups = [([p for p in self.network.trunk.parameters() if p.requires_grad], settings.trunk_rate)]
        groups += [(decoder, settings.decoder_rate)]
        self.rates = [highest for _, highest in groups]
        self.optimizer = torch.optim.AdamW([{"params": p} for p, _ in groups], weight_decay=1e-2)
        # From here on a positive pixel counts ``balance`` times, and the odds are that much higher.
        with torch.no_grad():
            self.network.decoder.c3.bias += math.log(settings.balance)
        self.average = copy.deepcopy(self.network)

    def advance(self, examples: Sequence[Example]) -> float:
        """Take one step. Return the loss."""
        start = time.perf_counter()
        device = next(self.network.parameters()).device
        image, lab, target = (part.to(device) for part in batch_of(examples, self.settings, self.step))
        for group, highest in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = highest * rate(self.step, self.settings.steps)
        self.optimizer.zero_grad()
        loss = loss_of(*self.network(image, lab), target, self.settings)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        # The first steps are forgotten sooner.
        kept = min(self.settings.average, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, new in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(new, 1 - kept)
        self.seconds += time.perf_counter() - start
        return loss.item()

    def averaged(self) -> Network:
        """The averaged network, whose map is a probability."""
        made = copy.deepcopy(self.average)
        with torch.no_grad():
            made.decoder.c3.bias -= math.log(self.settings.balance)
        return made

    def save(self, folder: Path, whole: Weights) -> None:
        """Write the checkpoint and the averaged weights; ``whole`` has the tensors that the trunk does not use."""
        network = self.averaged().cpu()
        trunk = {**whole, **network.trunk.state_dict()}
        write_bytes(folder / f"{ARCHITECTURE}.safetensors", save({k: t.contiguous() for k, t in trunk.items()}))
        half = {name: tensor.half().contiguous() for name, tensor in network.decoder.state_dict().items()}
        write_bytes(folder / "edges.safetensors", save(half))
        state = {
            "settings": self.settings._asdict(),
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with whole_file(folder / CHECKPOINT) as partial:
            torch.save(state, partial)

    def load(self, folder: Path) -> None:
        """Go on from the checkpoint. Raises SettingsError if it is missing, damaged, or of other settings."""
        path = folder / CHECKPOINT
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            old = state["settings"]
        except FileNotFoundError:
            raise SettingsError("there is no run to resume; leave out --resume", path) from None
        except Exception as error:
            raise SettingsError(f"cannot be read as a checkpoint ({type(error).__name__})", path) from error
        new = self.settings._asdict()
        if differing := [
            f"{name} was {old.get(name)} and is {new[name]}" for name in new if old.get(name) != new[name]
        ]:
            raise SettingsError(
                f"is of a run with other settings: {', '.join(differing)}; use the same, or another RUN", path
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]


def read(root: Path, limit: int) -> list[Example]:
    """Decode images and human maps of BSDS500 train, evenly over its images. Raises DatasetError, ImageError."""
    samples = open_dataset("bsds", root, split="train").samples
    examples = []
    for sample in samples[:: max(1, len(samples) // limit)][:limit]:
        truth = sample.truth()
        people = truth.labels.astype(np.int16)
        examples.append(Example(read_image(sample.image).uint8, people, drawn_boundaries(people, truth.boundaries)))
    return examples


def decoder_alone(backbone: TimmModel, examples: Sequence[Example], epochs: int, seed: int = 0) -> EdgeDecoder:
    """A decoder of the trunk as it is.

    It minimises the cross-entropy on random crops that are mirrored at random, without a tenth of the channels.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    decoder = EdgeDecoder()
    images = [Image(example.rgb).float32 for example in examples]
    data = [(*decoder.tensors(i, backbone(i)), people_edges(e.people)) for i, e in zip(images, examples, strict=True)]
    scales = {}
    for stride in CHANNELS:
        values = torch.cat([maps[stride].flatten(2)[0] for _, maps, _ in data[::5]], dim=1)
        scales[stride] = values.std(dim=1)[None, :, None, None] + 1e-3
    optimizer = torch.optim.AdamW(decoder.parameters(), weight_decay=1e-2)
    batches = epochs * -(-len(data) // 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=batches + 1, pct_start=0.1)
    for epoch in range(epochs):
        order, total = random.permutation(len(data)), 0.0
        for first in range(0, len(order), 2):
            optimizer.zero_grad()
            for index in order[first : first + 2]:
                lab, maps, target = data[index]
                row, col = (16 * int(random.integers(0, (size - DECODER_CROP) // 16 + 1)) for size in target.shape[-2:])
                lab, target = (t[..., row : row + DECODER_CROP, col : col + DECODER_CROP] for t in (lab, target))
                crops = {}
                for stride, values in maps.items():
                    cells, r, c = 2 * DECODER_CROP // stride, 2 * row // stride, 2 * col // stride
                    crops[stride] = nnf.dropout2d(values[..., r : r + cells, c : c + cells] / scales[stride], 0.1)
                if random.random() < 0.5:
                    lab, target = lab.flip(-1), target.flip(-1)
                    crops = {stride: values.flip(-1) for stride, values in crops.items()}
                loss = nnf.binary_cross_entropy_with_logits(decoder(lab, crops), target)
                (loss / 2).backward()  # type: ignore[no-untyped-call]
                total += loss.item()
            optimizer.step()
            schedule.step()
        if epoch % 6 == 5:
            print(f"decoder on {len(data)} images, epoch {epoch + 1}: loss {total / len(data):.4f}", flush=True)
    with torch.no_grad():  # the scales become part of the weights
        for stride, scale in scales.items():
            decoder.strides[str(stride)].weight /= scale  # type: ignore[operator]
    return decoder.eval()


def score(network: Network, examples: Sequence[Example]) -> str:
    """The scores of the raw edge map, in words."""
    counts = [edge_counts(network.edge_map(e.rgb), e.drawn) for e in examples]
    total = sum(counts[1:], start=counts[0])
    found = total.scores()
    named = ", ".join(f"{name} {found[name]:.4f}" for name in ("edges_ods", "edges_ois", "edges_ap"))
    return f"{named} on {len(examples)} images"


def train(
    folder: Path,
    examples: Sequence[Example],
    settings: Settings,
    *,
    resume: bool = False,
    every: int = 200,
    minutes: float = math.inf,
    device: str = "cpu",
) -> Training:
    """Train until the last step, or for ``minutes``; after every ``every`` steps, and at the end, all is saved.

    Raises
    ------
    SettingsError
        The settings are impossible, or the folder holds no run, or one of other settings, or one that is not resumed.
    """
    settings.check()
    if not resume and (folder / CHECKPOINT).exists():
        raise SettingsError("holds a run; go on with --resume, or choose another RUN", folder)
    used, held_out = examples, examples[:0]
    if settings.fold is not None:
        used, held_out = examples[1 - settings.fold :: 2], examples[settings.fold :: 2]
    if settings.start:
        backbone, decoder = weights_of(Path(settings.start), settings.fold)
    else:
        backbone = load_timm_model(device="cpu")
        decoder = EdgeDecoder() if resume else decoder_alone(backbone, used, settings.epochs)
    training = Training(backbone, settings, decoder, device)
    if resume:
        training.load(folder)
    elif len(held_out):
        print(f"before: {score(training.averaged(), held_out)}", flush=True)
    whole, losses, start = tensors_of_the_package(), [], time.monotonic()
    while training.step < settings.steps:
        losses.append(training.advance(used))
        late = time.monotonic() - start > 60 * minutes
        if late or training.step % every == 0 or training.step == settings.steps:
            training.save(folder, whole)
            print(
                f"step {training.step} of {settings.steps}: loss {np.mean(losses):.4f}, {training.seconds:.0f} s",
                flush=True,
            )
            losses = []
        if late:
            print("stopped; go on with --resume", flush=True)
            return training
    if len(held_out):
        print(f"after: {score(training.averaged(), held_out)}", flush=True)
    return training


def weights_of(run: Path, fold: int | None) -> tuple[TimmModel, EdgeDecoder]:
    """The averaged weights of a run.

    Raises SettingsError if there are none, or if they have seen what a fold leaves out.
    """
    try:
        if fold is not None:
            found = torch.load(run / CHECKPOINT, weights_only=True)["settings"]["fold"]
            if found != fold:
                raise SettingsError(f"is of --fold {found}, which has seen images that --fold {fold} leaves out", run)
        decoder = decoder_of((run / "edges.safetensors").read_bytes())
        return load_timm_model(weights=str(run / f"{ARCHITECTURE}.safetensors"), device="cpu"), decoder
    except FileNotFoundError as error:
        raise SettingsError(f"has no {Path(error.filename).name}; --start is the folder of a run", run) from None


def tensors_of_the_package() -> Weights:
    """All tensors of the model as timm names them, also those that a feature extractor does not use."""
    from segspectral.features.backbones.timm_models import load_classifier

    return load_classifier().state_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEGSPECTRAL_DATA", "../shared/data")))
    for name, default in Settings()._asdict().items():
        kind = int if name == "fold" else type(default)
        choices = (0, 1) if name == "fold" else None
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, choices=choices)
    parser.add_argument("--every", type=int, default=200, help="steps between two checkpoints")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time, to be resumed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    settings = Settings(**{name: getattr(arguments, name) for name in Settings._fields})
    try:
        settings.check()
        examples = read(arguments.data / "bsds500", settings.limit)
        kept = {name: getattr(arguments, name) for name in ("resume", "every", "minutes", "device")}
        train(arguments.run, examples, settings, **kept)
    except SegspectralError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
