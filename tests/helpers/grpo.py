"""A GRPO trainer of TRL on Countdown, small enough for a test."""

from trl import GRPOConfig

from flowtracer.tasks import load_task
from helpers.trl_settings import IN_TESTS


def distinct_letters(completions, **_):
    """A reward that any text has, and that differs within most groups."""
    return [float(len(set(completion[0]["content"]))) for completion in completions]


def grpo_trainer(
    kind,
    model,
    tokenizer,
    folder,
    *,
    reward=distinct_letters,
    config=None,
    config_class=GRPOConfig,
    dataset=None,
    **options,
):
    """A trainer of the class `kind`.

    config: changes of the settings. dataset: in the place of Countdown's. options: of the trainer.
    """
    settings = {
        **IN_TESTS,
        "output_dir": str(folder),
        "max_steps": 1,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 32,
        "learning_rate": 1e-2,
        "optim": "sgd",  # Adam would blow rounding up to the size of a step
        "beta": 0.0,
        "gradient_checkpointing": False,
        "top_k": 20,
    } | (config or {})
    if dataset is None:
        dataset = load_task("countdown", split="train", limit=32).dataset()
    return kind(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        args=config_class(**settings),
        train_dataset=dataset,
        **options,
    )
