"""What every stage that trains says to transformers' Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splade_bridge.training.options import MlmOptions, TrainOptions


def common_arguments(options: TrainOptions | MlmOptions, work: Path) -> dict[str, Any]:
    """Arguments of ``TrainingArguments``: batches, the optimizer, the log, checkpoints in ``work``.

    Steps, precision and validation are each stage's own.
    """
    return {
        "output_dir": str(work),
        "per_device_train_batch_size": options.batch_size,
        "gradient_accumulation_steps": options.gradient_accumulation,
        "learning_rate": options.learning_rate,
        "warmup_steps": options.warmup_steps,
        "weight_decay": options.weight_decay,
        "seed": options.seed,
        "logging_steps": options.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
    }
