"""Sound files of every kind that das reads, damaged at random: each is read, or refused as the contract says."""
