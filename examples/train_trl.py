"""Train the embedded model with GRPO and flow credit on Countdown, a few steps on a CPU.

    python examples/train_trl.py --steps 5

For your own run, replace the model, the data set and the reward: nothing else is special.
"""

import argparse

from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig

from flowtracer import Credit, FlowGRPOTrainer, Selection, Weighting
from flowtracer.models import model_path
from flowtracer.tasks import load_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", default="out")
    options = parser.parse_args()

    model = model_path("embedded")  # or a hub id, or a folder
    task = load_task("countdown", split="train", limit=256)
    trainer = FlowGRPOTrainer(  # in place of trl.GRPOTrainer
        model=AutoModelForCausalLM.from_pretrained(model, dtype="float32"),
        processing_class=AutoTokenizer.from_pretrained(model, padding_side="left"),
        reward_funcs=task.reward,
        train_dataset=task.dataset(),
        args=GRPOConfig(
            output_dir=options.out,
            max_steps=options.steps,
            learning_rate=5e-5,
            loss_type="grpo",
            num_generations=8,
            per_device_train_batch_size=32,
            max_completion_length=128,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        ),
        # The defaults, written out: the top 40% of each response by flow get 1.5 times the advantage.
        credit=Credit(
            scorer="flow", selection=Selection(ratio=0.4), weighting=Weighting(emphasis=1.5)
        ),
    )
    trainer.train()

    for entry in trainer.state.log_history:
        if "reward" in entry:
            print(
                f"step {entry['step']}: reward {entry['reward']:.2f}, "
                f"{entry['credit/selected']:.0%} of the tokens chosen, "
                f"{entry['credit/no_answer']:.0%} of the responses without an answer, "
                f"credit took {entry['credit/seconds']:.2f} s"
            )


if __name__ == "__main__":
    main()
