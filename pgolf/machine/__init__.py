"""The machine: hardware detection, device leases, processes, torchrun, threads.

In:  the devices and processes that a stage asks for.
Out: leased devices, and subprocesses that cannot outlive their parent. Independent of stages and recipes.
"""
