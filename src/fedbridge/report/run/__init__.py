"""The page, the tables and the figures of one run or of several."""
