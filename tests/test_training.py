"""Training: the same code for every model, watched, resumable, and honest about what it could not do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

import tiny_models
import torch
from safetensors.torch import load_file, save_file

from defake.detectors import load_detector
from defake.detectors.captioner import Captioner
from defake.errors import BackendFailed, BadConfig, BadDataset, WeightsMismatch
from defake.images import read_image
from defake.training.adapters import decoder_targets
from defake.training.captioner import CaptionerTrainee, Wording, resolve, train_captioner
from defake.training.checkpoints import load_learnt, newest_checkpoint, save_learnt
from defake.training.examples import Choice, gather_examples
from defake.training.figures import measure_scores, percent, score_manifest
from defake.training.recipe import Recipe
from defake.training.run import open_run
from defake.training.trainer import fit, measure

TINY = {"blip2": tiny_models.save_blip2, "vit-gpt2": tiny_models.save_vit_gpt2, "chat": tiny_models.save_llava}


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Folders of the three tiny captioners, written once."""
    folder = tmp_path_factory.mktemp("tiny")
    return {name: str(save(folder / name)) for name, save in TINY.items()}


def write_images(folder, count, rng, *, striped=True):
    """`count` images of coarse noise in class folders; fakes carry stripes, or else nothing but their label."""
    for i in range(count):
        coarse = rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        pixels = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
        if striped and i % 2:
            pixels[::2] //= 2
        place = folder / ("fake" if i % 2 else "real")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """40 images, fakes striped."""
    return write_images(tmp_path_factory.mktemp("images"), 40, np.random.default_rng(0))


@pytest.fixture(scope="session")
def adapted(tiny, images, tmp_path_factory):
    """A chat model with a LoRA adapter trained for two epochs, through the command's own function."""
    out = tmp_path_factory.mktemp("adapted") / "run"
    recipe = Recipe(epochs=2, learning_rate=1e-2, batch_size=20, val_fraction=0.3)
    said = []
    outcome = train_captioner(tiny["chat"], gather_examples(images, val_fraction=0.3), recipe, out, say=said.append)
    return out, outcome, said


@pytest.mark.parametrize("name", TINY)
def test_a_tiny_captioner_learns_64_images_by_heart(name, tiny, tmp_path):
    """Labels that nothing in the image explains are learnt to at least 95 %."""
    folder = write_images(tmp_path / "images", 64, np.random.default_rng(1), striped=False)
    examples = gather_examples(folder, val_fraction=0)
    recipe = Recipe(epochs=30, learning_rate=2e-3, batch_size=16, tune="full", val_fraction=0)
    outcome = train_captioner(tiny[name], examples, recipe, tmp_path / "run")
    detector = load_detector(str(tmp_path / "run"))
    rows = examples.train.manifest
    scores = score_manifest(detector, rows)
    assert np.mean((scores >= 0.5) == rows.is_fake) >= 0.95
    assert outcome.metrics == {}, "nothing was held out, so there is no validation figure"


def test_an_adapter_saved_reloaded_and_merged_scores_the_same(adapted, tiny, images):
    """The folder alone, the base with the adapter named, and the merged weights agree to 1e-4."""
    out, _, _ = adapted
    pixels = [read_image(path).pixels for path in sorted(images.rglob("*.png"))[:12]]
    whole = load_detector(str(out)).score(pixels)
    named = Captioner(tiny["chat"], adapter=str(out)).score(pixels)
    merged = Captioner(tiny["chat"], adapter=str(out), merge=True).score(pixels)
    bare = Captioner(tiny["chat"]).score(pixels)
    np.testing.assert_allclose(named, whole, atol=1e-6)
    np.testing.assert_allclose(merged, whole, atol=1e-4)
    assert np.abs(bare - whole).max() > 1e-3, "the adapter changes the scores at all"


def test_a_run_leaves_card_curve_and_figures(adapted):
    """The folder holds everything a reader needs, and the card's figures are those of the results."""
    out, outcome, said = adapted
    card = (out / "README.md").read_text()
    results = json.loads((out / "results.json").read_text())
    assert percent(outcome.metrics["auc"]) in card
    assert results["metrics"]["accuracy"]["interval"] == "wilson"
    assert json.loads((out / "training.json").read_text())["data"]["train"]["sha256"] in card
    with Image.open(out / "loss.png") as curve:
        assert curve.size == (840, 480)
    assert not (out / "checkpoints").exists()
    assert sum(line.startswith("epoch ") for line in said) == 2


def test_the_kept_epoch_is_the_best_of_validation(adapted):
    """The epoch marked as kept has the highest validation AUC, and the lower log loss among equals."""
    out, _, _ = adapted
    rows = [r for r in json.loads((out / "history.json").read_text())["history"] if "eval_auc" in r]
    best = max(rows, key=lambda row: (row["eval_auc"], -row["eval_log_loss"]))
    assert json.loads((out / "results.json").read_text())["kept_epoch"] == best["epoch"]


def test_a_finished_run_is_not_trained_again(adapted, tiny, images):
    """The same settings give the stored figures; other settings are refused, naming the difference."""
    out, outcome, _ = adapted
    examples = gather_examples(images, val_fraction=0.3)
    recipe = Recipe(epochs=2, learning_rate=1e-2, batch_size=20, val_fraction=0.3)
    again = train_captioner(tiny["chat"], examples, recipe, out)
    assert again.was_finished
    assert again.metrics == outcome.metrics
    other = Recipe(epochs=2, learning_rate=1e-3, batch_size=20, val_fraction=0.3)
    with pytest.raises(BadConfig, match=r"recipe.learning_rate is 0\.01 there and 0\.001 here.*--overwrite"):
        train_captioner(tiny["chat"], examples, other, out)


def test_a_killed_run_goes_on_where_it_was(tiny, images, tmp_path):
    """Kill -9 in the middle, the same command again: the same history and weights as a run left alone."""
    recipe = Recipe(epochs=4, learning_rate=1e-3, batch_size=8, tune="full", val_fraction=0.2, save_minutes=1e-4)
    examples = gather_examples(images, val_fraction=0.2)
    command = [
        *(sys.executable, "-m", "defake", "train", "captioner", "--model", tiny["vit-gpt2"], "--train", str(images)),
        *("--out", str(tmp_path / "cut"), "--epochs", "4", "--learning-rate", "1e-3", "--batch-size", "8"),
        *("--tune", "full", "--val-fraction", "0.2", "--save-minutes", "1e-4"),
    ]
    source = str(Path(__file__).parents[1] / "src")
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    checkpoints = tmp_path / "cut" / "checkpoints"
    while process.poll() is None and time.monotonic() < deadline:
        if (checkpoints / "checkpoint-6" / "trainer_state.json").exists():
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.01)
    process.wait()
    assert process.returncode == -signal.SIGKILL, process.stderr.read().decode()
    process.stderr.close()
    said = []
    cut = train_captioner(tiny["vit-gpt2"], examples, recipe, tmp_path / "cut", say=said.append)
    assert any("going on from checkpoint-" in line for line in said), said
    assert len([line for line in said if line.startswith("epoch ")]) < 4, "no finished epoch is run again"
    alone = train_captioner(tiny["vit-gpt2"], examples, recipe, tmp_path / "alone")
    for name, estimate in alone.metrics.items():
        assert cut.metrics[name].value == pytest.approx(estimate.value, abs=1e-3), name
    losses = [
        [row["eval_log_loss"] for row in json.loads((tmp_path / run / "history.json").read_text())["history"]
         if "eval_auc" in row]
        for run in ("cut", "alone")
    ]  # fmt: skip
    np.testing.assert_allclose(*losses, rtol=1e-3)


class Threshold:
    """The smallest trainee: logistic regression on mean brightness, which refuses more than `fits` images at once."""

    class Net(torch.nn.Module):
        """One weight and one bias."""

        def __init__(self, fits):
            super().__init__()
            self.line, self.fits, self.sizes = torch.nn.Linear(1, 1), fits, []

        def forward(self, brightness, labels=None):
            """Loss and logits."""
            self.sizes.append(len(brightness))
            if self.training and len(brightness) > self.fits:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            logits = self.line(brightness)[:, 0]
            return {"loss": torch.nn.functional.binary_cross_entropy_with_logits(logits, labels), "logits": logits}

    def __init__(self, fits):
        self.model = self.Net(fits)

    def encode(self, images, is_fake):
        """Brightness `(n, 1)` and labels."""
        return {"brightness": self._brightness(images), "labels": torch.tensor(is_fake, dtype=torch.float32)}

    def fake_logits(self, images):
        """Log-odds of the images."""
        return self.model.line(self._brightness(images))[:, 0].double().numpy()

    def _brightness(self, images):
        return torch.tensor([[image.mean() / 255] for image in images], dtype=torch.float32)


def test_out_of_memory_halves_the_batch_and_says_so(images, tmp_path):
    """16 images do not fit, 4 do: the step still sees 16, and every halving is told."""
    said = []
    recipe = Recipe(epochs=1, batch_size=16, learning_rate=0.1)
    fitted = fit(lambda: Threshold(5), gather_examples(images), recipe, tmp_path, say=said.append)
    assert (fitted.device_batch_size, fitted.accumulation) == (4, 4)
    assert [line for line in said if "out of memory" in line] == [
        "out of memory: going on with 8 image(s) a device at once, 2 accumulated",
        "out of memory: going on with 4 image(s) a device at once, 4 accumulated",
    ]


def test_accumulated_steps_learn_what_whole_steps_learn(images, tmp_path):
    """Gradients of 4 x 4 images are those of 16: the same weights after training."""
    examples = gather_examples(images, val_fraction=0.2)
    whole, parts = (
        fit(lambda: Threshold(99), examples, Recipe(epochs=2, batch_size=16, learning_rate=0.1, device_batch_size=size),
            tmp_path / str(size))
        for size in (16, 4)
    )  # fmt: skip
    for name, weight in whole.trainee.model.state_dict().items():
        torch.testing.assert_close(parts.trainee.model.state_dict()[name], weight, atol=1e-4, rtol=1e-3)


def test_one_image_that_does_not_fit_is_an_error(images, tmp_path):
    """Nothing is left to halve: a named error, not an endless loop."""
    with pytest.raises(BackendFailed, match="out of memory even with one image"):
        fit(lambda: Threshold(0), gather_examples(images), Recipe(epochs=1, batch_size=4), tmp_path)


@pytest.mark.parametrize("tune", ["lora", "full"])
@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_brings_back_every_weight(name, tune, tiny, tmp_path):
    """Another model of the same kind scores the same after loading; a checkpoint that lacks a weight is refused."""
    pixels = tiny_models.noise_images(np.random.default_rng(5), 4)
    recipe = Recipe(tune=tune)
    trained = CaptionerTrainee(Captioner(tiny[name]), recipe)
    with torch.no_grad():
        for weight in trained.model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(7)), alpha=0.05)
    fresh = CaptionerTrainee(Captioner(tiny[name]), recipe)
    for trainee in (trained, fresh):
        trainee.model.eval()
    assert np.abs(fresh.fake_logits(pixels) - trained.fake_logits(pixels)).max() > 1e-3
    save_learnt(trained.model, tmp_path)
    load_learnt(fresh.model, tmp_path)
    np.testing.assert_allclose(fresh.fake_logits(pixels), trained.fake_logits(pixels), atol=1e-6)
    state = load_file(tmp_path / "model.safetensors")
    state.pop(min(state))
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsMismatch, match="1 weights are missing"):
        load_learnt(fresh.model, tmp_path)


def test_a_moved_run_finds_its_best_checkpoint(tmp_path):
    """The state names the best checkpoint by its place; after a move the place is set right."""
    for step in (1, 2):
        (tmp_path / f"checkpoint-{step}").mkdir()
        state = {"global_step": step, "best_global_step": 1, "best_model_checkpoint": "/gone/checkpoint-1"}
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(state))
    newest = newest_checkpoint(tmp_path)
    best = json.loads((newest / "trainer_state.json").read_text())["best_model_checkpoint"]
    assert best == str(tmp_path / "checkpoint-1")


def test_a_half_written_checkpoint_is_not_gone_on_with(tmp_path):
    """A checkpoint without its state, or with half of it, is removed; the newest whole one is taken by number."""
    for step, text in ((9, '{"global_step": 9}'), (10, '{"global_step": 10}'), (11, '{"glob'), (12, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if text is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(text)
    assert newest_checkpoint(tmp_path).name == "checkpoint-10"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


def slow_log_loss(logits, is_fake):
    """One image at a time, as the formula reads."""
    total = 0.0
    for logit, fake in zip(logits, is_fake, strict=True):
        probability = 1 / (1 + np.exp(-logit))
        total -= np.log(probability if fake else 1 - probability)
    return total / len(logits)


def test_validation_figures_match_their_slow_twins():
    """AUC by counting pairs, accuracy and log loss one by one; ties of AUC fall to the lower log loss."""
    rng = np.random.default_rng(3)
    logits, is_fake = rng.normal(size=50), rng.random(50) < 0.4
    found = measure(logits, is_fake)
    pairs = [(f > r) + (f == r) / 2 for f in logits[is_fake] for r in logits[~is_fake]]
    assert found["auc"] == pytest.approx(np.mean(pairs))
    assert found["log_loss"] == pytest.approx(slow_log_loss(logits, is_fake))
    assert found["accuracy"] == np.mean([(logit >= 0) == fake for logit, fake in zip(logits, is_fake, strict=True)])
    sure = measure(np.array([-9.0, 9.0]), np.array([False, True]))
    unsure = measure(np.array([-0.1, 0.1]), np.array([False, True]))
    assert sure["auc"] == unsure["auc"] == 1.0
    assert sure["selection_auc"] > unsure["selection_auc"]


def test_a_validation_answer_that_is_no_number_counts_as_wrong():
    """A diverged model is never the best one."""
    found = measure(np.array([np.nan, np.nan, 1.0, -1.0]), np.array([True, False, True, False]))
    assert found["answered"] == 0.5
    assert found["accuracy"] == 0.5
    assert found["auc"] == 0.25, "the answered pair is right, the three others are wrong"
    assert found["log_loss"] > 10


def test_figures_by_hand():
    """Three fakes, three photographs, one unanswered: worked on paper."""
    is_fake = np.array([True, True, True, False, False, False])
    scores = np.array([0.9, 0.6, np.nan, 0.1, 0.7, 0.2])
    found = measure_scores(is_fake, scores, [None] * 6, rng=np.random.default_rng(0))
    assert found["accuracy"].value == pytest.approx(4 / 6)
    assert found["recall"].value == pytest.approx(2 / 3)
    assert found["fpr"].value == pytest.approx(1 / 3)
    assert found["answered"].value == pytest.approx(5 / 6)
    assert found["auc"].value == pytest.approx(5 / 6)
    assert found["f1"].value == pytest.approx(2 * 2 / (2 * 2 + 1 + 0))
    assert percent(found["accuracy"]).startswith("66.7 [")


def test_bad_rows_are_all_told_before_anything_is_trained(tmp_path):
    """Missing, undecodable and unlabelled rows with their line numbers; 20 named, the rest counted."""
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    rows = ["a.png,real", "b.png,fake", "c.png,fake", "b2.png,maybe", *(f"gone{i}.png,fake" for i in range(25))]
    table = tmp_path / "train.csv"
    table.write_text("path,label\n" + "\n".join(rows) + "\n")
    with pytest.raises(BadDataset) as caught:
        gather_examples(table)
    text = str(caught.value)
    assert text.startswith("27 bad row(s)")
    assert "line 4: c.png: " in text
    assert "line 5: label 'maybe'" in text
    assert "line 6: gone0.png: no such file" in text
    assert text.endswith("and 7 more")
    assert len(gather_examples(table, val_fraction=0, choice=Choice(skip_bad_rows=True)).train) == 2


def test_the_papers_csv_is_read_with_1_as_fake(tmp_path):
    """`image,text,label` of VLM-DETECT."""
    for name, colour in (("a", "red"), ("b", "blue"), ("c", "green"), ("d", "white")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{name}.png")
    lines = ["image,text,label", "a.png,fake,1", "b.png,real,0", "c.png,fake,1", "d.png,real,0"]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    examples = gather_examples(tmp_path / "train.csv", val_fraction=0)
    assert examples.train.manifest.is_fake.tolist() == [True, False, True, False]


def test_one_class_only_is_refused(tmp_path):
    """A model that sees fakes only learns to say fake."""
    (tmp_path / "fake").mkdir()
    for i in range(3):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(tmp_path / "fake" / f"{i}.png")
    with pytest.raises(BadDataset, match="one class only: all 3 images are fake"):
        gather_examples(tmp_path)


def test_fakebench_is_not_trained_on(tmp_path):
    """Its licence allows testing only; the flag is for those who hold permission."""
    Image.new("RGB", (16, 16)).save(tmp_path / "sd-1.png")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "2.png")
    queries = [{"image_id": "sd-1.png", "authenticity": 0}, {"image_id": "2.png", "authenticity": 1}]
    (tmp_path / "FakeClass.json").write_text(json.dumps(queries))
    with pytest.raises(BadDataset, match="--allow-fakebench"):
        gather_examples(tmp_path / "FakeClass.json")
    allowed = gather_examples(tmp_path / "FakeClass.json", val_fraction=0, choice=Choice(allow_fakebench=True))
    assert len(allowed.train) == 2


def test_splits_of_the_manifest_are_kept(tmp_path):
    """`val` rows validate, `test` rows are left alone."""
    lines = ["path,label,split"]
    for i in range(12):
        Image.new("RGB", (16, 16), (i * 20, 0, 0)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'fake' if i % 2 else 'real'},{('train', 'val', 'test')[i // 2 % 3]}")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    examples = gather_examples(tmp_path / "m.csv")
    assert examples.train.manifest.paths.tolist() == ["0.png", "1.png", "6.png", "7.png"]
    assert examples.val.manifest.paths.tolist() == ["2.png", "3.png", "8.png", "9.png"]
    assert examples.notes == ()


def test_images_in_both_parts_are_told(images):
    """Validation on training images is possible, and its figures are marked."""
    assert "40 training file(s) also stand in the validation set" in gather_examples(images, images).notes[0]


def test_the_hash_of_the_data_is_that_of_contents_and_labels(images):
    """The same images give the same hash; another hold-out another."""
    first, again = gather_examples(images, seed=1), gather_examples(images, seed=1)
    assert first.describe() == again.describe()
    assert gather_examples(images, seed=2).describe() != first.describe()


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    """Files of the user's are never overwritten, not even with --overwrite."""
    (tmp_path / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(BadConfig, match="not empty and holds no training run"):
            open_run(tmp_path, {"kind": "x"}, overwrite=overwrite)
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(BadConfig, match="cannot be read"):
        open_run(tmp_path, {"kind": "x"})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be a positive number"),
        ({"batch_size": 32, "device_batch_size": 5}, "a divisor of batch_size"),
        ({"tune": "some"}, "one of lora, full"),
        ({"precision": "int3"}, "one of float32, bfloat16"),
        ({"val_fraction": 0.9}, r"in \[0, 0.5\]"),
    ],
)
def test_a_recipe_refuses_nonsense(options, words):
    """Each knob says what it expects."""
    with pytest.raises(BadConfig, match=words):
        Recipe(**options)


def test_8_bit_needs_what_it_needs():
    """Without a GPU or with weights that learn it is refused, by default it is off here."""
    if torch.cuda.is_available():
        pytest.skip("about machines without a GPU")
    assert resolve(Recipe()).load_in_8bit is False
    with pytest.raises(BadConfig, match="bitsandbytes"):
        resolve(Recipe(load_in_8bit=True))


def test_adapters_go_into_the_text_decoder_alone(tiny):
    """Query and key by the family's names; where the vision tower uses the same names, the full ones."""
    blip2 = Captioner(tiny["blip2"]).loaded.model
    assert decoder_targets(blip2) == ["k_proj", "q_proj"]
    assert decoder_targets(Captioner(tiny["vit-gpt2"]).loaded.model) == ["c_attn"]
    chat = decoder_targets(Captioner(tiny["chat"]).loaded.model)
    assert chat
    assert all("language_model" in name and "vision" not in name for name in chat)
    assert decoder_targets(blip2, ("fc1",)) == ["fc1"]
    with pytest.raises(BadConfig, match=r"--lora-target takes one of: .*q_proj"):
        decoder_targets(blip2, ("nonsense",))


def test_missing_weights_stop_before_training(images, tmp_path):
    """A folder without a model is named, and the run's folder holds no detector."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsMismatch, match="empty"):
        train_captioner(str(tmp_path / "empty"), gather_examples(images), Recipe(), tmp_path / "run")
    assert not (tmp_path / "run" / "detector.json").exists()


def test_captions_the_tokenizer_cannot_tell_apart_stop_before_training(tiny, images, tmp_path):
    """Two labels of the same words are refused."""
    with pytest.raises(BadConfig, match="same"):
        train_captioner(
            tiny["blip2"],
            gather_examples(images),
            Recipe(),
            tmp_path / "run",
            wording=Wording(fake="real", real="real"),
        )
