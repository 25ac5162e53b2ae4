"""What every run of an evaluation shares: its clock, its progress, and parts of reports."""
