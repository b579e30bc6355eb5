"""What an artefact is: ours or anybody's, its counts, distributions and faults."""
