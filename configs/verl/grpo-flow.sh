#!/usr/bin/env bash
# The paper's GRPO with flow credit in verl 0.9, on a Ray cluster of one node with 8 GPUs. Not run: no GPU
# was there. The values are those of section 4 of the paper; what it leaves open is verl's.
#   bash configs/verl/grpo-flow.sh TRAIN.parquet TEST.parquet
set -euo pipefail
export VERL_USE_EXTERNAL_MODULES=flowtracer.integrations.verl

python -m verl.trainer.main_ppo \
  data.train_files="$1" data.val_files="$2" \
  data.train_batch_size=64 data.max_prompt_length=1024 data.max_response_length=1024 \
  algorithm.adv_estimator=grpo algorithm.norm_adv_by_std_in_grpo=True algorithm.use_kl_in_reward=False \
  actor_rollout_ref.model.path=Qwen/Qwen3-4B-Base \
  actor_rollout_ref.actor.strategy=fsdp2 actor_rollout_ref.actor.ulysses_sequence_parallel_size=1 \
  actor_rollout_ref.actor.loss_agg_mode=seq-mean-token-mean \
  actor_rollout_ref.actor.clip_ratio=0.2 actor_rollout_ref.actor.clip_ratio_c=1000 \
  actor_rollout_ref.actor.use_kl_loss=False actor_rollout_ref.actor.entropy_coeff=0 \
  actor_rollout_ref.actor.optim.lr=1e-6 actor_rollout_ref.actor.ppo_mini_batch_size=64 \
  actor_rollout_ref.actor.use_dynamic_bsz=True \
  actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=8 \
  actor_rollout_ref.rollout.temperature=0.99 actor_rollout_ref.rollout.top_p=1.0 \
  actor_rollout_ref.rollout.top_k=100 \
  trainer.total_training_steps=500 trainer.n_gpus_per_node=8 trainer.nnodes=1 \
  +ray_kwargs.ray_init.runtime_env.env_vars.VERL_USE_EXTERNAL_MODULES=flowtracer.integrations.verl \
  +flowtracer.scorer=flow +flowtracer.emphasis=1.5 +flowtracer.share=0.4
