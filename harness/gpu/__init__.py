"""GPUs: what the kernels of the triton backend become on a card (ahead), seen without one."""
