"""Token merging in vision layers (Bolya et al., ICLR 2023, arXiv 2210.09461)."""
