"""Where tables lie below a results folder, for whoever must know it without loading Arrow."""

FOLDERS = ("scores", "attempts", "stages", "declarations", "seeds", "runs")
# One file per output of a stage.
DETAIL_FOLDERS = ("losses", "breakdowns", "samples", "tensors")
# The files of runs that were taken out of the tables, a folder like the results for each.
REMOVED = ".removed"
# What many files say, kept once more, made from them and safe to delete.
GATHERED = ".gathered"


def longest_name(run_key: str) -> str:
    """The longest name of a file that is written for a run: that of a table before it is whole."""
    return f".{run_key}.parquet.{2**22}-{4 * 'ff'}.tmp"
