"""Claims that anyone can rerun: each study is one command, resumable, with intervals."""
