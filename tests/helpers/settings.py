"""Settings of a training run that takes seconds."""

CONFIG = """
model_name_or_path: embedded
task: countdown
method: flow
max_steps: 6
learning_rate: 1.0e-3
num_generations: 4
per_device_train_batch_size: 16
max_completion_length: 64
use_cpu: true
bf16: false
save_steps: 2
logging_steps: 1
disable_tqdm: true
"""
