"""The machine: hardware, device leases, processes, torchrun, threads.

In:  what a stage asks to run on.
Out: leased devices and child processes that cannot outlive their parent. Knows nothing of stages or recipes.
"""
