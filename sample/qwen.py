"""A small Qwen3-VL-Embedding in the files of a Hugging Face folder: config, weights, tokenizer and image
processor as Qwen/Qwen3-VL-Embedding-* has them."""

import copy
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
from transformers import Qwen2VLImageProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration

HIDDEN = 64
VISION_HIDDEN = 32
PATCH_SIZE = 16
MERGE_SIZE = 2
VOCABULARY_MAX = 2048

# As Qwen's, in this order after the vocabulary. What comes after `<|video_pad|>` does not count as special.
SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
OTHER_TOKENS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>"),
)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

BEFORE = "<|im_start|>system\nRepresent the user's input.<|im_end|>\n<|im_start|>user\n"
AFTER = "<|im_end|>\n<|im_start|>assistant\n"


def prompt(text: str = "", pictures: int = 0, tokens: int = 0) -> str:
    """What the model reads of pictures of so many tokens each and of a text."""
    picture = "<|vision_start|>" + "<|image_pad|>" * tokens + "<|vision_end|>"
    return BEFORE + picture * pictures + text + AFTER


def untrained(tokenizer: Tokenizer, seed: int) -> Qwen3VLForConditionalGeneration:
    """The model with random weights, as a training starts with."""
    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(**_config(tokenizer)))


def save(folder: Path, model: Qwen3VLForConditionalGeneration, tokenizer: Tokenizer) -> None:
    """Weights are rounded to bf16, as the checkpoints' are; the model itself keeps its own."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as saved:
        copy.deepcopy(model).to(torch.bfloat16).save_pretrained(saved)
        (folder / "model.safetensors").write_bytes((Path(saved) / "model.safetensors").read_bytes())
    _write_json(folder / "config.json", _config(tokenizer))
    _save_tokenizer(folder, tokenizer)
    image_processor().save_pretrained(folder)


def image_processor() -> Qwen2VLImageProcessor:
    return Qwen2VLImageProcessor(
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        merge_size=MERGE_SIZE,
        patch_size=PATCH_SIZE,
        size={"shortest_edge": 4096, "longest_edge": 1843200},
        temporal_patch_size=2,
    )


def _config(tokenizer: Tokenizer) -> dict:
    """In the checkpoints' own spelling, which is that of transformers 4."""
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
        "model_type": "qwen3_vl",
        "text_config": _text_config(tokenizer),
        "tie_word_embeddings": True,
        "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
        "vision_config": _vision_config(),
        "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
    }


def _text_config(tokenizer: Tokenizer) -> dict:
    return {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.token_to_id("<|endoftext|>"),
        "dtype": "bfloat16",
        "eos_token_id": tokenizer.token_to_id("<|im_end|>"),
        "head_dim": 16,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "initializer_range": 0.05,
        "intermediate_size": 2 * HIDDEN,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 4,
        "num_hidden_layers": 3,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": tokenizer.get_vocab_size(),
    }


def _vision_config() -> dict:
    return {
        "deepstack_visual_indexes": [0, 1],
        "depth": 3,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": VISION_HIDDEN,
        "in_channels": 3,
        "initializer_range": 0.05,
        "intermediate_size": 2 * VISION_HIDDEN,
        "model_type": "qwen3_vl",
        "num_heads": 2,
        "num_position_embeddings": 144,
        "out_hidden_size": HIDDEN,
        "patch_size": PATCH_SIZE,
        "spatial_merge_size": MERGE_SIZE,
        "temporal_patch_size": 2,
    }


# --- Tokenizer ---------------------------------------------------------------------------------------


def make_tokenizer(texts: list[str]) -> Tokenizer:
    """Qwen's pipeline: NFC, its split, byte-pair encoding of bytes, `<|endoftext|>` at the end."""
    tokenizer = Tokenizer(models.BPE(*_learn_merges(texts)))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = _split_into_bytes()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in OTHER_TOKENS])
    end = "<|endoftext|>"
    ends = processors.TemplateProcessing(
        single=f"$A {end}", pair=f"$A {end} $B:1 {end}:1", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    bytes_ = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.Sequence([bytes_, ends])
    return tokenizer


def _split_into_bytes(*others: pre_tokenizers.PreTokenizer) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([split, *others, bytes_])


def _learn_merges(texts: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of a byte-pair encoding: words with the space before them, and each Chinese
    character by itself, so that other captions too are made of tokens that training has seen."""
    learnt = Tokenizer(models.BPE())
    learnt.normalizer = normalizers.NFC()
    learnt.pre_tokenizer = _split_into_bytes(pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_MAX,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    of_prompt = prompt().replace("<|im_start|>", "").replace("<|im_end|>", "")
    # A sentence begins without a space, yet its first word is to be the same token elsewhere.
    learnt.train_from_iterator([of_prompt, *texts, *(" " + text for text in texts)], trainer)
    model = json.loads(learnt.to_str())["model"]
    return model["vocab"], [tuple(merge) for merge in model["merges"]]


def _save_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(token)): {"content": token, **flags, "special": token in SPECIAL_TOKENS}
            for token in SPECIAL_TOKENS + OTHER_TOKENS
        },
        "additional_special_tokens": SPECIAL_TOKENS[1:],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 262144,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
