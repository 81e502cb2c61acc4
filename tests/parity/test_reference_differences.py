"""Where graft and transformers differ on purpose, and oddities of the reference that docs/TRAINING.md tells of: shown, so that a new
release that changes them turns a test red."""

import types

import pytest
import torch
from transformers import EarlyStoppingCallback

import small_job
from programs import TrainTool
from reference import WatchedTrainer, make_base, reference_model, trainer_arguments
from small_job import token_mean
from training_claims import mixed_rows

ROWS = mixed_rows(13)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("base") / "tiny")


def test_trainers_eval_loss_depends_on_the_batch_size(base, tmp_path):
    model = reference_model(base, {"full": {}}, torch.float32)
    losses = {}
    for batch in (1, 4):
        trainer = WatchedTrainer(model, ROWS, exact=False, validation=ROWS, output_dir=str(tmp_path), per_device_eval_batch_size=batch)
        losses[batch] = trainer.evaluate()["eval_loss"]
        assert token_mean(model, ROWS, batch) == pytest.approx(token_mean(model, ROWS), rel=1e-7)
    assert abs(losses[1] - losses[4]) > 1e-3 * losses[1]


def test_slow_steady_progress_stops_the_reference_only(tmp_path):
    train, validation = small_job.subset("train", 8, tmp_path), small_job.subset("valid", 8, tmp_path)
    spec = {"learning_rate": 5e-4, "early_stopping": {"metric": "eval/loss", "patience": 2, "min_delta": 0.1}}
    events = small_job.run_ours(tmp_path, train, validation, small_job.initial_adapter(tmp_path / "initial"), **spec)
    _, evaluations, _, steps = small_job.ours_of(events)
    callback = EarlyStoppingCallback(2, 0.1)
    arguments, state = types.SimpleNamespace(greater_is_better=False), types.SimpleNamespace(best_metric=None)
    stopped = None
    for step, loss in evaluations:
        callback.check_metric_value(arguments, state, None, loss)
        state.best_metric = loss if state.best_metric is None else min(loss, state.best_metric)
        if stopped is None and callback.early_stopping_patience_counter >= 2:
            stopped = step
    assert stopped is not None and stopped < steps, evaluations


def test_an_unmasked_first_label_scales_the_references_loss(base, tmp_path):
    """It counts a row's first token among the labels, which nothing predicts: N / (N + rows) of the mean."""
    rows = [(ids, 0) for ids, _ in ROWS]
    training = {"max_steps": 1, "batch_size": 4, "max_grad_norm": 0.0}
    trainer = WatchedTrainer(reference_model(base, {"full": {}}, torch.float32), rows, exact=False,
                             **trainer_arguments({"full": {}}, training, tmp_path))
    trainer.train()
    with TrainTool() as tool:
        tool.ask("load", model=str(base), precision="fp32")
        [[ours, *_]] = tool.ask("train", method={"full": {}}, training=training, rows=rows, scratch=str(tmp_path))["steps"]
    batch = torch.randperm(len(rows), generator=torch.Generator().manual_seed(42))[:4]
    predicted = sum(len(rows[row][0]) - 1 for row in batch)
    assert trainer.watch.losses == pytest.approx([ours * predicted / (predicted + 4)], rel=1e-6)
