"""The XDP engine: a program translated to C for eBPF and run in the kernel."""
