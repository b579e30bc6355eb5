"""What a run is worth, what an index costs, and whether engines agree."""
