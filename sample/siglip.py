"""A small SigLIP 2 of fixed resolution in the files of a Hugging Face folder: config, weights, tokenizer and
image processor as google/siglip2-base-patch16-* has them."""

import json
import tempfile
from pathlib import Path

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

HIDDEN = 64
IMAGE_SIZE = 96
PATCH_SIZE = 16
TEXT_LENGTH = 64
VOCABULARY_MAX = 2048

# As Gemma's: their places in the vocabulary are their ids.
SPECIAL = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
SPECIAL_TOKENS = [*SPECIAL.values(), "<mask>"]
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
PRINTABLE = [chr(code) for code in range(0x21, 0x7F)] + ["▁"]


def untrained(tokenizer: Tokenizer, seed: int) -> SiglipModel:
    """The model with random weights, as a training starts with."""
    torch.manual_seed(seed)
    model = SiglipModel(SiglipConfig(**_config(tokenizer)))
    with torch.no_grad():  # where the SigLIP paper starts
        model.logit_scale.fill_(torch.tensor(10.0).log())
        model.logit_bias.fill_(-10.0)
    return model


def save(folder: Path, model: SiglipModel, tokenizer: Tokenizer) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as saved:
        model.save_pretrained(saved)
        (folder / "model.safetensors").write_bytes((Path(saved) / "model.safetensors").read_bytes())
    _write_json(folder / "config.json", _config(tokenizer))
    _save_tokenizer(folder, tokenizer)
    image_processor().save_pretrained(folder)


def image_processor() -> SiglipImageProcessor:
    return SiglipImageProcessor(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, resample=2)


def _config(tokenizer: Tokenizer) -> dict:
    """Sparse, as the checkpoints' own: what is absent takes the class's default."""
    text = {"projection_size": HIDDEN, "vocab_size": tokenizer.get_vocab_size()}
    return {
        "architectures": ["SiglipModel"],
        "initializer_factor": 1.0,
        "model_type": "siglip",
        "text_config": {**_tower("text", layers=2), **text},
        "torch_dtype": "float32",
        "vision_config": {**_tower("vision", layers=3), "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE},
    }


def _tower(kind: str, layers: int) -> dict:
    return {
        "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN,
        "model_type": f"siglip_{kind}_model",
        "num_attention_heads": 4,
        "num_hidden_layers": layers,
    }


# --- Tokenizer ---------------------------------------------------------------------------------------


def make_tokenizer(texts: list[str]) -> Tokenizer:
    """Gemma's pipeline: no lower-casing of its own, bytes where the vocabulary ends, `<eos>` at the end."""
    vocabulary, merges = _learn_merges([text.lower() for text in texts])
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
    return tokenizer


def _learn_merges(texts: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-pair encoding: words with the space before them as `▁`, and each
    Chinese character by itself, so that other captions too are made of tokens that training has seen."""
    learnt = Tokenizer(models.BPE())
    learnt.normalizer = normalizers.Replace(" ", "▁")
    learnt.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", "merged_with_next"),
            pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"),
            pre_tokenizers.Punctuation(),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_MAX,
        special_tokens=SPECIAL_TOKENS + BYTE_TOKENS,
        initial_alphabet=PRINTABLE,
        show_progress=False,
    )
    # A sentence begins without a space, yet its first word is to be the same token elsewhere.
    learnt.train_from_iterator([*texts, *(" " + text for text in texts)], trainer)
    model = json.loads(learnt.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _save_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
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


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
