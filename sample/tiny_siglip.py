"""A SigLIP 2 of fixed resolution, small and with random weights, in the files of a Hugging Face folder.

It knows nothing of captions or pictures: it shows that the program reads such a folder, and where vectors go.
"""

import json
import tempfile
from pathlib import Path

import torch
from PIL import Image
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, SiglipConfig, SiglipImageProcessor, SiglipModel

HIDDEN = 64
IMAGE_SIZE = 64
TEXT_LENGTH = 64
VOCABULARY = 768
ATTENTION_GAIN = 3.0  # above the usual start: else all captions' vectors would nearly be one

# As Gemma's: their places in the vocabulary are their ids.
SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
SPECIAL_TOKENS = [*SPECIAL.values(), "<mask>"]
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]

WORDS = """
the of and to in is on with for by from at it as an or this that has are two three four five six eight one
3d 3d model rendering of a an object scene low poly style cartoon wooden metal plastic glass stone brick
featuring attached shaped base top side front back handle wheel wheels leg legs arm arms door window windows
roof seat lid body head tail wing wings blade red orange yellow green blue purple pink brown black white gray
gold silver dark light small large tall long short round square flat curved hollow striped spotted textured
chair table lamp sofa bed desk shelf box bottle cup mug bowl plate knife sword gun car truck bus train boat
ship plane helicopter rocket robot house building tower castle bridge tree flower plant leaf rock mountain
animal dog cat horse bird fish dinosaur dragon human man woman child figure statue character hat helmet shoe
ring crown key coin book clock phone computer keyboard camera piano guitar drum ball dice chess piece food
cake donut bread apple pumpkin mushroom egg skull heart star planet gear pipe tube sphere cube cone cylinder
""".split()


def write_model(folder: Path, captions: list[str], view: Path, seed: int) -> None:
    """The tokenizer learns from `captions`; the first of them and `view` are embedded as a check."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(folder, captions)
    _write_weights(folder, seed)
    _write_config(folder)
    SiglipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, resample=2).save_pretrained(folder)
    check(folder, captions[0], view)


# --- Tokenizer ---------------------------------------------------------------------------------------


def _train(captions: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-pair encoding, words with the space before them as `▁`."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    words = pre_tokenizers.Split("▁", "merged_with_next")
    trained.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.Punctuation()])
    letters = [chr(code) for code in range(0x21, 0x7F)] + ["▁"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS + BYTE_TOKENS,
        initial_alphabet=letters,
        show_progress=False,
    )
    trained.train_from_iterator([*captions, " ".join(["", *WORDS])], trainer)
    model = json.loads(trained.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _write_tokenizer(folder: Path, captions: list[str]) -> None:
    """Gemma's pipeline: no lower-casing of its own, bytes where the vocabulary ends, `<eos>` at the end."""
    vocabulary, merges = _train(captions)
    tokenizer = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", pair="$A <eos> $B:1 <eos>:1", special_tokens=[("<eos>", vocabulary["<eos>"])]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
    )
    tokenizer.save(str(folder / "tokenizer.json"))

    as_token = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    added = {
        str(i): {"content": token, **as_token, "special": True} for i, token in enumerate(SPECIAL_TOKENS)
    }
    settings = {
        "add_bos_token": False,
        "add_eos_token": True,
        "added_tokens_decoder": added,
        "clean_up_tokenization_spaces": False,
        **SPECIAL,
        "model_input_names": ["input_ids"],
        "model_max_length": TEXT_LENGTH,
        "padding_side": "right",
        "processor_class": "SiglipProcessor",
        "tokenizer_class": "GemmaTokenizer",
    }
    _write_json(folder / "tokenizer_config.json", settings)
    tokens = {role: {"content": token, **as_token} for role, token in SPECIAL.items()}
    _write_json(folder / "special_tokens_map.json", tokens)


# --- Weights and config ------------------------------------------------------------------------------


def _tower(kind: str) -> dict:
    return {
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "model_type": f"siglip_{kind}_model",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
    }


def _config() -> dict:
    """Sparse, as the checkpoints' own: what is absent takes the class's default."""
    return {
        "architectures": ["SiglipModel"],
        "initializer_factor": 1.0,
        "model_type": "siglip",
        "text_config": {**_tower("text"), "projection_size": HIDDEN, "vocab_size": VOCABULARY},
        "torch_dtype": "float32",
        "vision_config": {**_tower("vision"), "image_size": IMAGE_SIZE, "patch_size": 16},
    }


def _write_config(folder: Path) -> None:
    _write_json(folder / "config.json", _config())


def _write_weights(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    model = SiglipModel(SiglipConfig(**_config()))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "out_proj.weight")):
                parameter.mul_(ATTENTION_GAIN)
            elif name.endswith(("bias", "norm.weight", "norm1.weight", "norm2.weight")):
                parameter.add_(0.1 * torch.randn_like(parameter))
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        (folder / "model.safetensors").write_bytes((Path(saved) / "model.safetensors").read_bytes())


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


# --- Is the folder valid? ----------------------------------------------------------------------------


def check(folder: Path, caption: str, view: Path) -> None:
    """Loads the folder as anyone would and embeds a caption and a view."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = SiglipImageProcessor.from_pretrained(folder)
    model, report = SiglipModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not any(report.values()), report
    text = caption.lower()
    tokens = tokenizer(
        [text], padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt"
    )
    raw = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
    ids = tokens["input_ids"][0].tolist()
    assert ids == raw + [0] * (TEXT_LENGTH - len(raw)) and raw[-1] == 1, (ids, raw)
    picture = Image.open(view).convert("RGB")
    with torch.no_grad():
        vectors = [
            model.get_text_features(input_ids=tokens["input_ids"]),
            model.get_image_features(**processor(picture, return_tensors="pt")),
        ]
    for vector in (v if isinstance(v, torch.Tensor) else v.pooler_output for v in vectors):
        assert vector.shape == (1, HIDDEN) and bool(vector.isfinite().all())
