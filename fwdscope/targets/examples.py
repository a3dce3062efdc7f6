"""What models of libraries may be called on: inputs made from forward's parameters and the configuration.

Images and sequences have the sizes of the configuration, ids stay below the vocabulary, and small integers that a
forward looks at (grids, masks) have values that fit. Where the parameters leave open what a model takes, several
combinations follow one another, the likeliest first.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn

from fwdscope.errors import InputError, TargetError
from fwdscope.language.names import listed
from fwdscope.targets.arguments import parse_value

# What is fed together after a model's main input. What the forward does not take is left out.
_TOGETHER: list[tuple[str, ...]] = [
    ("input_ids",), ("pixel_values",), ("input_ids", "pixel_values"), ("input_features",), ("input_values",),
    ("input_ids", "input_features"), ("input_ids", "input_values"), ("pixel_values_videos",),
    ("pixel_values_videos", "input_values"), ("inputs_embeds",), ("hidden_states",), ("past_values",),
    ("audio_codes",), ("input_ids", "pixel_values", "attention_mask"), (),
]  # fmt: skip
# What goes with others wherever a forward takes it.
_COMPANIONS = (
    "bbox", "image_grid_thw", "grid_thw", "decoder_input_ids", "past_time_features", "past_observed_mask",
    "task_inputs", "visual_feats", "visual_pos", "image_sizes", "decoder_input_values", "mm_token_type_ids",
    "merge_sizes", "spatial_shapes", "pixel_attention_mask",
)  # fmt: skip
_EMBEDDED = ("_embeds", "hidden_states", "embeddings", "latents", "queries", "image_features", "text_features")
_MOST = 24
_TOKENS = 32
# Patches of an image that are fed as a list of patches, of 16 by 16.
_GRID = (1, 16, 16)


class Example(NamedTuple):
    """An input: its text, its shape, its dtype, and its values, None for normal ones. Without a dtype no tensor."""

    text: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    values: Any = None
    # Whether it is one of a list, as detectors take images.
    in_list: bool = False

    def make(self, with_numbers: bool) -> Any:
        """The tensor, on meta unless with numbers. One of values that may be looked at has them always."""
        if self.dtype is None:
            return self.values
        if self.values is None:
            made = (
                torch.randn(self.shape, dtype=self.dtype)
                if with_numbers
                else torch.empty(self.shape, dtype=self.dtype, device="meta")
            )
        else:
            made = torch.tensor(self.values, dtype=self.dtype).expand(self.shape).clone()
        return [made] if self.in_list else made


# Inputs by the names of forward's parameters; one may be a dictionary.
Examples: TypeAlias = "dict[str, Example | Examples]"


def make_inputs(examples: Examples, with_numbers: bool) -> dict[str, Any]:
    """The inputs themselves."""
    return {
        name: make_inputs(one, with_numbers) if isinstance(one, dict) else one.make(with_numbers)
        for name, one in examples.items()
    }


def describe_inputs(examples: Examples) -> str:
    """``input_ids = ids(1, 32), …``, by which a report says what was fed."""
    texts = (f"{{{describe_inputs(one)}}}" if isinstance(one, dict) else one.text for one in examples.values())
    return ", ".join(f"{name} = {text}" for name, text in zip(examples, texts, strict=True))


class Sizes:
    """Sizes of inputs by name, which ``--set`` replaces: ``B`` the batch, ``T`` the tokens."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.given: dict[str, int] = {}
        self.asked: dict[str, int] = {}
        for name, text in variables.items():
            value = parse_value(f"--set {name}", text)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"--set {name}={text}: a size is a whole number above 0")
            self.given[name] = value

    def __call__(self, name: str, default: int) -> int:
        """The size of that name."""
        self.asked[name] = self.given.get(name, default)
        return self.asked[name]

    def check(self, text: str) -> None:
        """Raise TargetError for a size that no input has."""
        for name in self.given.keys() - self.asked.keys():
            raise TargetError(
                f"--set {name}: the inputs of {text} have the sizes {listed(self.asked)}; --arg is for its settings"
            )


def image(module: nn.Module, sizes: Sizes, shape: list[int], as_list: bool = False, count: int = 1) -> Examples:
    """An image or video of a shape without batch, as the first inputs of a module; ``as_list``: as a list of one."""
    *front, height, width = shape
    full = (*front, sizes("H", height), sizes("W", width))
    names = list(inspect.signature(module.forward).parameters)[:count]
    made = _Maker(module, sizes).normal(*(() if as_list else (sizes("B", 1),)), *full)
    return dict.fromkeys(names, made._replace(in_list=as_list))


def language_model(module: nn.Module, sizes: Sizes) -> Iterator[Examples]:
    """Inputs that a model of transformers may be called on, the likeliest first."""
    config: Any = module.config
    taken = inspect.signature(module.forward).parameters
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    required = [name for name, p in taken.items() if p.default is p.empty and p.kind in plain]
    has_decoder = any(getattr(part, "is_encoder_decoder", False) for part in parts(config))
    companions = [name for name in _COMPANIONS if name in taken and (has_decoder or not name.startswith("decoder"))]
    make, seen, left, first = _Maker(module, sizes), set[tuple[str, ...]](), _MOST, dict[str, Any]()
    main = getattr(module, "main_input_name", "input_ids")
    for asked in [(main,) if isinstance(main, str) else tuple(main), *_TOGETHER]:
        if asked and not set(asked) & taken.keys():
            continue
        for added in (companions, []):
            names = tuple(dict.fromkeys([*(n for n in asked if n in taken), *required, *added]))
            if not names or names in seen:
                continue
            seen.add(names)
            options = [list(make.options(name)) for name in names]
            for values in itertools.islice(itertools.product(*options), left):
                left -= 1
                found = dict(zip(names, values, strict=True))
                first = first or found
                yield found
    if first and "use_cache" in taken:  # some caches of default configurations do not fit the layers
        yield {**first, "use_cache": Example("False", (), None, False)}


def diffusion(module: nn.Module, sizes: Sizes) -> Iterator[Examples]:
    """Inputs of a model of diffusers: a latent image, a time step and the encoded text, as far as it takes them."""
    config: Any = module.config
    make = _Maker(module, sizes)
    side = config.get("sample_size") or 64
    height, width = side if isinstance(side, list | tuple) else (side, side)
    height, width, tokens = sizes("H", height), sizes("W", width), sizes("T", 77)
    widths = [config.get(key) for key in ("caption_channels", "joint_attention_dim", "cross_attention_dim")]
    latent = make.normal(make.batch, config.get("in_channels", 4), height, width)
    known: Examples = {
        **dict.fromkeys(("sample", "hidden_states", "x"), latent),
        **dict.fromkeys(("timestep", "class_labels"), make.full(1, make.batch)),
        "encoder_hidden_states": make.normal(make.batch, tokens, next(filter(None, widths), 768)),
        "pooled_projections": make.normal(make.batch, config.get("pooled_projection_dim") or 768),
        "guidance": make.normal(make.batch),
        "controlnet_cond": make.normal(make.batch, config.get("conditioning_channels", 3), 8 * height, 8 * width),
    }
    if "img_ids" in make.taken:  # patches in a row, with their places
        count = height * width // 4
        known["hidden_states"] = make.normal(make.batch, count, config.get("in_channels", 4))
        known |= {"img_ids": make.normal(count, 3), "txt_ids": make.normal(tokens, 3)}
    asked = {"timestep", "encoder_hidden_states", "pooled_projections", "img_ids", "txt_ids"}
    asked |= {"guidance"} if config.get("guidance_embeds") else set()
    asked |= {"class_labels"} if config.get("num_class_embeds") or config.get("num_embeds_ada_norm") else set()
    if config.get("addition_embed_type") == "text_time":  # six sizes of the image, each embedded, beside the text
        times = 6 * config["addition_time_embed_dim"]
        text = make.normal(make.batch, config["projection_class_embeddings_input_dim"] - times)
        known["added_cond_kwargs"] = {"text_embeds": text, "time_ids": make.normal(make.batch, 6)}
        asked |= {"added_cond_kwargs"}
    elif "caption_channels" in config:
        sizes_of_image = {"resolution": make.normal(make.batch, 2), "aspect_ratio": make.normal(make.batch, 1)}
        known["added_cond_kwargs"] = dict(sizes_of_image)
        asked |= {"added_cond_kwargs"}
    needed = {n: known[n] for n, p in make.taken.items() if n in known and (p.default is p.empty or n in asked)}
    yield needed
    yield {name: one for name, one in needed.items() if name != "encoder_hidden_states"}


def parts(config: Any) -> Iterator[Any]:
    """A configuration and those that it holds, from the outside in."""
    level = [config]
    while level:
        yield from level
        level = [v for part in level for v in vars(part).values() if type(v).__name__.endswith("Config")]


class _Maker:
    """Makes examples for a module, in its dtype and with the sizes of its configuration."""

    def __init__(self, module: nn.Module, sizes: Sizes) -> None:
        self.sizes = sizes
        self.config: Any = getattr(module, "config", None)
        self.taken = inspect.signature(module.forward).parameters
        floating = (p.dtype for p in module.parameters() if p.is_floating_point())
        self.dtype = next(floating, torch.get_default_dtype())
        self.batch = sizes("B", 1)

    # -- tensors ------------------------------------------------------------------------------------------------------

    def normal(self, *shape: int) -> Example:
        return Example(f"randn{shape}", shape, self.dtype)

    def exact(self, values: Any, shape: tuple[int, ...] | None = None, dtype: torch.dtype = torch.int64) -> Example:
        """These values, which broadcast to a shape."""
        shape = tuple(torch.tensor(values).shape) if shape is None else shape
        return Example(str(values), shape, dtype, values)

    def full(self, value: int, *shape: int, dtype: torch.dtype = torch.int64) -> Example:
        return self.exact(value, shape, dtype)._replace(text=f"full({shape}, {value})")

    def ids(self, vocabulary: int, *shape: int, along: int = -1) -> Example:
        """Ids that count up from 3 along a dimension, since the first few are often special."""
        values = (torch.arange(3, 3 + shape[along]) % max(vocabulary, 1)).reshape([-1] + [1] * (-1 - along))
        return self.exact(values.tolist(), shape)._replace(text=f"ids{shape}")

    # -- sizes --------------------------------------------------------------------------------------------------------

    def first(self, *names: str, default: Any = None) -> Any:
        """The first of these settings that the configuration, or one inside it, has."""
        values = (getattr(part, name, None) for part in parts(self.config) for name in names)
        return next((value for value in values if isinstance(value, int | list | tuple) and value is not True), default)

    @property
    def length(self) -> int:
        longest = self.first("max_position_embeddings", "n_positions", default=_TOKENS)
        return self.sizes("T", max(2, min(_TOKENS, longest if isinstance(longest, int) else _TOKENS)))

    @property
    def channels(self) -> int:
        channels = self.first("in_channels", "in_chans", "num_channels", default=3)
        return channels if isinstance(channels, int) else 3

    def patch(self, default: int) -> int:
        patch = self.first("patch_size", default=default)
        return int(patch if isinstance(patch, int) else patch[-1])

    @property
    def bins(self) -> int:
        """Frequencies of a spectrogram."""
        return int(self.first("num_mel_bins", "input_feat_per_channel", "input_dim", "feature_size", default=80))

    # -- inputs by name -----------------------------------------------------------------------------------------------

    def options(self, name: str) -> Iterable[Example]:
        """What an input of this name may be."""
        if name in _BY_NAME:
            return _BY_NAME[name](self)
        if name.endswith("input_ids"):
            return [self.ids(self.vocabulary, self.batch, min(self.length, 77))]
        return self.embedded() if name.endswith(_EMBEDDED) else ()

    @property
    def vocabulary(self) -> int:
        size = self.first("vocab_size", default=1000)
        return int(size if isinstance(size, int) else min(size))

    def tokens(self) -> Iterator[Example]:
        yield self.ids(self.vocabulary, self.batch, self.length)
        books = self.first("num_codebooks", default=4)
        yield self.ids(self.vocabulary, self.batch, self.length, books, along=-2)
        yield self.ids(self.vocabulary, self.batch, books, self.length)

    def embedded(self) -> Iterator[Example]:
        width = self.first("hidden_size", "d_model", "n_embd", "embed_dim", "dim", default=768)
        yield self.normal(self.batch, self.length, width)
        yield self.normal(self.batch, width, self.length)

    def hidden_states(self) -> Iterator[Example]:
        if {"grid_thw", "image_grid_thw"} & self.taken.keys():
            yield self.patches()
            return
        yield from self.embedded()
        width = self.first("hidden_size", "d_model", default=768)
        yield self.normal(self.batch, 200, self.first("input_size", "input_dim", "num_mel_bins", default=width))

    def images(self, is_video: bool = False) -> Iterator[Example]:
        batch, normal = self.batch, self.normal
        side = self.first("image_size", "img_size", default=224)
        sides = tuple(side)[-2:] if isinstance(side, list | tuple) else (side, side)
        one = (self.channels, self.sizes("H", sides[0]), self.sizes("W", sides[-1]))
        frames = self.first("num_frames", "frames_per_clip", default=None)
        if {"grid_thw", "image_grid_thw"} & self.taken.keys():
            yield self.patches()
            yield self.patches(2)
        is_video = is_video or frames is not None
        yield normal(batch, *([self.sizes("F", frames or 8)] if is_video else []), *one)
        yield normal(batch, 1, *one)
        if frames:
            yield normal(batch, *one)
        yield normal(batch, 2, *one)
        if {"pixel_position_ids", "spatial_shapes"} & self.taken.keys():
            yield normal(batch, 256, self.channels * self.patch(16) ** 2)
        if sides != (224, 224):
            yield normal(batch, self.channels, 224, 224)
        yield normal(2, *one)
        yield normal(batch, frames or 8, self.channels, 336, 336)

    def patches(self, frames: int = 1) -> Example:
        """256 patches, as flat as the Qwen-VL kind takes them."""
        temporal = self.first("temporal_patch_size", default=1)
        return self.normal(256, frames * self.channels * temporal * self.patch(14) ** 2)

    def waves(self) -> Iterator[Example]:
        yield self.normal(self.batch, self.sizes("T", 16_000))
        yield self.normal(self.batch, self.first("audio_channels", default=1), self.sizes("T", 24_000))
        yield self.normal(self.batch, self.sizes("T", 19_200))
        yield self.normal(self.batch, 100, self.first("num_mel_bins", "hidden_size", default=80))
        yield self.normal(self.batch, self.first("max_length", default=1024), self.first("num_mel_bins", default=128))

    def spectrograms(self) -> Iterator[Example]:
        wide = self.first(
            "input_dim", "feature_projection_input_dim", "input_size", "feat_dim", "num_mel_bins",
            "input_feat_per_channel", "feature_size", default=80,
        )  # fmt: skip
        frames = 2 * self.first("max_source_positions", default=100)
        yield self.normal(self.batch, self.bins, frames)
        yield self.normal(self.batch, self.sizes("T", min(frames, 400)), self.bins)
        yield self.normal(self.batch, self.sizes("T", 400), wide)
        yield self.normal(self.batch, 1, 1001, 64)
        yield self.normal(self.batch, 16_000)

    def mel(self) -> Iterator[Example]:
        bins = self.first("mel_dim", "num_mel_bins", "input_feat_size", default=80)
        yield self.normal(self.batch, bins, 100)
        yield self.normal(self.batch, 100, bins)

    @property
    def steps(self) -> int:
        lags = getattr(self.config, "lags_sequence", None) or [0]
        return self.sizes("T", self.first("context_length", "prediction_length", default=32)) + int(max(lags))

    def series(self) -> Iterator[Example]:
        lags = getattr(self.config, "lags_sequence", None) or [0]
        channels = self.first("num_input_channels", "input_size", default=1)
        if not lags[0] or channels > 1:
            yield self.normal(self.batch, self.steps, channels)
        yield self.normal(self.batch, self.steps)
        yield self.normal(self.batch, self.first("context_length", "horizon_length", default=512))

    def observed(self) -> Iterator[Example]:
        """A mask of ones for each series."""
        return (self.full(1, *one.shape, dtype=self.dtype) for one in self.series())


_BY_NAME: Mapping[str, Callable[[_Maker], Iterable[Example]]] = {
    **dict.fromkeys(("input_ids", "decoder_input_ids"), _Maker.tokens),
    **dict.fromkeys(("input", "image", "images", "pixel_values", "prompt_pixel_values", "prompt_masks"), _Maker.images),
    **dict.fromkeys(("grid_thw", "image_grid_thw"), lambda m: [m.exact([_GRID])]),
    **dict.fromkeys(("mm_token_type_ids", "text_mask"), lambda m: [m.full(0, m.batch, m.length)]),
    **dict.fromkeys(("attention_mask", "input_features_mask"), lambda m: [m.full(1, m.batch, m.length)]),
    **dict.fromkeys(("mel_spectrogram", "audio_mel"), _Maker.mel),
    **dict.fromkeys(("audio_mel_mask", "mask"), lambda m: [m.full(0, m.batch, 100, dtype=torch.bool)]),
    **dict.fromkeys(("input_features", "spectrogram", "audio_values"), _Maker.spectrograms),
    **dict.fromkeys(
        ("task_inputs", "text_inputs"), lambda m: [m.full(1, m.batch, m.first("task_seq_len", default=77))]
    ),
    **dict.fromkeys(
        ("audio_codes", "codes"),
        lambda m: [m.full(0, m.batch, m.first("num_quantizers", "n_codebooks", default=8), 50)],
    ),
    "pixel_values_videos": lambda m: m.images(is_video=True),
    "flattened_patches": lambda m: [m.normal(m.batch, 64, 2 + m.channels * m.patch(16) ** 2)],
    "bbox": lambda m: [m.full(0, m.batch, m.length, 4), m.normal(m.batch, m.length, 8)],
    "hidden_states": _Maker.hidden_states,
    "input_values": _Maker.waves,
    "inputs": lambda m: [m.normal(m.batch, m.length, m.first("d_model", default=768))],
    "merge_sizes": lambda m: [m.exact([1])],
    "spatial_shapes": lambda m: [m.exact([_GRID[1:]], (m.batch, 2))],
    "pixel_attention_mask": lambda m: [m.full(1, m.batch, 256)],
    "pixel_position_ids": lambda m: [m.full(0, m.batch, 256, 2)],
    "aspect_ratio_ids": lambda m: [m.full(1, m.batch, 1)],
    "aspect_ratio_mask": lambda m: [m.full(1, m.batch, 1, 4)],
    "chunk_sample_lengths": lambda m: [m.exact([100])],
    "image_sizes": lambda m: [m.exact([[224, 224]], (m.batch, 2))],
    "visual_feats": lambda m: [m.normal(m.batch, 10, m.first("visual_feat_dim", default=2048))],
    "visual_pos": lambda m: [m.normal(m.batch, 10, 4)],
    "past_values": _Maker.series,
    "past_observed_mask": _Maker.observed,
    "past_values_padding": lambda m: [m.full(0, m.batch, m.first("context_length", "horizon_length", default=512))],
    "past_time_features": lambda m: [m.normal(m.batch, m.steps, m.first("num_time_features", default=0))],
    "freq": lambda m: [m.full(0, m.batch, 1)],
}
