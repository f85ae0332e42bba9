"""Quantization: calibration Hessians, GPTQ, and rounding to few bits.

In:  a checkpoint and training tokens.
Out: Hessians of every linear map; integer codes with one float16 scale per row.
"""
