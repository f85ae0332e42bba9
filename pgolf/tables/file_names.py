"""Where tables lie below a results folder, for whoever must know it without loading Arrow."""

FOLDERS = ("scores", "attempts", "stages", "declarations", "seeds")


def longest_name(run_key: str) -> str:
    """The longest name of a file that is written for a run: that of a table before it is whole."""
    return f".{run_key}.parquet.{2**22}-{4 * 'ff'}.tmp"
