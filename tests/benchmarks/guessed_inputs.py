"""What models of transformers may be called with, guessed from their forward's parameters and their configuration."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

# Which inputs are tried together after the model's main one. Those that the forward does not take are left out.
TOGETHER: list[tuple[str, ...]] = [
    ("input_ids",),
    ("pixel_values",),
    ("input_ids", "pixel_values"),
    ("input_features",),
    ("input_values",),
    ("input_ids", "input_features"),
    ("input_ids", "input_values"),
    ("pixel_values_videos",),
    ("pixel_values_videos", "input_values"),
    ("inputs_embeds",),
    ("hidden_states",),
    ("past_values",),
    ("audio_codes",),
    ("input_ids", "pixel_values", "attention_mask"),
    (),
]
# What goes with others wherever a forward takes it.
COMPANIONS = """bbox image_grid_thw grid_thw decoder_input_ids past_time_features past_observed_mask task_inputs
visual_feats visual_pos image_sizes decoder_input_values mm_token_type_ids merge_sizes spatial_shapes
pixel_attention_mask""".split()  # noqa: SIM905
IMAGES = """input image images pixel_values pixel_values_videos flattened_patches prompt_pixel_values
prompt_masks""".split()  # noqa: SIM905
MOST = 24


def guesses(model: nn.Module, config: Any) -> list[dict[str, Any]]:
    """Inputs that a model may be called with, the likeliest first."""
    taken = inspect.signature(model.forward).parameters
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    required = [name for name, p in taken.items() if p.default is p.empty and p.kind in plain]
    has_decoder = any(getattr(part, "is_encoder_decoder", False) for part in parts(config))
    companions = [name for name in COMPANIONS if name in taken and (has_decoder or not name.startswith("decoder"))]
    found: list[dict[str, Any]] = []
    seen = set()
    for asked in [(getattr(model, "main_input_name", "input_ids"),), *TOGETHER]:
        if asked and not set(asked) & taken.keys():
            continue
        for added in (companions, []):
            names = tuple(dict.fromkeys([*(n for n in asked if n in taken), *required, *added]))
            if names in seen:
                continue
            seen.add(names)
            options = [list(_options(name, config, taken)) for name in names]
            if all(options):
                found += [dict(zip(names, values, strict=True)) for values in itertools.product(*options)]
    found = found[:MOST]
    # Some caches of default configurations do not fit the layers.
    return [*found, *({**found[0], "use_cache": False},)] if found and "use_cache" in _settings(config) else found


def _settings(config: Any) -> set[str]:
    return {name for part in parts(config) for name in vars(part)}


def parts(config: Any) -> Iterator[Any]:
    """A configuration and those that it holds, from the outside in."""
    level = [config]
    while level:
        yield from level
        level = [v for part in level for v in vars(part).values() if type(v).__name__.endswith("Config")]


def _first(config: Any, *names: str, default: Any = None) -> Any:
    """The first of these settings that any part of a configuration has."""
    values = (getattr(part, name, None) for part in parts(config) for name in names)
    return next((value for value in values if isinstance(value, int | list | tuple) and value is not True), default)


def _options(name: str, config: Any, taken: Any) -> Iterator[Any]:
    """What an input of this name may be."""
    length = max(2, min(32, _first(config, "max_position_embeddings", "n_positions", default=32)))
    width = _first(config, "hidden_size", "d_model", "n_embd", "embed_dim", "dim", default=768)
    vocabulary = _first(config, "vocab_size", default=1000)
    vocabulary = vocabulary if isinstance(vocabulary, int) else min(vocabulary)
    ids = torch.arange(3, 3 + length)[None] % max(vocabulary, 1)
    if name.endswith("input_ids") and name != "input_ids":
        yield ids[:, :77]
    if name in ("input_ids", "decoder_input_ids"):
        yield ids
        yield ids[:, :, None].expand(-1, -1, _first(config, "num_codebooks", default=4)).clone()
        yield ids[:, None, :].expand(-1, _first(config, "num_codebooks", default=4), -1).clone()
    elif name == "bbox":
        yield torch.zeros(1, length, 4, dtype=torch.long)
        yield torch.zeros(1, length, 8)
    elif name in IMAGES:
        yield from _images(name, config, taken)
    elif name == "hidden_states" and {"grid_thw", "image_grid_thw"} & taken.keys():
        yield _patches(config)
    elif name.endswith(
        ("_embeds", "hidden_states", "embeddings", "latents", "queries", "image_features", "text_features")
    ):
        yield torch.zeros(1, length, width)
        yield torch.zeros(1, width, length)
        if name == "hidden_states":
            yield torch.zeros(1, 200, _first(config, "input_size", "input_dim", "num_mel_bins", default=width))
    elif name == "past_values_padding":
        yield torch.zeros(1, _first(config, "context_length", "horizon_length", default=512), dtype=torch.long)
    elif name == "freq":
        yield torch.zeros(1, 1, dtype=torch.long)
    elif name in ("mm_token_type_ids", "text_mask"):
        yield torch.zeros(1, length, dtype=torch.long)
    elif name == "merge_sizes":
        yield torch.tensor([1])
    elif name == "spatial_shapes":
        yield torch.tensor([[16, 16]])
    elif name == "pixel_attention_mask":
        yield torch.ones(1, 256, dtype=torch.long)
    elif name == "pixel_position_ids":
        yield torch.zeros(1, 256, 2, dtype=torch.long)
    elif name in ("mel_spectrogram", "audio_mel"):
        yield torch.zeros(1, _first(config, "mel_dim", "num_mel_bins", "input_feat_size", default=80), 100)
        yield torch.zeros(1, 100, _first(config, "mel_dim", "num_mel_bins", "input_feat_size", default=80))
    elif name in ("audio_mel_mask", "mask"):
        yield torch.zeros(1, 100, dtype=torch.bool)
        yield None
    elif name == "inputs":
        yield torch.zeros(1, length, _first(config, "d_model", default=768))
    elif name == "aspect_ratio_ids":
        yield torch.ones(1, 1, dtype=torch.long)
    elif name == "aspect_ratio_mask":
        yield torch.ones(1, 1, 4, dtype=torch.long)
    elif name == "chunk_sample_lengths":
        yield torch.tensor([100])
    elif name in ("grid_thw", "image_grid_thw"):
        yield torch.tensor([[1, 16, 16]])
    elif name == "input_values":
        yield torch.zeros(1, 16_000)
        yield torch.zeros(1, _first(config, "audio_channels", default=1), 24_000)
        yield torch.zeros(1, 19_200)
        yield torch.zeros(1, 100, _first(config, "num_mel_bins", "hidden_size", default=80))
        yield torch.zeros(1, _first(config, "max_length", default=1024), _first(config, "num_mel_bins", default=128))
    elif name in ("input_features", "spectrogram", "audio_values"):
        bins = _first(config, "num_mel_bins", "input_feat_per_channel", "input_dim", "feature_size", default=80)
        wide = _first(config, "input_dim", "feature_projection_input_dim", "input_size", "feat_dim", default=bins)
        frames = 2 * _first(config, "max_source_positions", default=100)
        yield torch.zeros(1, bins, frames)
        yield torch.zeros(1, min(frames, 400), bins)
        yield torch.zeros(1, 400, wide)
        yield torch.zeros(1, 1, 1001, 64)
        yield torch.zeros(1, 16_000)
    elif name in ("past_values", "past_observed_mask", "past_time_features"):
        yield from _series(name, config)
    elif name in ("task_inputs", "text_inputs"):
        yield torch.ones(1, _first(config, "task_seq_len", default=77), dtype=torch.long)
    elif name == "image_sizes":
        yield torch.tensor([[224, 224]])
    elif name == "visual_feats":
        yield torch.zeros(1, 10, _first(config, "visual_feat_dim", default=2048))
    elif name == "visual_pos":
        yield torch.zeros(1, 10, 4)
    elif name in ("audio_codes", "codes"):
        yield torch.zeros(1, _first(config, "num_quantizers", "n_codebooks", default=8), 50, dtype=torch.long)
    elif name in ("attention_mask", "input_features_mask"):
        yield torch.ones(1, length, dtype=torch.long)


def _images(name: str, config: Any, taken: Any) -> Iterator[Tensor]:
    size = _first(config, "image_size", "img_size", default=224)
    sides = tuple(size)[-2:] if isinstance(size, list | tuple) else (size, size)
    sides = sides if len(sides) == 2 else (sides[0], sides[0])
    channels = _first(config, "num_channels", "in_channels", "in_chans", default=3)
    channels = channels if isinstance(channels, int) else 3
    frames = _first(config, "num_frames", "frames_per_clip", default=None)
    image, video = (1, channels, *sides), (1, frames or 8, channels, *sides)
    if name == "flattened_patches":
        patch = _first(config, "patch_size", default=16)
        yield torch.zeros(1, 64, 2 + channels * patch**2)
        return
    if {"grid_thw", "image_grid_thw"} & taken.keys():
        yield _patches(config)
        yield _patches(config)[:, None].expand(-1, 2, -1).flatten(1)
    yield torch.zeros(video if frames or name.endswith("videos") else image)
    yield torch.zeros(1, 1, *image[1:])
    if frames:
        yield torch.zeros(image)
    yield torch.zeros(1, 2, *image[1:])
    if "pixel_position_ids" in taken or "spatial_shapes" in taken:
        yield torch.zeros(1, 256, channels * _first(config, "patch_size", default=16) ** 2)
    if sides != (224, 224):
        yield torch.zeros(1, channels, 224, 224)
    yield torch.zeros(2, channels, *sides)
    yield torch.zeros(1, frames or 8, channels, 336, 336)


def _patches(config: Any) -> Tensor:
    """256 patches, as flat as the Qwen-VL kind takes them."""
    patch = _first(config, "patch_size", default=14)
    patch = patch if isinstance(patch, int) else patch[-1]
    channels = _first(config, "in_channels", "in_chans", "num_channels", default=3)
    return torch.zeros(256, channels * _first(config, "temporal_patch_size", default=1) * patch**2)


def _series(name: str, config: Any) -> Iterator[Tensor]:
    lags = getattr(config, "lags_sequence", None) or [0]
    steps = _first(config, "context_length", "prediction_length", default=32) + max(lags)
    channels = _first(config, "num_input_channels", "input_size", default=1)
    if name == "past_time_features":
        yield torch.zeros(1, steps, _first(config, "num_time_features", default=0))
        return
    make = torch.ones if name == "past_observed_mask" else torch.zeros
    if not lags[0] or channels > 1:
        yield make(1, steps, channels)
    yield make(1, steps)
    if name == "past_values":
        yield make(1, _first(config, "context_length", "horizon_length", default=512))
