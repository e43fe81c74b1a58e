"""Kernels for GPUs, written in Triton; PyTorch's way stays the reference, and the CPU's."""
