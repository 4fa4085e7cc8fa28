"""FakeQA's 14 questions an image on a local model: image encoded once against one call a question, in one run.

    PYTHONPATH=src python benchmarks/fakeqa_local.py --images 3 --tokens 8

The model is a LLaVA of random weights (68 million parameters, 576 image tokens as LLaVA-1.5 has); what is timed
is arithmetic, which does not depend on what the weights have learnt. `one call each` is what a plain loop over
`generate` does: prompt, image and all for every question.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, GenerateConfig, ModelOutput
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from defake.lmms.chat import ChatAPI
from defake.questions import CRITERIA

TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% for c in m['content'] %}{% if c['type'] == 'image' %}<image>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def save_llava(folder: Path, hidden: int = 512, layers: int = 8, image_size: int = 336, patch: int = 14) -> int:
    """A random LLaVA with the image tokens of the real one: (336 / 14)^2 = 576."""
    torch.manual_seed(0)
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.train_from_iterator(
        [f"How is the {c.name} regarding the authenticity of this image? {c.definition}" for c in CRITERIA],
        trainers.BpeTrainer(
            vocab_size=1000, special_tokens=["<pad>", "<s>", "</s>", "<image>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    size = {"height": image_size, "width": image_size}
    processor = transformers.LlavaProcessor(
        transformers.CLIPImageProcessor(size={"shortest_edge": image_size}, crop_size=size), tokenizer,
        patch_size=patch, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    vision = transformers.CLIPVisionConfig(
        hidden_size=512, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=8, image_size=image_size,
        patch_size=patch,
    )  # fmt: skip
    text = transformers.LlamaConfig(
        vocab_size=8_000, hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=8, max_position_embeddings=2048,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )  # fmt: skip
    model = transformers.LlavaForConditionalGeneration(config)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def messages(image: Path, question: str) -> list[ChatMessageUser]:
    """One FakeQA question as Inspect sends it."""
    return [ChatMessageUser(content=[ContentText(text=question), ContentImage(image=str(image))])]


async def ask_all(api: ChatAPI, asked: list[list[ChatMessageUser]], tokens: int) -> list[ModelOutput]:
    """All questions at once, as a run under Inspect asks them."""
    config = GenerateConfig(max_tokens=tokens, logprobs=True, top_logprobs=5)
    return await asyncio.gather(*(api.generate(one, [], "none", config) for one in asked))


async def ask_one_by_one(api: ChatAPI, asked: list[list[ChatMessageUser]], tokens: int) -> list[ModelOutput]:
    """One call a question, the image encoded for each."""
    config = GenerateConfig(max_tokens=tokens, logprobs=True, top_logprobs=5)
    return [await api.generate(one, [], "none", config) for one in asked]


def main() -> None:
    """Time both ways on the same model and images, check that the answers agree, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=8, help="length of an answer")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    questions = [f"How is the {c.name} regarding the authenticity of this image?" for c in CRITERIA]
    with tempfile.TemporaryDirectory() as folder:
        size = save_llava(Path(folder) / "llava")
        images = [Path(folder) / f"{i}.png" for i in range(options.images + 1)]
        for path in images:
            Image.fromarray(rng.integers(0, 256, (400, 500, 3), dtype=np.uint8)).save(path)
        api = ChatAPI(str(Path(folder) / "llava"), device="cpu", dtype="float32")
        plain = ChatAPI(str(Path(folder) / "llava"), device="cpu", dtype="float32", batch_size=1)
        plain.prompter.reuses = False
        asked = [messages(path, question) for path in images[1:] for question in questions]
        # Both warm on another image; the first one also reads it twice, to check that going on is exact.
        for way in (api, plain):
            asyncio.run(ask_one_by_one(way, [messages(images[0], questions[0])], options.tokens))
        seconds, answers = [], []
        for way, ask in ((api, ask_all), (plain, ask_one_by_one)):
            started = time.perf_counter()
            answers.append(asyncio.run(ask(way, asked, options.tokens)))
            seconds.append(time.perf_counter() - started)
        same = sum(a.completion == b.completion for a, b in zip(*answers, strict=True))
    print(
        json.dumps(
            {
                "parameters": size, "images": options.images, "questions": len(asked), "answer_tokens": options.tokens,
                "image_tokens": 576, "encoded_once_s": round(seconds[0], 2), "one_call_each_s": round(seconds[1], 2),
                "ratio": round(seconds[1] / seconds[0], 2), "same_answers": same,
                "images_encoded": api.prompter.encoded,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
