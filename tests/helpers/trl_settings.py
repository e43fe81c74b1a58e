"""Settings that trainers of TRL have in tests: on the CPU, seeded, nothing saved or reported."""

IN_TESTS = {
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": [],
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
    "seed": 3,
}
