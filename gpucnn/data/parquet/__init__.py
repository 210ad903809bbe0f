"""Parquet files with image files in a column, as Hugging Face publishes data sets."""
