"""The methods that the paper compares DAS with: a pre-trained model adapted without skipping layers."""
