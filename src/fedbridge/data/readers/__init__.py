"""Readers of tables, pictures, dates and numbers, whoever they belong to."""
