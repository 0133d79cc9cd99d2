"""The loop language: kernels over n-d index spaces, described without naming a device, and printed for one."""
