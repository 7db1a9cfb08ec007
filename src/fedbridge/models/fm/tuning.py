"""A foundation model of which a small part is trained by gradient, the rest staying frozen."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedbridge.config.models import Large, Tuning
from fedbridge.core.entries import foreign_errors
from fedbridge.core.errors import UserError
from fedbridge.core.rng import seed_for
from fedbridge.core.states import owned
from fedbridge.models import FOUNDATION_MODELS, import_extra
from fedbridge.models.fm.foundation import Items
from fedbridge.models.fm.transformer import PictureEncoder, TextEncoder, foundation_module
from fedbridge.models.statistics import FeatureMap

State = dict[str, Tensor]
Part = dict[str, nn.Parameter]
Tokens = Callable[[int], Tensor | None]
"""Returns what a batch of so many items gets, ``(B, L, H)``, or None where it gets nothing."""
SHORTEST = 3
"""Tokens of the shortest text: its first and last one mark where it begins and ends."""
ATTENTION = r".*\.(query|value|q_proj|v_proj|q_lin|v_lin|qkv|query_key_value|c_attn)"
"""What models call the maps to queries and values, beside which LoRA's paper puts its matrices."""


def require_tunable(large: Large) -> None:
    """Raise UserError if the FM is to be tuned and cannot be, before any work is done."""
    tuning = large.tuned
    if not tuning:
        return
    fitting = [name for name, entry in FOUNDATION_MODELS.items() if entry.module]
    if large.model not in fitting and not large.model.startswith("transformers:"):
        raise UserError(
            f"large.tuning: {tuning.kind!r} needs large.model to be {', '.join(fitting)} or "
            f"transformers:DIR-OR-NAME, found {large.model!r}"
        )
    if tuning.kind not in ("prompt", "pool"):
        import_extra("peft", "peft", f"large.tuning {tuning.kind!r}")


class Added(NamedTuple):
    """What was put into an FM."""

    part: Part
    """What of it is trained."""
    strain: Callable[[], Tensor | float] = float
    """Gives a term of the loss: how far the keys chosen for the last batch lie from its items, by
    its weight; 0 without keys."""


class Tunable:
    """An FM with its trainable part, by name."""

    def __init__(self, module: PictureEncoder | TextEncoder, added: Added) -> None:
        self.module = module
        self.part, self.strain = added
        self.fresh: State = self.state()

    def state(self) -> State:
        """Return a copy of the trainable part, on the CPU."""
        return {k: v.detach().cpu().clone() for k, v in self.part.items()}

    def load(self, state: State) -> None:
        """Load a part; the one before any training if the state is empty."""
        with torch.no_grad():
            for name, tensor in (state or self.fresh).items():
                self.part[name].copy_(tensor)

    def __call__(self, items: Items) -> Tensor:
        """Map items as the FM reads them to ``(B, D)``, with gradients for the trainable part."""
        with foreign_errors(self.module.name):
            embeddings: Tensor = self.module(**self.module.read(items))
        return embeddings

    @torch.no_grad()
    def encode(self, items: Items, batch: int) -> Tensor:
        """Map items, at least one, to ``(n, D)``, ``batch`` at a time."""
        starts = range(0, len(items), batch)
        return torch.cat([self(items[start : start + batch]) for start in starts])


@lru_cache(maxsize=1)
def tunable(large: Large, device: torch.device, seed: int) -> Tunable:
    """Return the FM with the part that ``large.tuning`` adds, before any training.

    A process holds one FM for all its clients: load a state before each use. LoRA (ICLR
    2022) is that of the package peft, with a scale of 2; tokens are those of prompt tuning for
    texts (EMNLP 2021), of shallow visual prompt tuning for pictures (ECCV 2022). Raises UserError
    if the FM is missing or not built in a way that can be tuned so.
    """
    require_tunable(large)
    tuning = large.tuned
    assert tuning
    module = foundation_module(large.model, large.size, device).requires_grad_(False)
    with foreign_errors(large.model), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "tuning"))
        added = PARTS[tuning.kind](module, tuning)
    return Tunable(module, added)


def lifted(lift: FeatureMap, embeddings: Tensor) -> Tensor:
    """Map embeddings ``(n, D)`` to features ``(n, M)`` as the lift does, with gradients."""
    device = embeddings.device
    mean, scale = (owned(torch.from_numpy(v)).to(device) for v in (lift.mean, lift.scale))
    z = (embeddings - mean) / scale
    if lift.projection is None:
        return z
    return torch.relu(z @ owned(torch.from_numpy(lift.projection)).to(device))


def add_matrices(
    module: PictureEncoder | TextEncoder, tuning: Tuning, magnitudes: bool = False
) -> Added:
    """Put low-rank matrices beside the queries and values of attention; at first they add 0.

    With ``magnitudes`` the lengths of the sums' columns are trained as well (DoRA, ICML 2024).
    """
    peft = import_extra("peft", "peft", "large.tuning 'lora'")
    rank = tuning.size
    return _injected(
        module,
        peft.LoraConfig(r=rank, lora_alpha=2 * rank, use_dora=magnitudes, target_modules=ATTENTION),
    )


def add_factors(module: PictureEncoder | TextEncoder, _: Tuning) -> Added:
    """Let factors, at first 1, scale the queries and values of attention (IA3, NeurIPS 2022)."""
    peft = import_extra("peft", "peft", "large.tuning 'ia3'")
    return _injected(module, peft.IA3Config(target_modules=ATTENTION, feedforward_modules=[]))


def _injected(module: PictureEncoder | TextEncoder, config: Any) -> Added:
    """Put an adapter of peft into the model, and return what of it is trained."""
    peft = import_extra("peft", "peft", "large.tuning")
    before = {id(parameter) for parameter in module.backbone.parameters()}
    peft.inject_adapter_in_model(config, module.backbone)
    return Added({k: v for k, v in module.backbone.named_parameters() if id(v) not in before})


def add_tokens(module: PictureEncoder | TextEncoder, tuning: Tuning) -> Added:
    """Put trainable tokens beside those of every input."""
    count, width = tuning.size, module.backbone.config.hidden_size
    tokens = nn.Parameter((0.02 * torch.randn(count, width)).to(module.backbone.device))
    _beside(module, count, lambda size: tokens.expand(size, -1, -1))
    return Added({"tokens": tokens})


def add_pool(module: PictureEncoder | TextEncoder, tuning: Tuning) -> Added:
    """Put trainable prompts beside an item, those of a pool whose keys are most like it.

    Prompt i of the pool is so many tokens with a key; those ``top_k`` are taken whose keys have the
    largest cosines with the frozen FM's embedding of the item (L2P, CVPR 2022;
    FedTA's input enhancement, CVPR 2025, equations 1 and 2).
    """
    device, width = module.backbone.device, module.backbone.config.hidden_size
    keys = nn.Parameter(torch.rand(tuning.pool, _dimension(module)).mul(2).sub(1).to(device))
    shape = tuning.pool, tuning.size, width
    prompts = nn.Parameter((0.02 * torch.randn(shape)).to(device))
    chosen: dict[str, Tensor] = {}

    def choose(_: nn.Module, given: Any, named: dict[str, Any]) -> None:
        chosen.clear()
        with torch.no_grad():
            query = F.normalize(module.forward(*given, **named).float(), dim=1)
        near = (query @ F.normalize(keys, dim=1).T).topk(tuning.top_k, dim=1)
        chosen["prompts"], chosen["strain"] = near.indices, (1.0 - near.values).sum(1).mean()

    def tokens(_: int) -> Tensor | None:
        return prompts[chosen["prompts"]].flatten(1, 2) if chosen else None

    module.register_forward_pre_hook(choose, with_kwargs=True)
    _beside(module, tuning.top_k * tuning.size, tokens)
    return Added({"keys": keys, "prompts": prompts}, lambda: tuning.attract * chosen["strain"])


@torch.no_grad()
def _dimension(module: PictureEncoder | TextEncoder) -> int:
    """Return the dimension of a module's embeddings."""
    if isinstance(module, TextEncoder):
        return int(module(**module.read(["probe"])).shape[1])
    side = module.size
    return int(module(torch.zeros(1, 3, side, side, device=module.shift.device)).shape[1])


def _beside(module: PictureEncoder | TextEncoder, count: int, tokens: Tokens) -> None:
    """Make the model read ``count`` tokens beside those of each input, where there are any."""
    if isinstance(module, PictureEncoder):
        _after_patches(module.backbone, tokens)
    else:
        _before_words(module, count, tokens)


def _after_patches(model: Any, tokens: Tokens) -> None:
    """Let tokens follow the patches: attention asks for no order, and the first keep their place.

    Raises UserError if what the model embeds is no sequence.
    """
    if not isinstance(getattr(model, "embeddings", None), nn.Module):
        raise UserError("large.tuning: 'prompt' and 'pool' need an FM with a module 'embeddings'")

    def extend(_: nn.Module, given: Any, embedded: Any) -> Tensor:
        if not isinstance(embedded, Tensor) or embedded.ndim != 3:
            raise UserError(
                "large.tuning: 'prompt' and 'pool' need an FM that reads a sequence of patches"
            )
        more = tokens(len(embedded))
        return embedded if more is None else torch.cat([embedded, more], 1)

    def strip(_: nn.Module, given: Any, output: Any) -> Any:
        more = tokens(len(output.last_hidden_state))
        if more is not None:
            output.last_hidden_state = output.last_hidden_state[:, : -more.shape[1]]
        return output

    model.embeddings.register_forward_hook(extend)
    model.register_forward_hook(strip)


def _before_words(module: TextEncoder, count: int, tokens: Tokens) -> None:
    """Let tokens precede the words, where padding cannot move them; texts are cut off earlier.

    Raises UserError if no room is left for a word.
    """
    model = module.backbone
    if module.longest - count < SHORTEST:
        raise UserError(
            f"large.tuning_size: tokens beside an input must leave {SHORTEST} of the "
            f"{module.longest} that the FM reads of a text, found {count}"
        )

    def extend(_: nn.Module, given: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        words, mask = model.get_input_embeddings()(named["input_ids"]), named["attention_mask"]
        more = tokens(len(words))
        if more is None:
            return given, named
        own = mask.new_ones(more.shape[:2])
        return given, {
            "inputs_embeds": torch.cat([more, words], 1),
            "attention_mask": torch.cat([own, mask], 1),
        }

    def strip(_: nn.Module, given: Any, output: Any) -> Any:
        more = tokens(len(output.last_hidden_state))
        if more is not None:
            output.last_hidden_state = output.last_hidden_state[:, more.shape[1] :]
        return output

    model.register_forward_pre_hook(extend, with_kwargs=True)
    model.register_forward_hook(strip)
    module.longest -= count


PARTS: dict[str, Callable[[PictureEncoder | TextEncoder, Tuning], Added]] = {
    "lora": add_matrices,
    "dora": partial(add_matrices, magnitudes=True),
    "ia3": add_factors,
    "prompt": add_tokens,
    "pool": add_pool,
}
"""By ``large.tuning``."""
