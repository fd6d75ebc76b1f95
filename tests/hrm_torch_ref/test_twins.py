"""hrm_mlx and hrm_torch_ref tell the network in the same words: their diff is the difference between two frameworks."""

import ast
from pathlib import Path

import pytest

from hrm_core.config import ModelConfig
from hrm_core.parameters import Role, parameter_table

torch = pytest.importorskip("torch", reason="torch is missing: the PyTorch reference is not tested")

from hrm_torch_ref import attention  # noqa: E402
from hrm_torch_ref.model import HRM  # noqa: E402

REPOSITORY = Path(__file__).parents[2]
SIZES = {
    "vocab_size": 7,
    "seq_len": 9,
    "num_puzzle_identifiers": 3,
    "puzzle_emb_ndim": 48,
    "hidden_size": 32,
    "num_heads": 4,
}
ALONE = {  # what only one framework needs
    "answers": {"accurate_sum", "_exact", "Answers._tensor"},  # torch has float64 for long sums
    "losses": {
        "_InBlocks",
        "_InBlocks.forward",
        "_InBlocks.backward",  # MLX: a function in a function
        "_largest",
        "_slopes_of",  # MLX has no operations in place
    },
    "model": {
        "scaled",
        "Lending",
        "Lending.__init__",
        "Lending.call",
        "Lending.forward",
    },  # MLX rounds scalars; torch lends weights
}
Definition = ast.ClassDef | ast.FunctionDef


def definitions(source: str) -> list[str]:
    """Classes with their fields and methods, and functions, in their order."""
    names = []
    for node in ast.parse(source).body:
        if not isinstance(node, Definition):
            continue
        names.append(node.name)
        for member in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(member, ast.FunctionDef):
                names.append(f"{node.name}.{member.name}")
            elif isinstance(member, ast.AnnAssign):
                names.append(f"{node.name}.{ast.unparse(member.target)}")
    return names


def twins(file: str) -> list[list[str]]:
    """What both packages define in a file, calls of modules spelled alike, without what is known to be alone."""
    found = [
        definitions((REPOSITORY / package / f"{file}.py").read_text())
        for package in ("hrm_mlx", "hrm_torch_ref")
    ]
    modules = [name for name in found[1] if name.endswith(".forward")]
    renamed = [
        name.replace("__call__", "forward")
        if name.replace("__call__", "forward") in modules
        else name
        for name in found[0]
    ]
    return [
        [name for name in names if name not in ALONE.get(file, ())] for names in (renamed, found[1])
    ]


@pytest.mark.parametrize("file", ["layers", "model", "losses", "optim", "act", "answers"])
def test_both_backends_define_the_same_in_the_same_order(file: str) -> None:
    mlx, torch_ref = twins(file)
    assert len(mlx) >= 3
    assert mlx == torch_ref


def test_other_order_would_be_noticed() -> None:
    mlx, torch_ref = twins("layers")
    assert mlx[:2] == ["rms_norm", "RotaryEmbedding"]
    assert [mlx[1], mlx[0], *mlx[2:]] != torch_ref


@pytest.mark.parametrize("puzzle_emb_ndim", [0, 48])
@pytest.mark.parametrize("pos_encodings", ["rope", "learned"])
def test_trainable_weights_are_those_of_the_table(pos_encodings: str, puzzle_emb_ndim: int) -> None:
    """Names, shapes and their order; tables of cosines and the puzzle table are not among them."""
    changes = {
        "H_layers": 2,
        "L_layers": 1,
        "pos_encodings": pos_encodings,
        "puzzle_emb_ndim": puzzle_emb_ndim,
    }
    config = ModelConfig.model_validate({**SIZES, **changes})
    model = HRM(config, torch.float32, torch.device("cpu"), attention.eager)
    found = [(name, tuple(weight.shape)) for name, weight in model.named_parameters()]
    table = parameter_table(config).items()
    assert found == [
        (name, parameter.shape) for name, parameter in table if parameter.role is Role.TRAINED
    ]
    assert not list(model.buffers())
