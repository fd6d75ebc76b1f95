"""Chances and occlusion maps of pictures: `hrm predict`, `model.predict`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import drawn, task_of
from PIL import Image

import hrm_mlx
from hrm_core.backends import backend_named
from hrm_core.config import ModelConfig
from hrm_core.errors import ConfigError, DataError, PuzzleError
from hrm_core.inference.predicting import ModelAsk
from hrm_core.inference.solving import Solver
from hrm_core.parameters import initial_values
from hrm_core.tasks.picture_explaining import blocks_of, without_block
from hrm_core.tasks.picture_predicting import Options, predict
from hrm_core.tasks.picture_scores import rank_scores
from hrm_core.tasks.pictures import PictureTask
from hrm_tasks.xray import predict as xray_predict

NOTE = "For research, not for diagnosis."


@pytest.fixture(scope="module")
def solver(trained: Any) -> Solver:
    return hrm_mlx.load(trained.run)


@pytest.fixture(scope="module")
def folder(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test pictures as files."""
    out = tmp_path_factory.mktemp("files") / "images"
    (out / "more").mkdir(parents=True)
    for number, picture in enumerate(trained.drawn["test"].pictures):
        where = out / "more" if number >= 30 else out
        Image.fromarray(picture).save(where / f"{number:03d}.png")
    return out


def untrained(task: PictureTask) -> ModelAsk:
    """Ask a small model of any weights."""
    config = ModelConfig(
        vocab_size=task.vocab_size,
        seq_len=task.seq_len,
        num_puzzle_identifiers=1,
        puzzle_emb_ndim=0,
        H_cycles=1,
        L_cycles=1,
        H_layers=1,
        L_layers=1,
        hidden_size=16,
        num_heads=2,
        pos_encodings="learned",
        halt_max_steps=task.num_chunks,
        loss_type="softmax_cross_entropy",
        halting="fixed",
        num_chunks=task.num_chunks,
        image_size=None if task.preparation.pixels else task.preparation.image_shape,
        forward_dtype="float32",
        **task.model_settings,
    )
    backend = backend_named("mlx")(config)
    backend.load_weights(initial_values(config, seed=1))
    return ModelAsk(backend, task)


def logit(chance: float) -> float:
    return float(np.log(chance) - np.log1p(-chance))


def test_chances_of_files_are_those_of_the_evaluation(
    trained: Any, folder: Path, hrm: Callable[..., Any]
) -> None:
    status, out, err = hrm("predict", trained.run, folder, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["note"] == "for research, not for diagnosis"
    names = [Path(each["name"]).name for each in found["pictures"]]
    assert names == [f"{number:03d}.png" for number in range(40)]
    chances = np.array([list(each["chances"].values()) for each in found["pictures"]])
    truth = trained.drawn["test"].targets
    measured = json.loads(hrm("eval", trained.run, "--json")[1])
    for label, name in enumerate(trained.task.labels):
        known = truth[:, label] >= 0
        weights = np.ones((int(known.sum()), 1))
        ranks = rank_scores(chances[known, label], truth[known, label] == 1, weights)
        expected = measured["labels"][name]["auroc"]["network"]["value"]
        assert ranks.auroc[0] == pytest.approx(expected, abs=1e-9)
    assert {len(each["said"]) for each in found["pictures"]} <= {0, 1, 2}


def test_path_array_and_picture_of_pillow_say_the_same(
    solver: Solver, trained: Any, folder: Path
) -> None:
    array = trained.drawn["test"].pictures[3]
    report = solver.predict(
        folder / "003.png", str(folder / "003.png"), array, Image.fromarray(array)
    )
    pictures = report.record()["pictures"]
    assert [each["name"] for each in pictures[2:]] == ["picture 3", "picture 4"]
    assert len({json.dumps(each["chances"]) for each in pictures}) == 1
    other = solver.predict(trained.drawn["test"].pictures[4]).record()["pictures"][0]
    assert other["chances"] != pictures[0]["chances"]
    assert str(report).endswith(NOTE)
    assert repr(report) == str(report)


def test_bars_are_as_long_as_chances(solver: Solver, trained: Any) -> None:
    report: Any = solver.predict(trained.drawn["test"].pictures[0])
    lines = str(report).splitlines()
    chances = sorted(report.record()["pictures"][0]["chances"].values(), reverse=True)
    assert lines[0] == "picture 1"
    for line, chance in zip(lines[1:3], chances, strict=True):
        assert line.count("█") == round(30 * chance)
        assert line.endswith(f"{chance:.1%}")


def test_many_pictures_take_a_line_each(
    trained: Any, folder: Path, hrm: Callable[..., Any]
) -> None:
    _, out, _ = hrm("predict", trained.run, folder)
    lines = out.splitlines()
    assert len(lines) == 41
    assert lines[0].startswith(f"{folder / '000.png'}: ")
    assert lines[-1] == NOTE


def test_a_picture_of_another_size_is_prepared_as_training_pictures_were(
    solver: Solver, trained: Any, tmp_path: Path
) -> None:
    array = trained.drawn["test"].pictures[5]
    large = np.kron(array, np.ones((8, 8), np.uint8))
    wide = np.zeros((96, 200), np.uint8)
    wide[:, 52:148] = large
    Image.fromarray(np.stack([wide] * 3, axis=2)).save(tmp_path / "wide.png")
    report = solver.predict(array, large, tmp_path / "wide.png")
    plain, resized, cut = report.record()["pictures"]
    assert plain["converted"] == []
    size = "to 12x12 pixels, as the training pictures were"
    assert resized["converted"] == [f"resized {size}"]
    assert cut["converted"] == ["colour made grey", f"cropped and resized {size}"]
    for name, chance in plain["chances"].items():
        assert resized["chances"][name] == pytest.approx(chance, abs=0.15)
        assert cut["chances"][name] == pytest.approx(resized["chances"][name], abs=1e-6)
    assert "Converted, 1 of 3: resized to" in str(report)
    assert "Converted, 1 of 3: cropped and resized to" in str(report)


def test_what_the_odds_lose_without_a_block_is_its_evidence(
    solver: Solver, trained: Any, tmp_path: Path
) -> None:
    """A bright square in the upper left is what Edema is, one in the upper right Mass."""
    task = trained.task
    both = drawn(task.preparation, 1, seed=9).pictures[0] // 2 + 40
    both[0:4, 0:4] += 45
    both[0:4, 8:12] += 45
    found: dict[str, Any] = {}
    for label in task.labels:
        report = solver.predict(both, explain=str(tmp_path / f"{label}.png"), label=label.lower())
        (picture,) = report.record()["pictures"]
        assert picture["evidence"]["label"] == label
        found[label] = np.array(picture["evidence"]["log_odds"])
        assert found[label].shape == (1, 3, 3)
    assert np.unravel_index(found["Edema"].argmax(), (1, 3, 3)) == (0, 0, 0)
    assert np.unravel_index(found["Mass"].argmax(), (1, 3, 3)) == (0, 0, 2)
    hidden = both.copy()
    hidden[0:4, 0:4] = round(both.mean())
    chances = [
        solver.predict(each).record()["pictures"][0]["chances"]["Edema"] for each in (both, hidden)
    ]
    assert found["Edema"][0, 0, 0] == pytest.approx(logit(chances[0]) - logit(chances[1]), abs=1e-3)
    with Image.open(tmp_path / "Edema.png") as page:
        pixels = np.asarray(page.convert("RGB")).astype(int)
    reddest = np.unravel_index((pixels[..., 0] - pixels[..., 2]).argmax(), pixels.shape[:2])
    body = page.height - 12 - 444  # 12 pixels in blocks of 37
    assert (reddest[0] - body) // (4 * 37) == 0
    assert (reddest[1] - (12 + 444 + 12)) // (4 * 37) == 0


def test_blocks_cover_a_picture_once() -> None:
    count = np.zeros((2, 10, 7), int)
    for block in blocks_of(count.shape, 4):
        count[block] += 1
    assert (count == 1).all()
    picture = np.arange(140, dtype=np.uint8).reshape(2, 10, 7)
    hidden = without_block(picture, (1, slice(0, 4), slice(4, 8)))
    assert (hidden[1, :4, 4:] == round(picture[1].mean())).all()
    assert (hidden != picture).sum() == 12


def test_several_maps_go_into_a_new_folder(
    trained: Any, folder: Path, hrm: Callable[..., Any], refusal: Callable[..., str], tmp_path: Path
) -> None:
    files = [folder / "000.png", folder / "001.png"]
    out = tmp_path / "maps"
    sheet = tmp_path / "sheet.png"
    status, printed, err = hrm("predict", trained.run, *files, "--explain", out, "--sheet", sheet)
    assert status == 0, err
    assert sorted(path.name for path in out.iterdir()) == ["0001-000.png", "0002-001.png"]
    assert printed.count("orange speaks for it") == 2
    with Image.open(sheet) as page:
        assert page.width > 400
    error = refusal("predict", trained.run, *files, "--explain", out)
    assert "name a new folder" in error


def test_nothing_is_left_of_maps_if_a_picture_is_broken(
    trained: Any, folder: Path, refusal: Callable[..., str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((folder / "000.png").read_bytes()[:60])
    before = sorted(tmp_path.iterdir())
    command = ["predict", trained.run, folder / "001.png", broken]
    error = refusal(*command, "--explain", tmp_path / "maps", "--sheet", tmp_path / "s.png")
    assert str(broken) in error
    assert sorted(tmp_path.iterdir()) == before


def test_mistakes_in_a_request_are_told_in_one_line(
    trained: Any, tiny_run: Path, folder: Path, refusal: Callable[..., str], tmp_path: Path
) -> None:
    file = folder / "000.png"
    error = refusal("predict", trained.run, file, "--label", "Edema")
    assert "add --explain OUT" in error
    error = refusal(
        "predict", trained.run, file, "--label", "Hernia", "--explain", tmp_path / "x.png"
    )
    assert error == "'Hernia' is no finding that this model learned; it knows Edema, Mass"
    error = refusal("predict", trained.run, file, "--explain", tmp_path / "x.jpg")
    assert "expected a name that ends in .png" in error
    assert "holds no pictures" in refusal("predict", trained.run, tmp_path)
    assert "No such file" in refusal("predict", trained.run, tmp_path / "none.png")
    assert "no outcomes to predict" in refusal("predict", tiny_run, file)


def test_mistakes_in_python_are_of_the_same_errors(
    solver: Solver, tiny_run: Path, trained: Any
) -> None:
    picture = trained.drawn["test"].pictures[0]
    with pytest.raises(ConfigError, match="heat_map"):
        solver.predict(picture, heat_map=True)
    with pytest.raises(DataError, match="picture 1 holds float"):
        solver.predict(picture / 255)
    with pytest.raises(PuzzleError, match="nothing to predict"):
        solver.predict()
    with pytest.raises(PuzzleError, match="sudoku has no outcomes"):
        hrm_mlx.load(tiny_run).predict(picture)


@pytest.mark.parametrize(
    "settings",
    [{"exclusive": True}, {"pixels": True}, {"frames": 2}, {"strips": 3, "overview": True}],
)
def test_every_kind_of_picture_is_explained(settings: dict[str, Any], tmp_path: Path) -> None:
    task = task_of("images", **settings)
    ask = untrained(task)
    pictures = drawn(task.preparation, 3, seed=2).pictures
    found = predict(task, list(pictures), Options(explain=tmp_path / "maps"), ask)
    assert len(list((tmp_path / "maps").iterdir())) == 3
    frames = task.preparation.frames
    for picture in found.pictures:
        assert picture.occlusion is not None
        assert picture.occlusion.evidence.shape == (frames, 3, 3)
        assert picture.occlusion.strongest > 0
        if task.preparation.exclusive:
            assert picture.chances.sum() == pytest.approx(1, abs=1e-6)
            label = task.labels[int(picture.chances.argmax())]
            assert picture.occlusion.label == label
    assert found.record()["note"] == ""
    assert not found.pages()[-1].startswith("For research")


def test_a_folder_holds_the_frames_of_one_picture(tmp_path: Path) -> None:
    task = task_of("images", frames=3)
    picture = drawn(task.preparation, 1, seed=4).pictures[0]
    for number, frame in enumerate(picture):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    ask = untrained(task)
    found = predict(task, [tmp_path, picture], Options(), ask)
    np.testing.assert_array_equal(found.pictures[0].chances, found.pictures[1].chances)
    turned = predict(task, [picture[::-1]], Options(), ask)
    assert (turned.pictures[0].chances != found.pictures[0].chances).any()
    with pytest.raises(DataError, match="has 2 frames, but an example has 3"):
        predict(task, [picture[:2]], Options(), ask)


def test_a_folder_of_other_than_an_examples_frames_is_refused_unread(tmp_path: Path) -> None:
    task = task_of("images", frames=3)
    folder = tmp_path / "clips"
    for clip in "ab":
        (folder / clip).mkdir(parents=True)
        for number in range(2):
            (folder / clip / f"{number}.png").write_text("no picture")
    with pytest.raises(DataError, match="clips has 4 frames, but an example has 3"):
        predict(task, [folder], Options(), untrained(task))


def test_both_backends_predict_alike(trained: Any, folder: Path, hrm: Callable[..., Any]) -> None:
    pytest.importorskip("torch")
    found = []
    for backend in ("mlx", "torch"):
        command = ["predict", trained.run, folder / "000.png", "--json", "--backend", backend]
        (picture,) = json.loads(hrm(*command)[1])["pictures"]
        found.append(list(picture["chances"].values()))
    np.testing.assert_allclose(*found, atol=1e-5)


def test_help_of_a_model_names_its_options(trained: Any, hrm: Callable[..., Any]) -> None:
    status, out, _ = hrm("predict", trained.run, "--help")
    assert status == 0
    assert "Say which findings chest X-rays show" in out
    assert "--explain OUT" in out
    assert issubclass(xray_predict.Options, Options)


def test_the_command_itself_predicts_a_folder(trained: Any, folder: Path) -> None:
    command = [sys.executable, "-m", "hrm_cli", "predict", str(trained.run), str(folder / "more")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("%") == 20  # two findings of ten pictures
    assert done.stdout.endswith(f"{NOTE}\n")


def test_names_that_no_terminal_should_obey_are_escaped(
    trained: Any, folder: Path, hrm: Callable[..., Any], tmp_path: Path
) -> None:
    named = tmp_path / "a\x1b[31m\nb.png"
    named.write_bytes((folder / "000.png").read_bytes())
    drawings = ["--explain", tmp_path / "map.png", "--sheet", tmp_path / "sheet.png"]
    status, printed, err = hrm("predict", trained.run, named, *drawings)
    assert status == 0, err
    assert printed.splitlines()[0] == f"{tmp_path}/a\\x1b[31m b.png"
    status, printed, err = hrm("predict", trained.run, named, "--json")
    assert json.loads(printed)["pictures"][0]["name"] == str(named)


def test_maps_of_pictures_with_long_names_have_shorter_ones(
    trained: Any, folder: Path, hrm: Callable[..., Any], tmp_path: Path
) -> None:
    long = tmp_path / f"{'ü' * 125}.png"
    long.write_bytes((folder / "000.png").read_bytes())
    out = tmp_path / "maps"
    status, _, err = hrm("predict", trained.run, long, folder / "001.png", "--explain", out)
    assert status == 0, err
    names = sorted(path.name for path in out.iterdir())
    assert names == [f"0001-{'ü' * 59}….png", "0002-001.png"]


@pytest.mark.parametrize("flag", ["--explain", "--sheet"])
def test_a_picture_that_is_read_is_not_written_over(
    trained: Any, folder: Path, refusal: Callable[..., str], tmp_path: Path, flag: str
) -> None:
    picture, link = tmp_path / "a.png", tmp_path / "link.png"
    picture.write_bytes((folder / "000.png").read_bytes())
    link.symlink_to(picture)
    before = picture.read_bytes()
    assert "would replace a picture" in refusal("predict", trained.run, link, flag, picture)
    out = tmp_path / "x.png"
    error = refusal("predict", trained.run, picture, "--explain", out, "--sheet", out)
    assert "another one that is drawn" in error
    assert picture.read_bytes() == before
    assert not out.exists()


def test_a_pipe_is_no_picture(trained: Any, refusal: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert "a.png is no file" in refusal("predict", trained.run, tmp_path / "a.png")
    assert "holds no pictures" in refusal("predict", trained.run, tmp_path)
