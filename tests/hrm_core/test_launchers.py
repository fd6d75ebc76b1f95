"""Which of several processes this one is, by what torchrun and mlx.launch set."""

import json
from pathlib import Path

import pytest

from hrm_core import launchers
from hrm_core.backend import Replica
from hrm_core.errors import BackendError
from hrm_core.launchers import MLX_LAUNCH, TORCHRUN, Place

VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MLX_RANK",
    "MLX_HOSTFILE",
    "MLX_IBV_DEVICES",
    "MLX_JACCL_COORDINATOR",
    "MLX_WORLD_SIZE",
    "NCCL_HOST_IP",
)
RING = [["10.0.0.1:32323", "10.0.1.1:32324"], ["10.0.0.2:32325"], ["10.0.0.2:32326"]]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_process_without_launcher_is_alone() -> None:
    assert launchers.place() == Place()
    assert Replica.of_environment() == Replica(0, 1)
    assert Place().command("runs/a") == "hrm train --run runs/a"


def test_torchrun_is_known_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, RANK="1", WORLD_SIZE="4")
    found = launchers.place()
    assert found == Place(TORCHRUN, 1, 4)
    assert Replica.of_environment() == Replica(1, 4)
    start = "torchrun --nproc-per-node 4 -m hrm_cli train --run-directory"
    assert found.command("runs/a") == f"{start} runs/a"


def test_torchrun_on_several_machines_is_started_again_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_all(monkeypatch, RANK="5", WORLD_SIZE="8", LOCAL_WORLD_SIZE="4")
    found = launchers.place()
    assert found == Place(TORCHRUN, 5, 8, 2)
    start = "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST"
    assert found.command("a") == f"{start} -m hrm_cli train --run-directory a"


def test_ring_of_several_machines_is_read_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hosts"
    path.write_text(json.dumps(RING))
    set_all(monkeypatch, MLX_RANK="1", MLX_HOSTFILE=str(path))
    found = launchers.place()
    assert found == Place(MLX_LAUNCH, 1, 3, 1, "ring", ("10.0.0.1", "10.0.0.2", "10.0.0.2"))
    assert Replica.of_environment() == Replica(1, 3)
    assert [found._replace(rank=rank).num_here for rank in range(3)] == [1, 2, 2]
    assert found.command("a") == "mlx.launch --hostfile HOSTFILE -- hrm train --run a"


def test_ring_on_one_machine_is_started_again_by_a_number() -> None:
    here = Place(MLX_LAUNCH, 0, 2, 1, "ring", ("127.0.0.1", "127.0.0.1"))
    assert here.num_here == 2
    assert here.command("a") == "mlx.launch -n 2 -- hrm train --run a"


def test_mlx_launch_of_one_process_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hosts"
    path.write_text("\n")
    set_all(monkeypatch, MLX_RANK="0", MLX_HOSTFILE=str(path))
    assert launchers.place() == Place()


def test_jaccl_is_read_from_its_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "devices"
    path.write_text(json.dumps([[None, "rdma_en5"], ["rdma_en5", None]]))
    set_all(
        monkeypatch,
        MLX_RANK="1",
        MLX_IBV_DEVICES=str(path),
        MLX_JACCL_COORDINATOR="10.0.0.1:32323",
    )
    found = launchers.place()
    assert found == Place(MLX_LAUNCH, 1, 2, 1, "jaccl", ("10.0.0.1",))
    command = "mlx.launch --hostfile HOSTFILE --backend jaccl -- hrm train --run a"
    assert found.command("a") == command


def test_nccl_is_read_from_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, MLX_RANK="3", MLX_WORLD_SIZE="8", NCCL_HOST_IP="127.0.0.1")
    found = launchers.place()
    assert found == Place(MLX_LAUNCH, 3, 8, 1, "nccl", ("127.0.0.1",))
    assert found.num_here == 1
    assert found.command("a") == "mlx.launch -n 8 --backend nccl -- hrm train --run a"


@pytest.mark.parametrize("content", [None, "{}", "[1,"])
def test_file_that_lists_no_processes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "hosts"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("MLX_HOSTFILE", str(path))
    message = f"MLX_HOSTFILE={path} is no list of processes; start them with mlx.launch, or unset MLX_HOSTFILE"
    with pytest.raises(BackendError) as raised:
        launchers.place()
    assert str(raised.value) == message
