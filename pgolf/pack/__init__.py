"""Packing: quantized weights as one file under the byte budget.

In:  a checkpoint, Hessians, the size of the code.
Out: `model.pgolf`, read back and compared before it is published, and one row per attempt.
"""
