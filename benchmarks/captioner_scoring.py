"""Images per second: one batched forward pass against the paper's loop, on the same weights in one run.

The loop is that of VLM-DETECT's released evaluation: batch 1, `generate` of two tokens, decode, strip, match exactly.
The model has random weights and the proportions of BLIP-2 OPT-2.7B at 68 million parameters: 26 % vision tower, 3 %
Q-Former, 70 % OPT, of which 5 % are the vocabulary; 224 px, 257 patches, 32 queries. Its language half is then trained
for a moment to answer `fake` for bright images and `real` for dark ones, so that greedy generation over the whole
vocabulary ends in a label and decisions can be compared. Both sides read raw pixels and run in turns, so that other
work on the machine slows both; the figure is the ratio of median times, and beside it that of processor times.

    python benchmarks/captioner_scoring.py                # 70M parameters, float32, CPU
    python benchmarks/captioner_scoring.py --full         # BLIP-2 OPT-2.7B's size, bfloat16, needs a GPU of 16 GB
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_models

from defake.detectors.captioner import Captioner, Loaded

TARGET = {"70M": 1.5, "full": 20.0}


def make_model(*, full: bool, device: str) -> Loaded:
    """A BLIP-2 with random weights and OPT's vocabulary size, and its processor."""
    torch.manual_seed(0)
    tokenizer = tiny_models.make_tokenizer(bos=True)
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    image = tokenizer.convert_tokens_to_ids("<image>")
    if full:  # the defaults of Blip2Config are those of Salesforce/blip2-opt-2.7b but for the text model
        text = transformers.OPTConfig(
            vocab_size=50304, hidden_size=2560, ffn_dim=10240, num_hidden_layers=32, num_attention_heads=32,
            word_embed_proj_dim=2560, dropout=0.0, **ids,
        )  # fmt: skip
        config = transformers.Blip2Config(text_config=text.to_dict(), num_query_tokens=32, image_token_index=image)
    else:
        text = transformers.OPTConfig(
            vocab_size=4480, hidden_size=512, ffn_dim=2048, num_hidden_layers=14, num_attention_heads=8,
            word_embed_proj_dim=512, dropout=0.0, **ids,
        )  # fmt: skip
        vision = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 10, "num_attention_heads": 4}
        queries = {
            "vocab_size": 100, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2,
            "num_attention_heads": 8, "encoder_hidden_size": 384,
        }  # fmt: skip
        config = transformers.Blip2Config(
            vision_config=vision, qformer_config=queries, text_config=text.to_dict(), num_query_tokens=32,
            image_token_index=image,
        )  # fmt: skip
    dtype = torch.bfloat16 if full else torch.float32
    with torch.device(device):
        model = transformers.Blip2ForConditionalGeneration(config).to(device, dtype)
    with torch.no_grad():  # zeros and 1e-10 by default: every image would look the same
        model.query_tokens.normal_()
        for name, weight in model.vision_model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.02 if "position" in name else weight[0].numel() ** -0.5)
    processor = transformers.Blip2Processor(
        tiny_models.sized_processor("BlipImageProcessor", 224), tokenizer, num_query_tokens=32
    )
    return Loaded(model.eval(), processor)


def make_images(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Noisy 256 px images, bright and dark in turns."""
    levels = [60 + 130 * (i % 2) for i in range(count)]
    return [rng.normal(level, 40, (256, 256, 3)).clip(0, 255).astype(np.uint8) for level in levels]


def teach_labels(detector: Captioner, images: list[np.ndarray], steps: int) -> None:
    """Train the language half until it says `fake` for bright and `real` for dark images and then stops."""
    model = detector.loaded.model
    model.requires_grad_(requires_grad=False)  # the vision half stays as it is
    learning = [*model.language_model.parameters(), *model.language_projection.parameters()]
    for weight in learning:
        weight.requires_grad_(requires_grad=True)
    optimiser = torch.optim.AdamW(learning, lr=3e-4)
    fake, real = ((*detector.labels.tokens[i], detector.reader.end_id) for i in (0, 1))
    for step in range(steps):
        batch = [images[(4 * step + i) % len(images)] for i in range(4)]
        answers = [fake if image.mean() > 127 else real for image in batch]
        inputs = detector.reader.training_inputs(detector._inputs(batch), answers)  # noqa: SLF001 - as the trainer does
        loss = model(**inputs).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        print(f"step {step + 1} of {steps}: loss {float(loss):.4f}", file=sys.stderr, flush=True)


@torch.inference_mode()
def paper_loop(loaded: Loaded, images: list[np.ndarray]) -> list[bool | None]:
    """The released evaluation: one image at a time, two tokens, exact match after stripping; None for other words."""
    decisions = []
    for image in images:
        inputs = loaded.processor(images=Image.fromarray(image), return_tensors="pt")
        pixels = inputs["pixel_values"].to(loaded.model.device, loaded.model.dtype)
        ids = loaded.model.generate(pixel_values=pixels, max_new_tokens=2, do_sample=False)
        text = loaded.processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
        decisions.append({"fake": True, "real": False}.get(text))
    return decisions


def measure(detector: Captioner, images: list[np.ndarray], rounds: int) -> dict[str, object]:
    """Median images per second of both, in turns, and on how many images they decide alike."""
    sides = {"paper": lambda: paper_loop(detector.loaded, images), "ours": lambda: list(detector.score(images) > 0.5)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    decided: dict[str, list[bool | None]] = {}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            start, worked = time.perf_counter(), time.process_time()
            decided[name] = run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            print(f"round {turn}, {name}: {time.perf_counter() - start:.2f} s", file=sys.stderr, flush=True)
            if turn:  # the first turn warms both up
                seconds[name].append(time.perf_counter() - start)
                busy[name].append(time.process_time() - worked)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    alike = sum(a == b for a, b in zip(decided["paper"], decided["ours"], strict=True))
    return {
        "images": len(images),
        "rounds": rounds,
        "images_per_s_paper": round(len(images) / medians["paper"], 3),
        "images_per_s_ours": round(len(images) / medians["ours"], 3),
        "speedup": round(medians["paper"] / medians["ours"], 3),
        "speedup_in_processor_time": round(statistics.median(busy["paper"]) / statistics.median(busy["ours"]), 3),
        "speedup_by_round": [round(a / b, 2) for a, b in zip(seconds["paper"], seconds["ours"], strict=True)],
        "same_decision": int(alike),
        "undecided_by_paper": sum(d is None for d in decided["paper"]),
        "called_fake": sum(bool(d) for d in decided["ours"]),
    }


def main() -> None:
    """Print one JSON object; exit code 1 if a decision differs or the target is missed."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--full", action="store_true", help="BLIP-2 OPT-2.7B's size in bfloat16 on a GPU")
    ask.add_argument("--images", type=int, default=32)
    ask.add_argument("--rounds", type=int, default=5)
    ask.add_argument("--batch", type=int, default=16)
    ask.add_argument("--teach", type=int, default=24, help="steps of teaching")
    ask.add_argument("--threads", type=int, default=1)
    asked = ask.parse_args()
    torch.set_num_threads(asked.threads)
    device = "cuda" if asked.full else "cpu"
    loaded = make_model(full=asked.full, device=device)
    detector = Captioner(loaded, fake="fake", real="real", batch_size=asked.batch)
    rng = np.random.default_rng(0)
    teach_labels(detector, make_images(rng, 32), asked.teach)
    result = measure(detector, make_images(rng, asked.images), asked.rounds)
    size = "full" if asked.full else "70M"
    result |= {
        "parameters": loaded.model.num_parameters(),
        "size": size,
        "batch": asked.batch,
        "threads": asked.threads,
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "device": torch.cuda.get_device_name() if asked.full else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "target": TARGET[size],
    }
    print(json.dumps(result, indent=2))
    sys.exit(result["same_decision"] != asked.images or result["speedup"] < TARGET[size])


if __name__ == "__main__":
    main()
