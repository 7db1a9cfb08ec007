"""Everything that is looked at: a run's page, comparisons, the dashboard, a look at data."""
