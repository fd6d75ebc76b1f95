"""Breaks one thing at a time in the MLX backend, to show that the checks notice: docs/parity.md, "Controls".

Each break patches functions of `hrm_mlx` (or of `hrm_core`, for what both backends share) while a check runs. A backend is made inside
the break, so nothing that was compiled before hides it.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrm_core.backend import AnyArray

Replacement = Callable[[Any], Any]  # from what stands there to what stands there instead

INITIAL = "published initialisation"
ROPE, LEARNED, BFLOAT16, ORDER = (
    "rope_stablemax_f32",
    "learned_softmax_f32",
    "rope_stablemax_bf16",
    "data_order",
)


@dataclass(frozen=True)
class Break:
    """One mistake."""

    name: str
    case: str  # that must notice it
    quantity: str  # by which it must be noticed
    apply: Callable[[], AbstractContextManager[None]]
    is_shared: bool = False  # in what both backends share: only recorded numbers can notice it
    configuration: str = ""  # beyond the published network: only its comparison can notice it


@contextmanager
def patched(target: str, replace: Replacement) -> Iterator[None]:
    """Put `replace(original)` in the place of "module:attribute" or "module:Class.attribute"."""
    module, path = target.split(":")
    *owners, attribute = path.split(".")
    owner: Any = importlib.import_module(module)
    for name in owners:
        owner = getattr(owner, name)
    original = getattr(owner, attribute)
    setattr(owner, attribute, replace(original))
    try:
        yield
    finally:
        setattr(owner, attribute, original)


def layer_norm(rms_norm: Any) -> Any:
    """The mean is taken away first."""
    return lambda x, eps: rms_norm(x - x.mean(axis=-1, keepdims=True), eps)


def norm_in_bfloat16(rms_norm: Any) -> Any:
    """The norm rounds to bfloat16."""
    import mlx.core as mx

    return lambda x, eps: rms_norm(x.astype(mx.bfloat16), eps).astype(x.dtype)


def learned_norm(rms_norm: Any) -> Any:
    """A norm weight that training has moved a little."""
    return lambda x, eps: rms_norm(x, eps) * 1.001


def pre_norm(_: Any) -> Any:
    """The norm stands in front of attention and SwiGLU."""
    from hrm_mlx.layers import rms_norm

    def call(self: Any, x: Any, *others: Any) -> Any:
        x = x + self.self_attn(rms_norm(x, self.eps), *others)
        return x + self.mlp(rms_norm(x, self.eps))

    return call


def even_odd_pairs(_: Any) -> Any:
    """RoPE rotates neighbours instead of halves."""
    import mlx.core as mx

    def call(self: Any, x: Any) -> Any:
        even, odd = x[..., 0::2], x[..., 1::2]
        cos, sin = self.cos[:, 0], self.sin[:, 1]  # of both halves the same, but for the sign
        pairs = [even * cos - odd * sin, odd * cos + even * sin]
        return mx.stack(pairs, axis=-1).reshape(x.shape)

    return call


def positions_skip_puzzle(init: Any) -> Any:
    """Tokens count from 0 and the puzzle slot, one in these cases, stands at 0 too."""
    import mlx.core as mx

    def call(self: Any, *sizes: Any) -> None:
        init(self, *sizes)
        self.cos, self.sin = (
            mx.concatenate([table[:1], table[:-1]]) for table in (self.cos, self.sin)
        )
        mx.eval(self.cos, self.sin)

    return call


def swapped_halves(_: Any) -> Any:
    """The second half of gate_up is the gate."""
    import mlx.core as mx

    from hrm_mlx.kernels import silu

    def call(self: Any, x: Any) -> Any:
        up, gate = mx.split(self.gate_up_proj(x), 2, axis=-1)
        return self.down_proj(silu(gate) * up)

    return call


def swapped_levels(call: Any) -> Any:
    """H does the work of L and L that of H."""

    def swapped(self: Any, *state: Any) -> Any:
        self.H_level, self.L_level = self.L_level, self.H_level
        output = call(self, *state)
        self.H_level, self.L_level = self.L_level, self.H_level
        return output

    return swapped


def without(name: str) -> Replacement:
    """One weight is left out."""
    return _loading(lambda weights: {**weights, name: np.zeros_like(weights[name])})


def permuted_heads(weights: dict[str, AnyArray]) -> dict[str, AnyArray]:
    """The two halves of the heads of every query change places; keys and values stay."""

    def permute(qkv: AnyArray) -> AnyArray:
        half = qkv.shape[0] // 6
        return np.concatenate([qkv[half : 2 * half], qkv[:half], qkv[2 * half :]])

    return {
        name: permute(weight) if "qkv_proj" in name else weight for name, weight in weights.items()
    }


def _loading(change: Callable[[dict[str, AnyArray]], dict[str, AnyArray]]) -> Replacement:
    return lambda load_weights: lambda self, weights: load_weights(self, change(dict(weights)))


def halt_on_tie(_: Any) -> Any:
    """q_halt >= q_continue halts."""

    def call(output: Any, steps: Any, min_steps: Any, config: Any) -> Any:
        last = steps >= config.halt_max_steps
        return (last | (output.q_halt_logits >= output.q_continue_logits)) & (
            steps >= min_steps
        ), last

    return call


def with_setting(name: str, value: Any) -> Replacement:
    """A model whose setting has another value while a function of it runs."""

    def replace(call: Any) -> Any:
        def changed(self: Any, *arguments: Any) -> Any:
            config = self.config
            self.config = config.model_copy(update={name: value})
            result = call(self, *arguments)
            self.config = config
            return result

        return changed

    return replace


def gradient_of_L_alone(call: Any) -> Any:
    """The last call of H is a constant for shared weights: only what goes through it has a gradient."""
    import mlx.core as mx
    from mlx.utils import tree_map

    def constant(self: Any, *arguments: Any) -> Any:
        def held(*inputs: Any) -> Any:
            weights = shared.parameters()
            shared.update(tree_map(mx.stop_gradient, weights))
            result = shared(*inputs)
            shared.update(weights)
            return result

        shared = self.L_level
        self.H_level = held
        result = call(self, *arguments)
        self.H_level = shared
        return result

    return constant


def target_from_old_carry(_: Any) -> Any:
    """The target is read off the step itself, before the carry moved on."""
    import mlx.core as mx

    def call(model: Any, output: Any, x: Any, last: Any) -> Any:
        better = mx.maximum(output.q_halt_logits, output.q_continue_logits)
        return mx.stop_gradient(mx.sigmoid(mx.where(last, output.q_halt_logits, better)))

    return call


def target_without_last_step(target: Any) -> Any:
    """The last step may hope for a further one."""
    return lambda model, output, x, last: target(model, output, x, last & False)


def target_of_halting_only(target: Any) -> Any:
    """Going on is worth what halting is worth, never more."""
    return lambda model, output, x, last: target(model, output, x, last | True)


def mean_over_batch_tokens(loss: Any) -> Any:
    """Every token of the batch weighs the same, whichever example it is in."""
    import mlx.core as mx

    def call(logits: Any, labels: Any) -> Any:
        count = (labels >= 0).sum(axis=-1, keepdims=True)
        return (
            loss(logits, labels) * mx.maximum(count, 1) * len(labels) / mx.maximum(count.sum(), 1)
        )

    return call


def inexact_cross_entropy(loss: Any) -> Any:
    """A gradient that is off by 1e-8."""
    return lambda logits, targets: loss(logits, targets) + 1e-8 * logits


def divided_inside(scalars: Any) -> Any:
    """atan2(m / c1, …): as atan2 sees only the ratio, c1 may as well multiply the other side."""

    def call(rates: Any, optim: Any) -> Any:
        import mlx.core as mx

        second = rates.bias_correction1 * rates.bias_correction2**-0.5
        return scalars(rates, optim)._replace(
            step=mx.array(rates.lr), second_scale=mx.array(second)
        )

    return call


def scale_of_127(scalars: Any) -> Any:
    """Steps of other implementations of Adam-atan2."""

    def call(rates: Any, optim: Any) -> Any:
        right = scalars(rates, optim)
        return right._replace(step=right.step * 1.27)

    return call


def decay_after_update(_: Any) -> Any:
    """The step decays too."""
    import mlx.core as mx

    def call(weight: Any, m: Any, v: Any, gradient: Any, optim: Any, rates: Any) -> Any:
        m = m + (1 - optim.beta1) * (gradient - m)
        v = optim.beta2 * v + (1 - optim.beta2) * mx.square(gradient)
        return (
            (weight - rates.step * mx.arctan2(m, mx.sqrt(v) * rates.second_scale)) * rates.keep,
            m,
            v,
        )

    return call


def dense_decay(move_rows: Any) -> Any:
    """Rows that are not in use decay as well."""

    def call(self: Any, table: Any, ids: Any, gradients: Any, rates: Any) -> Any:
        decayed = table * rates.puzzle_keep
        decayed[ids] = move_rows(self, table, ids, gradients, rates)[ids]
        return decayed

    return call


def trained_constants(advance: Any) -> Any:
    """H_init and L_init are weights: without a gradient, they decay."""

    def call(self: Any, batch: Any, min_steps: Any, rates: Any) -> Any:
        result = advance(self, batch, min_steps, rates)
        self._constants = {
            name: constant * (1 - 1e-4) for name, constant in self._constants.items()
        }
        return result

    return call


@contextmanager
def batch_ids() -> Iterator[None]:
    """The puzzle optimizer moves the rows of the new batch, whatever the slots work on."""
    offered: list[Any] = []

    def remember(run: Any) -> Any:
        def call(self: Any, state: Any, batch: Any, min_steps: Any, rates: Any) -> Any:
            offered[:] = [batch.puzzle_identifiers]
            return run(self, state, batch, min_steps, rates)

        return call

    def mistake(move_rows: Any) -> Any:
        return lambda self, table, ids, gradients, rates: move_rows(
            self, table, offered[0], gradients, rates
        )

    with (
        patched("hrm_mlx.update:Updater._run", remember),
        patched("hrm_mlx.update:Updater._move_rows", mistake),
    ):
        yield


@contextmanager
def token_mean() -> Iterator[None]:
    """The loss is a mean over the tokens of the batch."""
    name = "stablemax_cross_entropy"
    with patched(
        "hrm_mlx.act:TOKEN_LOSSES",
        lambda losses: {**losses, name: mean_over_batch_tokens(losses[name])},
    ):
        yield


def count_from_zero(rates: Any) -> Any:
    """The first update asks the schedule for update 0."""

    def call(update: int, *schedule: Any) -> Any:
        before = rates(update - 1, *schedule)
        return rates(update, *schedule)._replace(lr=before.lr, puzzle_emb_lr=before.puzzle_emb_lr)

    return call


def passes_from_zero(philox: Any) -> Any:
    """The first pass over the data draws from seed + 0."""
    return lambda seed: philox(seed - 1)


def q_head_decays(advance: Any) -> Any:
    """A Q head that is not trained decays."""

    def call(self: Any, batch: Any, min_steps: Any, rates: Any) -> Any:
        result = advance(self, batch, min_steps, rates)
        keep = 1 - rates.lr * self._optim.weight_decay
        self._constants = {
            name: constant * (keep if name.startswith("q_head") else 1)
            for name, constant in self._constants.items()
        }
        return result

    return call


def mean_over_labels(losses: Any) -> Any:
    """A row's loss is divided by the number of its labels."""
    import mlx.core as mx

    def averaged(loss: Any) -> Any:
        def call(logits: Any, labels: Any) -> Any:
            count = (labels >= 0).sum(axis=-1, keepdims=True)
            return loss(logits, labels) * labels.shape[-1] / mx.maximum(count, 1)

        return call

    return {name: averaged(loss) for name, loss in losses.items()}


def not_causal(choose: Any) -> Any:
    """Every position sees every position."""
    return lambda name, on_gpu, pattern: choose(name, on_gpu)


def prefix_off_by_one(visible: Any) -> Any:
    """The token behind the prefix belongs to it."""
    return lambda self, prefix_len: visible(self, None if prefix_len is None else prefix_len + 1)


def rope_over_chunks(step_loss: Any) -> Any:
    """Tokens count on from chunk to chunk; the puzzle slots stand at 0 each time."""
    import mlx.core as mx

    def call(model: Any, carry: Any, *others: Any) -> Any:
        config, (rope,) = model.config, model._rope
        chunk = mx.minimum(carry.steps // config.steps_per_chunk, config.num_chunks - 1)
        positions = mx.arange(config.total_len)
        later = positions + chunk[:, None] * config.seq_len
        positions = mx.where(positions < config.puzzle_emb_len, positions, later)
        pairs = mx.arange(0, config.head_dim, 2) / config.head_dim
        angles = positions[:, None, :, None] / config.rope_theta**pairs
        tables = rope.cos, rope.sin
        cos, sin = mx.cos(angles), mx.sin(angles)
        rope.cos, rope.sin = mx.stack([cos, cos], axis=-2), mx.stack([-sin, sin], axis=-2)
        step = step_loss(model, carry, *others)
        rope.cos, rope.sin = tables
        return step

    return call


def halts_on_early_chunks(halting: Any) -> Any:
    """A slot may halt on any chunk."""

    def call(output: Any, steps: Any, min_steps: Any, config: Any) -> Any:
        return halting(output, steps, min_steps, config.model_copy(update={"num_chunks": 1}))

    return call


def judges_unlabelled_chunks(judged: Any) -> Any:
    """A last chunk without labels counts as right."""
    return lambda steps, count, config: judged(steps, count + 1, config)


def judges_early_chunks(_: Any) -> Any:
    """Q has a loss on every labelled chunk."""
    return lambda steps, count, config: count > 0


def resets_between_chunks(refill: Any) -> Any:
    """Every chunk begins with a fresh state."""
    import mlx.core as mx

    def call(carry: Any, batch: Any, start: Any, staggered: bool) -> Any:
        taken = refill(carry, batch, start, staggered)
        first = (taken.steps > 0)[:, None, None]  # in this case every step begins a chunk
        return taken._replace(
            z_H=mx.where(first, start.H_init, taken.z_H),
            z_L=mx.where(first, start.L_init, taken.z_L),
        )

    return call


def forgets_between_chunks(step: Any) -> Any:
    """The same at inference."""
    import mlx.core as mx

    def call(self: Any, carry: Any) -> Any:
        z_H, z_L = (mx.broadcast_to(z, carry.x.shape) for z in self._start)
        return step(self, carry._replace(z_H=z_H, z_L=z_L))

    return call


def begins_on_chunk_0(empty_carry: Any) -> Any:
    """All slots start on the first chunk."""

    def call(*sizes: Any) -> Any:
        carry = empty_carry(*sizes)
        return carry._replace(steps=carry.steps * 0)

    return call


def column_major(patches_worked_on: Any) -> Any:
    """The pixels of a patch are read column by column."""

    def call(images: Any, steps: Any, config: Any) -> Any:
        patches = patches_worked_on(images, steps, config)
        if patches is None:
            return None
        side = config.patch_size
        squares = patches.reshape(*patches.shape[:2], side, side)
        return squares.swapaxes(2, 3).reshape(patches.shape)

    return call


def patches_in_the_middle(parameter_table: Any) -> Any:
    """The weights of patches stand behind those of tokens, and what follows is drawn by another stream."""

    def call(config: Any) -> Any:
        table = dict(parameter_table(config))
        moved = [name for name in table if name == "embed_patches.weight"]
        first, *others = (name for name in table if name not in moved)
        return {name: table[name] for name in (first, *moved, *others)}

    return call


def average_of_weights_before(compute_weights: Any) -> Any:
    """The average takes in the weights that the update began with."""
    from hrm_mlx.optim import averaged

    def call(self: Any, state: Any, gradients: Any, rates: Any) -> Any:
        updated = compute_weights(self, state, gradients, rates)
        for name in state.average:
            late = averaged(state.average[name], state.weights[name], rates)
            updated[name] = updated[name]._replace(average=late)
        return updated

    return call


def without_last_block(softmax_in_blocks: Any) -> Any:
    """The last block of rows adds neither to the loss nor to the gradient."""
    import mlx.core as mx

    from hrm_core.sizing import row_blocks

    def call(hidden: Any, weight: Any, labels: Any, shares: Any) -> Any:
        *_, last = row_blocks(len(hidden), len(weight))
        kept = mx.where(mx.arange(len(hidden)) < last.start, shares, 0)
        return softmax_in_blocks(hidden, weight, labels, kept)

    return call


def _break(name: str, case: str, quantity: str, target: str, replace: Replacement) -> Break:
    return Break(
        name,
        case,
        quantity,
        lambda: patched(target, replace),
        is_shared=not target.startswith("hrm_mlx."),
    )


def _beyond(
    name: str, configuration: str, quantity: str, target: str, change: Replacement
) -> Break:
    """A mistake that only a model beyond the published network can show."""
    return Break(name, "", quantity, lambda: patched(target, change), configuration=configuration)


LOAD = "hrm_mlx.backend:MLXBackend.load_weights"
TARGET = "hrm_mlx.act:_target_q_continue"
BCE = "hrm_mlx.act:binary_cross_entropy"
NORM = "hrm_mlx.layers:rms_norm"

BREAKS = (
    _break("layer norm", ROPE, "forward logits", NORM, layer_norm),
    _break("norm in bfloat16", ROPE, "forward logits", NORM, norm_in_bfloat16),
    _break("norm with a weight", ROPE, "forward z", NORM, learned_norm),
    _break("pre-norm", ROPE, "forward logits", "hrm_mlx.layers:Block.__call__", pre_norm),
    _break(
        "even/odd RoPE",
        ROPE,
        "forward logits",
        "hrm_mlx.layers:RotaryEmbedding.__call__",
        even_odd_pairs,
    ),
    _break(
        "positions skip the puzzle slots",
        ROPE,
        "forward logits",
        "hrm_mlx.layers:RotaryEmbedding.__init__",
        positions_skip_puzzle,
    ),
    _break(
        "halves of gate_up swapped",
        ROPE,
        "forward logits",
        "hrm_mlx.layers:SwiGLU.__call__",
        swapped_halves,
    ),
    _break("levels swapped", ROPE, "forward logits", "hrm_mlx.model:HRM.__call__", swapped_levels),
    _break(
        "levels swapped, in bfloat16",
        BFLOAT16,
        "forward logits, rms",
        "hrm_mlx.model:HRM.__call__",
        swapped_levels,
    ),
    _break("heads permuted", ROPE, "forward logits", LOAD, _loading(permuted_heads)),
    _break("q_head.bias left out", ROPE, "forward q", LOAD, without("q_head.bias")),
    _break(
        "a puzzle vector left out", LEARNED, "forward logits", LOAD, without("puzzle_emb.weights")
    ),
    _break("a tie halts", INITIAL, "halted on a tie", "hrm_mlx.act:halting", halt_on_tie),
    _break(
        "target Q from the old carry",
        ROPE,
        "training target_q_continue",
        TARGET,
        target_from_old_carry,
    ),
    _break(
        "target Q without the last-step rule",
        LEARNED,
        "training target_q_continue",
        TARGET,
        target_without_last_step,
    ),
    _break(
        "target Q without max", ROPE, "training target_q_continue", TARGET, target_of_halting_only
    ),
    Break("loss averaged over tokens", ROPE, "training loss, relative", token_mean),
    _break(
        "gradient of q_continue off by 1e-8",
        INITIAL,
        "continue row of the Q head",
        BCE,
        inexact_cross_entropy,
    ),
    _break(
        "m / c1 inside atan2",
        ROPE,
        "weights after update 1",
        "hrm_mlx.backend:scalars",
        divided_inside,
    ),
    _break("scale 1.27", ROPE, "weights after update 1", "hrm_mlx.backend:scalars", scale_of_127),
    _break(
        "decay after the update",
        ROPE,
        "weights after update 12",
        "hrm_mlx.update:adam_atan2",
        decay_after_update,
    ),
    _break(
        "dense decay of the puzzle table",
        ROPE,
        "puzzle table after update 12",
        "hrm_mlx.update:Updater._move_rows",
        dense_decay,
    ),
    Break(
        "ids of the batch in the puzzle optimizer", ROPE, "puzzle table after update 12", batch_ids
    ),
    _break(
        "H_init and L_init trained",
        ROPE,
        "H_init, L_init",
        "hrm_mlx.backend:MLXBackend._advance",
        trained_constants,
    ),
    _break(
        "schedule counts from 0",
        ROPE,
        "training learning rates",
        "hrm_parity.replays:rates",
        count_from_zero,
    ),
    _break(
        "passes over the data count from 0",
        ORDER,
        "batches",
        "hrm_core.data.batches:_philox",
        passes_from_zero,
    ),
    _beyond(
        "q_head decays under fixed halting",
        "fixed halting",
        "weights after the update",
        "hrm_mlx.backend:MLXBackend._advance",
        q_head_decays,
    ),
    _beyond(
        "loss averaged over labels instead of tokens",
        "token average",
        "losses, of loss",
        "hrm_mlx.act:TOKEN_LOSSES",
        mean_over_labels,
    ),
    _beyond(
        "attention not causal",
        "causal",
        "logits",
        "hrm_mlx.backend:choose_attention",
        not_causal,
    ),
    _beyond(
        "prefix off by one", "prefix", "logits", "hrm_mlx.model:HRM.visible", prefix_off_by_one
    ),
    _beyond(
        "RoPE counted over chunks",
        "chunks",
        "logits",
        "hrm_mlx.update:step_loss",
        rope_over_chunks,
    ),
    _beyond(
        "halting allowed on an early chunk",
        "chunks",
        "steps, halted",
        "hrm_mlx.act:halting",
        halts_on_early_chunks,
    ),
    _beyond(
        "an unlabelled chunk counted as right",
        "chunks",
        "losses, of loss",
        "hrm_mlx.act:_is_judged",
        judges_unlabelled_chunks,
    ),
    _beyond(
        "q losses not masked",
        "chunks",
        "losses, of loss",
        "hrm_mlx.act:_is_judged",
        judges_early_chunks,
    ),
    _beyond(
        "z reset between chunks",
        "chunks",
        "z",
        "hrm_mlx.update:refill",
        resets_between_chunks,
    ),
    _beyond(
        "z reset between chunks at inference",
        "chunks",
        "z",
        "hrm_mlx.backend:MLXBackend.step",
        forgets_between_chunks,
    ),
    _beyond(
        "all slots starting on chunk 0",
        "chunks, prefix",
        "steps, halted",
        "hrm_mlx.backend:empty_carry",
        begins_on_chunk_0,
    ),
    _beyond(
        "patches column-major",
        "patches",
        "logits",
        "hrm_mlx.act:patches_worked_on",
        column_major,
    ),
    _beyond(
        "embed_patches in the middle of the table",
        "patches",
        "attention",
        "hrm_core.parameters:parameter_table",
        patches_in_the_middle,
    ),
    _beyond(
        "EMA of the wrong weights",
        "average of weights",
        "average of the weights",
        "hrm_mlx.update:Updater._compute_weights",
        average_of_weights_before,
    ),
    _beyond(
        "q_halt compared with q_continue",
        "halting alone",
        "steps, halted",
        "hrm_mlx.model:HRM.output",
        with_setting("q_continue", True),
    ),
    _beyond(
        "q_continue learned",
        "halting alone",
        "gradients, of largest",
        "hrm_mlx.update:step_loss",
        with_setting("q_continue", True),
    ),
    _beyond(
        "gradient of the last calls alone",
        "gradient of a cycle",
        "gradients, of largest",
        "hrm_mlx.model:HRM.__call__",
        with_setting("gradient", "step"),
    ),
    _beyond(
        "shared weights without the gradient of H",
        "shared levels",
        "gradients, of largest",
        "hrm_mlx.model:HRM.__call__",
        gradient_of_L_alone,
    ),
    _beyond(
        "the last block of rows left out",
        "large vocabulary",
        "losses, of loss",
        "hrm_mlx.act:softmax_in_blocks",
        without_last_block,
    ),
)
