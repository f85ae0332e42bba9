"""The result tables: schema, Parquet files, filters, rankings, text and JSON. Needs no torch.

In:  rows of finished runs.
Out: one Parquet file per run and table; means over seeds, honest and legacy scorers apart.
"""
