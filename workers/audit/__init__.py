"""The audit lane: history in files or a topic range, judged once on Ray Data, into a folder of Parquet."""
