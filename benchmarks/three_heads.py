"""Does a captioning head beat a classifier on the same frozen features? Logistic regression, classifier, tiny GPT-2.

    python benchmarks/three_heads.py MANIFEST --clip DIR [--per-source 170] [--seeds 3]

The encoder is the first ten blocks of CLIP ViT-B/16, frozen; features are the class token and mean patch after blocks 4
to 10. The matched collections are held out. The GPT-2 (2 layers, width 128, cross attention to the 14 feature vectors)
writes `real` or `fake`, or `real` or `fake by GENERATOR`; its score is the log-likelihood of `fake` less that of `real`
at the first word.
"""

# ruff: noqa: ANN001, ANN201, ANN202, ANN204 - a script, read top to bottom
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from defake.detectors.tiles import centre_tile
from defake.metrics.detection import auc
from defake.training.embedded.crops import MATCHED, read_crops
from defake.training.embedded.heldout import interval
from defake.training.embedded.probe import Plan, fit_probe, logits_of
from defake.training.embedded.tower import Tower

TAPS = tuple(range(4, 11))
BEGIN, REAL, FAKE, BY, END = range(5)


def features_of(crops, clip):
    """`(n, 14, 768)` float32 of one native view each."""
    tower, found = Tower(clip, max(TAPS)), []
    for i in range(0, len(crops), 32):
        views = np.stack([centre_tile(np.asarray(crop.open())) for crop in crops[i : i + 32]])
        found.append(tower(torch.from_numpy(views).permute(0, 3, 1, 2), TAPS).reshape(len(views), -1, 768))
    return torch.cat(found)


class Captioner(nn.Module):
    """A tiny GPT-2 that looks at the features through cross attention."""

    def __init__(self, words):
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        self.see = nn.Linear(768, 128)
        config = GPT2Config(vocab_size=words, n_positions=8, n_embd=128, n_layer=2, n_head=4, add_cross_attention=True,
                            bos_token_id=BEGIN, eos_token_id=END)  # fmt: skip
        self.write = GPT2LMHeadModel(config)

    def forward(self, features, words):
        """Logits `(n, t, vocabulary)` of the next word."""
        return self.write(input_ids=words, encoder_hidden_states=self.see(features)).logits


def train(module, loss_of, fake, seed, epochs=12):
    """AdamW with a cosine rate on batches balanced by class."""
    torch.manual_seed(seed)
    weight = torch.where(fake > 0, 0.5 / fake.sum(), 0.5 / (1 - fake).sum())
    steps = epochs * len(fake) // 64
    optimiser = torch.optim.AdamW(module.parameters(), 5e-4, weight_decay=0.05)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    module.train()
    for _ in range(steps):
        loss = loss_of(torch.multinomial(weight, 64, replacement=True))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
    return module.eval()


def logistic(x, fake, _generators, held, _seed):
    """The ridge-penalised logistic regression of the flattened features."""
    plan = Plan("logistic", TAPS, 224, decay=0.03, tiles=1, whole=False)
    weight = np.where(fake > 0, 0.5 / fake.sum(), 0.5 / (1 - fake).sum())
    probe = fit_probe(x.flatten(1).numpy(), fake.numpy() > 0, weight, plan)
    return torch.from_numpy(logits_of(probe, held.flatten(1).numpy()))


def classifier(x, fake, _generators, held, seed):
    """One hidden layer of 128."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(x.shape[1] * 768, 128), nn.GELU(), nn.Linear(128, 1))
    train(net, lambda k: functional.binary_cross_entropy_with_logits(net(x[k])[:, 0], fake[k]), fake, seed)
    return net(held)[:, 0].detach()


def captioner(x, fake, generators, held, seed, *, with_generator=False):
    """Captions `real` or `fake`, or with the generator's name as one word."""
    torch.manual_seed(seed)
    names = sorted(set(generators)) if with_generator else []
    rows = []
    for is_fake, name in zip(fake.tolist(), generators, strict=True):
        tail = [BY, END + 1 + names.index(name), END] if with_generator and is_fake else [END]
        rows.append(([BEGIN, FAKE if is_fake else REAL, *tail] + [-100] * 3)[:5])
    words = torch.tensor(rows)
    net = Captioner(END + 1 + len(names))

    def loss_of(k):
        logits = net(x[k], words[k, :-1].clamp(min=0))
        return functional.cross_entropy(logits.flatten(0, 1), words[k, 1:].flatten(), ignore_index=-100)

    train(net, loss_of, fake, seed)
    first = net(held, torch.full((len(held), 1), BEGIN))[:, 0].detach()
    return first[:, FAKE] - first[:, REAL]


def main():
    """Print one row a head: the mean over seeds, and the interval of the first seed over images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--per-source", type=int, default=170)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="Keep the features here (.pt).")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seen, held = select(read_crops([options.manifest]), options.per_source)
    if options.cache and options.cache.is_file():
        x, z = torch.load(options.cache)
    else:
        x, z = features_of(seen, options.clip), features_of(held, options.clip)
        if options.cache:
            torch.save((x, z), options.cache)
    mean, spread = x.mean((0, 1)), x.std((0, 1)) + 1e-3
    x, z = (x - mean) / spread, (z - mean) / spread
    fake = torch.tensor([float(crop.is_fake) for crop in seen])
    report(x, z, fake, [crop.generator for crop in seen], held, options.seeds)


def select(crops, per_source):
    """At most `per_source` training crops a collection and class, and all crops of the matched collections."""
    rng = np.random.default_rng(0)
    seen = []
    for source in sorted({crop.source for crop in crops} - set(MATCHED)):
        for is_fake in (True, False):
            own = [crop for crop in crops if crop.source == source and crop.is_fake == is_fake]
            seen += [own[i] for i in rng.permutation(len(own))[:per_source]]
    return seen, [crop for crop in crops if crop.source in MATCHED]


def report(x, z, fake, generators, held, seeds):  # noqa: PLR0917
    """The table."""
    truth = np.array([crop.is_fake for crop in held])
    source = np.array([crop.source for crop in held])
    heads = {
        "logistic regression": logistic,
        "classifier, one hidden layer": classifier,
        "tiny GPT-2, real / fake": captioner,
        "tiny GPT-2, with the generator": lambda *a: captioner(*a, with_generator=True),
    }
    print("| head | AUC pooled, each seed | mean of collections | 95 % interval, first seed |\n|---|---|---|---|")
    for name, head in heads.items():
        logits = [head(x, fake, generators, z, seed).numpy() for seed in range(1 if head is logistic else seeds)]
        pooled = [auc(truth, logit) for logit in logits]
        per = [np.mean([auc(truth[source == s], logit[source == s]) for s in MATCHED]) for logit in logits]
        groups = np.char.add(source, truth.astype(str))
        first = logits[0]
        low, high = interval(lambda i, first=first: auc(truth[i], first[i]), groups, np.random.default_rng(0))
        shown = ", ".join(f"{value:.3f}" for value in pooled)
        print(f"| {name} | {shown} | {np.mean(per):.3f} | {low:.3f} to {high:.3f} |", flush=True)


if __name__ == "__main__":
    main()
