"""Timings on OpenCL devices."""
